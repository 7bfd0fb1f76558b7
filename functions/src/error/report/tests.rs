use datafusion::common::Column;

use super::*;

fn plan(message: &str) -> ErrorReport {
    report(&DataFusionError::Plan(message.to_owned()))
}

#[test]
fn our_own_error_survives_every_wrapping() {
    let ours = DataFusionError::from(PgError::division_by_zero());
    let arrow = ArrowError::ExternalError(Box::new(ours.context("somewhere")));
    let shared = DataFusionError::Shared(Arc::new(DataFusionError::from(arrow)));
    let joined = DataFusionError::External(Box::new(Arc::new(shared)));
    let report = report(&joined);
    assert_eq!(report.sqlstate, SqlState::DIVISION_BY_ZERO);
    assert_eq!(report.message, "division by zero");
}

#[test]
fn a_report_from_another_process_passes_unchanged() {
    let sent = ErrorReport::new(SqlState::DISK_FULL, "no space").with_hint("Delete something.");
    let error = DataFusionError::External(Box::new(sent.clone()));
    assert_eq!(report(&error), sent);
}

#[test]
fn arithmetic() {
    let zero = DataFusionError::from(ArrowError::DivideByZero);
    assert_eq!(report(&zero).sqlstate, SqlState::DIVISION_BY_ZERO);
    let overflow = DataFusionError::from(ArrowError::ArithmeticOverflow("1 + 2".to_owned()));
    assert_eq!(
        report(&overflow).sqlstate,
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE
    );
}

#[test]
fn columns_and_tables() {
    let missing = DataFusionError::SchemaError(
        Box::new(SchemaError::FieldNotFound {
            field: Box::new(Column::from_name("nope")),
            valid_fields: vec![Column::from_qualified_name("t.a")],
        }),
        Box::new(None),
    );
    let found = report(&missing);
    assert_eq!(found.sqlstate, SqlState::UNDEFINED_COLUMN);
    assert_eq!(found.message, "column \"nope\" does not exist");

    let other_table = DataFusionError::SchemaError(
        Box::new(SchemaError::FieldNotFound {
            field: Box::new(Column::from_qualified_name("u.a")),
            valid_fields: vec![Column::from_qualified_name("t.a")],
        }),
        Box::new(None),
    );
    assert_eq!(
        report(&other_table).message,
        "missing FROM-clause entry for table \"u\""
    );

    let table = plan("table 'firesteel.public.nope' not found");
    assert_eq!(table.sqlstate, SqlState::UNDEFINED_TABLE);
    assert_eq!(table.message, "relation \"nope\" does not exist");
}

#[test]
fn functions_and_operators() {
    let function = plan(
        "No function matches the given name and argument types 'round(Utf8View, Decimal128(10, 2))'. You might need to add explicit type casts.\n\tCandidate functions:\n\tround()",
    );
    assert_eq!(function.sqlstate, SqlState::UNDEFINED_FUNCTION);
    assert_eq!(
        function.message,
        "function round(text, numeric) does not exist"
    );
    let operator = plan("Cannot coerce arithmetic expression Boolean + Int64 to valid types");
    assert_eq!(
        operator.message,
        "operator does not exist: boolean + bigint"
    );
    let comparison = plan(
        "Cannot infer common argument type for comparison operation Decimal128(10, 2) IS DISTINCT FROM Date32",
    );
    assert_eq!(
        comparison.message,
        "operator does not exist: numeric IS DISTINCT FROM date"
    );
}

#[test]
fn memory_names_the_operator() {
    let error = DataFusionError::ResourcesExhausted(
        "Failed to allocate additional 4.0 MB for GroupedHashAggregateStream[0] (count(1)) with 1.0 MB already allocated for this reservation - 2.0 MB remain available for the total memory pool: fair".to_owned(),
    );
    let report = report(&error);
    assert_eq!(report.sqlstate, SqlState::OUT_OF_MEMORY);
    assert_eq!(
        report.detail.as_deref(),
        Some(
            "Failed on request of size 4.0 MB in operator \"GroupedHashAggregateStream[0] (count(1))\"."
        )
    );
}

#[test]
fn files() {
    let missing = DataFusionError::ObjectStore(Box::new(object_store::Error::NotFound {
        path: "a/b.parquet".to_owned(),
        source: "gone".into(),
    }));
    assert_eq!(report(&missing).sqlstate, SqlState::UNDEFINED_FILE);
    let full = DataFusionError::IoError(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(report(&full).sqlstate, SqlState::DISK_FULL);
    let read = DataFusionError::IoError(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(report(&read).sqlstate, SqlState::IO_ERROR);
}

#[test]
fn syntax_errors_have_a_position() {
    let sql = "select 1,\nfrom t";
    let error = DataFusionError::SQL(
        Box::new(ParserError::ParserError(
            "Expected: an expression, found: from at Line: 2, Column: 1".to_owned(),
        )),
        None,
    );
    let report = report_in(&error, sql);
    assert_eq!(report.sqlstate, SqlState::SYNTAX_ERROR);
    assert_eq!(report.message, "syntax error at or near \"from\"");
    assert_eq!(report.position, Some(11));
}

#[test]
fn casts() {
    let cast = DataFusionError::from(ArrowError::CastError(
        "Cannot cast string 'abc' to value of Int32 type".to_owned(),
    ));
    let found = report(&cast);
    assert_eq!(found.sqlstate, SqlState::INVALID_TEXT_REPRESENTATION);
    assert_eq!(
        found.message,
        "invalid input syntax for type integer: \"abc\""
    );
    let wide = DataFusionError::from(ArrowError::CastError(
        "Can't cast value 300 to type Int16".to_owned(),
    ));
    assert_eq!(report(&wide).message, "smallint out of range");
}
