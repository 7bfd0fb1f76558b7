//! From any DataFusion error to what the client sees.
//!
//! The walk goes down the chain of sources until it meets an error that says what happened: our
//! own [`PgError`] or [`ErrorReport`] first, then object stores, files and Arrow kernels, and at
//! the end the variants of [`DataFusionError`] themselves. Planning errors of DataFusion are
//! plain text, so those few are recognised by their text here, and nowhere else.

use std::error::Error;
use std::io;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use job::{ErrorReport, SqlError, SqlState};

use super::PgError;
use super::type_names::printed_type_name;
use crate::pg_type::TypeError;

/// Sources deeper than this are not looked at: a chain this long is a loop.
const DEPTH_MAX: usize = 64;

/// What a client is told about `error`.
pub fn report(error: &DataFusionError) -> ErrorReport {
    datafusion_report(error, DEPTH_MAX)
}

/// As [`report`], with the error's position filled in where `sql` and the error tell it.
pub fn report_in(error: &DataFusionError, sql: &str) -> ErrorReport {
    let mut report = report(error);
    if report.position.is_none()
        && let DataFusionError::SQL(parser, _) = error.find_root()
        && let Some((line, column)) = parser_location(&parser.to_string())
    {
        report.position = character_position(sql, line, column);
    }
    report
}

fn datafusion_report(error: &DataFusionError, depth: usize) -> ErrorReport {
    if depth == 0 {
        return internal(error.to_string());
    }
    match error {
        DataFusionError::ArrowError(arrow, _) => arrow_report(arrow, depth - 1),
        DataFusionError::ParquetError(parquet) => parquet_report(parquet, depth - 1),
        DataFusionError::ObjectStore(store) => object_store_report(store, depth - 1),
        DataFusionError::IoError(io) => io_report(io, depth - 1),
        DataFusionError::SQL(parser, _) => parser_report(parser),
        DataFusionError::NotImplemented(message) => ErrorReport::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            tidy(without_backtrace(message)),
        ),
        DataFusionError::Internal(message) => planning_text(without_backtrace(message))
            .unwrap_or_else(|| internal(without_backtrace(message))),
        DataFusionError::Plan(message) => plan_report(without_backtrace(message)),
        DataFusionError::Configuration(message) => ErrorReport::new(
            SqlState::INVALID_PARAMETER_VALUE,
            tidy(without_backtrace(message)),
        ),
        DataFusionError::SchemaError(schema, _) => schema_report(schema),
        DataFusionError::Execution(message) => execution_report(without_backtrace(message)),
        DataFusionError::ExecutionJoin(join) if join.is_cancelled() => cancelled(),
        DataFusionError::ExecutionJoin(join) => internal(join),
        DataFusionError::ResourcesExhausted(message) => exhausted(without_backtrace(message)),
        DataFusionError::External(source) => source_report(source.as_ref(), depth - 1),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            datafusion_report(inner, depth - 1)
        }
        DataFusionError::Collection(errors) => errors.first().map_or_else(
            || internal("an error without a cause"),
            |first| datafusion_report(first, depth - 1),
        ),
        DataFusionError::Shared(inner) => datafusion_report(inner, depth - 1),
        DataFusionError::Substrait(message) | DataFusionError::Ffi(message) => internal(message),
    }
}

/// An error of unknown type: whatever in its chain we know, and otherwise our bug.
fn source_report(error: &(dyn Error + 'static), depth: usize) -> ErrorReport {
    if depth == 0 {
        return internal(error);
    }
    if let Some(error) = error.downcast_ref::<PgError>() {
        return error.report();
    }
    if let Some(report) = error.downcast_ref::<ErrorReport>() {
        return report.clone();
    }
    if let Some(error) = error.downcast_ref::<TypeError>() {
        return error.report();
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return datafusion_report(error, depth - 1);
    }
    if let Some(error) = error.downcast_ref::<Arc<DataFusionError>>() {
        return datafusion_report(error, depth - 1);
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return arrow_report(error, depth - 1);
    }
    if let Some(error) = error.downcast_ref::<ParquetError>() {
        return parquet_report(error, depth - 1);
    }
    if let Some(error) = error.downcast_ref::<object_store::Error>() {
        return object_store_report(error, depth - 1);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return io_report(error, depth - 1);
    }
    match error.source() {
        Some(source) => source_report(source, depth - 1),
        None => internal(error),
    }
}

fn arrow_report(error: &ArrowError, depth: usize) -> ErrorReport {
    if depth == 0 {
        return internal(error);
    }
    match error {
        ArrowError::DivideByZero => PgError::division_by_zero().into(),
        ArrowError::ArithmeticOverflow(_) => ErrorReport::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric value out of range",
        ),
        ArrowError::ExternalError(source) => source_report(source.as_ref(), depth - 1),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => cast_report(message),
        ArrowError::InvalidArgumentError(message) | ArrowError::ComputeError(message) => {
            decimal_overflow(message).unwrap_or_else(|| internal(message))
        }
        ArrowError::NotYetImplemented(message) => {
            ErrorReport::new(SqlState::FEATURE_NOT_SUPPORTED, tidy(message))
        }
        ArrowError::IoError(_, io) => io_report(io, depth - 1),
        ArrowError::MemoryError(message) => exhausted(message),
        ArrowError::CsvError(message)
        | ArrowError::JsonError(message)
        | ArrowError::AvroError(message)
        | ArrowError::ParquetError(message)
        | ArrowError::IpcError(message) => {
            ErrorReport::new(SqlState::DATA_CORRUPTED, tidy(message))
        }
        ArrowError::OffsetOverflowError(_)
        | ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError => {
            ErrorReport::new(SqlState::PROGRAM_LIMIT_EXCEEDED, tidy(&error.to_string()))
        }
        ArrowError::SchemaError(_) | ArrowError::CDataInterface(_) => internal(error),
    }
}

fn parquet_report(error: &ParquetError, depth: usize) -> ErrorReport {
    match error {
        ParquetError::External(source) => source_report(source.as_ref(), depth),
        other => ErrorReport::new(SqlState::DATA_CORRUPTED, tidy(&other.to_string())),
    }
}

fn object_store_report(error: &object_store::Error, depth: usize) -> ErrorReport {
    match error {
        object_store::Error::NotFound { path, .. } => ErrorReport::new(
            SqlState::UNDEFINED_FILE,
            format!("could not open file \"{path}\": No such file or directory"),
        ),
        object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => ErrorReport::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("could not open file \"{path}\": Permission denied"),
        ),
        object_store::Error::NotImplemented { .. } => {
            ErrorReport::new(SqlState::FEATURE_NOT_SUPPORTED, tidy(&error.to_string()))
        }
        other => match other.source() {
            Some(source) if depth > 0 && source.is::<io::Error>() => {
                source_report(source, depth - 1)
            }
            _ => ErrorReport::new(SqlState::IO_ERROR, tidy(&other.to_string())),
        },
    }
}

fn io_report(error: &io::Error, depth: usize) -> ErrorReport {
    // An io::Error may wrap a richer one: object stores and readers do that.
    if depth > 0
        && let Some(inner) = error.get_ref()
        && error.kind() == io::ErrorKind::Other
    {
        let report = source_report(inner, depth - 1);
        if report.sqlstate != SqlState::INTERNAL_ERROR {
            return report;
        }
    }
    let sqlstate = match error.kind() {
        io::ErrorKind::NotFound => SqlState::UNDEFINED_FILE,
        io::ErrorKind::PermissionDenied => SqlState::INSUFFICIENT_PRIVILEGE,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SqlState::DISK_FULL,
        io::ErrorKind::OutOfMemory => SqlState::OUT_OF_MEMORY,
        _ => SqlState::IO_ERROR,
    };
    ErrorReport::new(sqlstate, tidy(&error.to_string()))
}

fn parser_report(error: &ParserError) -> ErrorReport {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return ErrorReport::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                "stack depth limit exceeded",
            );
        }
    };
    let text = match text.find(" at Line: ") {
        Some(at) => &text[..at],
        None => text,
    };
    let message = match text.rsplit_once("found: ") {
        Some((_, "EOF")) => "syntax error at end of input".to_owned(),
        Some((_, token)) => format!("syntax error at or near \"{}\"", token.trim()),
        None if text.to_ascii_lowercase().contains("unterminated") => {
            tidy(text).replace("unterminated string literal", "unterminated quoted string")
        }
        None => format!("syntax error: {}", tidy(text)),
    };
    let report = ErrorReport::new(SqlState::SYNTAX_ERROR, message);
    match text.rsplit_once(", found: ") {
        Some((expected, _)) => report.with_detail(format!("{expected}.")),
        None => report,
    }
}

fn schema_report(error: &SchemaError) -> ErrorReport {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            if let Some(relation) = &field.relation
                && !valid_fields.is_empty()
                && valid_fields
                    .iter()
                    .all(|known| known.relation.as_ref() != Some(relation))
            {
                return ErrorReport::new(
                    SqlState::UNDEFINED_TABLE,
                    format!(
                        "missing FROM-clause entry for table \"{}\"",
                        relation.table()
                    ),
                );
            }
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => format!("\"{}\"", field.name),
            };
            let report = ErrorReport::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column {name} does not exist"),
            );
            match valid_fields.iter().find(|known| {
                known.name != field.name && known.name.eq_ignore_ascii_case(&field.name)
            }) {
                Some(known) => report.with_hint(format!(
                    "Perhaps you meant to reference the column \"{}\".",
                    known.flat_name()
                )),
                None => report,
            }
        }
        SchemaError::AmbiguousReference { field } => ErrorReport::new(
            SqlState::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => ErrorReport::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{name}\" specified more than once"),
        ),
    }
}

fn plan_report(message: &str) -> ErrorReport {
    planning_text(message)
        .unwrap_or_else(|| ErrorReport::new(SqlState::SYNTAX_ERROR, tidy(message)))
}

/// The planning errors of DataFusion that have a meaning of their own in PostgreSQL.
fn planning_text(message: &str) -> Option<ErrorReport> {
    if let Some(name) = between(message, "table '", "' not found")
        .or_else(|| between(message, "No table named '", "'"))
    {
        let name = name.rsplit('.').next().unwrap_or(name);
        return Some(ErrorReport::new(
            SqlState::UNDEFINED_TABLE,
            format!("relation \"{name}\" does not exist"),
        ));
    }
    if let Some(name) = between(message, "Invalid function '", "'")
        .or_else(|| message.strip_prefix("There is no window function named "))
        .or_else(|| between(message, "Table function '", "' not found"))
    {
        return Some(
            ErrorReport::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name} does not exist"),
            )
            .with_hint("No function matches the given name. You might need to check its spelling."),
        );
    }
    if let Some(call) = between(
        message,
        "No function matches the given name and argument types '",
        "'",
    ) && let Some((name, arguments)) = call.trim_end_matches(')').split_once('(')
    {
        let types: Vec<String> = split_types(arguments)
            .into_iter()
            .map(printed_type_name)
            .collect();
        return Some(PgError::undefined_function(name, &types).into());
    }
    for prefix in [
        "Cannot coerce arithmetic expression ",
        "Cannot infer common argument type for comparison operation ",
        "Cannot infer common argument type for logical boolean operation ",
        "Cannot infer common argument type for regex operation ",
        "Cannot infer common argument type for operation ",
    ] {
        if let Some(rest) = message.find(prefix).map(|at| &message[at + prefix.len()..]) {
            let rest = rest.trim_end_matches(" to valid types");
            return Some(operator_report(rest));
        }
    }
    if message.contains("nconsistent data type across values list")
        && let Some((left, right)) = message
            .rsplit_once(" Was ")
            .and_then(|(_, types)| types.split_once(" but found "))
    {
        return Some(ErrorReport::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "VALUES types {} and {} cannot be matched",
                printed_type_name(left),
                printed_type_name(right)
            ),
        ));
    }
    if message.contains("ggregate functions are not allowed in the WHERE") {
        return Some(ErrorReport::new(
            SqlState::GROUPING_ERROR,
            "aggregate functions are not allowed in WHERE",
        ));
    }
    if let Some(printed) = message.strip_prefix("Unary operator '-' only supports ") {
        return Some(ErrorReport::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("operator does not exist: - ({})", tidy(printed)),
        ));
    }
    if message.contains("non-boolean predicate") {
        let printed = message.rsplit("returning ").next().unwrap_or_default();
        return Some(ErrorReport::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "argument of WHERE must be type boolean, not type {}",
                printed_type_name(printed)
            ),
        ));
    }
    if message.contains("must appear in the GROUP BY clause")
        || message.contains("must be in the GROUP BY")
    {
        return Some(grouping_report(message));
    }
    if message.contains("have the same name") {
        let name = between(message, "\" at position", "\"").unwrap_or_default();
        return Some(ErrorReport::new(
            SqlState::DUPLICATE_COLUMN,
            if name.is_empty() {
                tidy(message)
            } else {
                format!("column \"{name}\" specified more than once")
            },
        ));
    }
    None
}

/// `Utf8 + Int64` and the like.
fn operator_report(types: &str) -> ErrorReport {
    let mut depth = 0_i32;
    let mut words: Vec<String> = vec![String::new()];
    for c in types.chars() {
        match c {
            '(' | '<' if words.last().is_some_and(|word| !word.is_empty()) => depth += 1,
            ')' | '>' if depth > 0 => depth -= 1,
            _ => {}
        }
        if c == ' ' && depth == 0 {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    match words.as_slice() {
        [left, operator @ .., right] if !operator.is_empty() => PgError::undefined_operator(
            &printed_type_name(left),
            &operator.join(" "),
            &printed_type_name(right),
        )
        .into(),
        _ => ErrorReport::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("operator does not exist: {types}"),
        ),
    }
}

fn grouping_report(message: &str) -> ErrorReport {
    let column = between(message, "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"", "\"")
        .or_else(|| between(message, "column \"", "\""))
        .or_else(|| between(message, "HAVING clause references: ", " must appear"));
    match column {
        Some(column) => ErrorReport::new(
            SqlState::GROUPING_ERROR,
            format!(
                "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
            ),
        ),
        None => ErrorReport::new(SqlState::GROUPING_ERROR, tidy(message)),
    }
}

fn execution_report(message: &str) -> ErrorReport {
    if let Some(report) = planning_text(message)
        .or_else(|| decimal_overflow(message))
        .or_else(|| regular_expression(message))
    {
        return report;
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return PgError::division_by_zero().into();
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        return ErrorReport::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, tidy(message));
    }
    if lower.contains("scalar subquery") || lower.contains("more than one row") {
        return ErrorReport::new(
            SqlState::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        );
    }
    ErrorReport::new(SqlState::INVALID_PARAMETER_VALUE, tidy(message))
}

/// Arrow's cast and parse errors.
fn cast_report(message: &str) -> ErrorReport {
    if let Some(value) = between(message, "Cannot cast string '", "' to value of ") {
        let printed = between(message, "' to value of ", " type").unwrap_or("unknown");
        let name = printed_type_name(printed);
        return PgError::invalid_text(&name, value).into();
    }
    if let Some(value) = between(message, "Error parsing timestamp from '", "'") {
        return PgError::invalid_datetime("timestamp", value).into();
    }
    if let Some(value) = between(message, "Invalid input syntax for type interval: \"", "\"") {
        return PgError::invalid_datetime("interval", value).into();
    }
    if let Some(value) = between(message, "Failed to parse '", "' as time") {
        return PgError::invalid_datetime("time", value).into();
    }
    if let Some(value) = between(message, "can't parse the string value ", " to decimal") {
        return PgError::invalid_text("numeric", value).into();
    }
    if let Some(to) = message.strip_prefix("Can't cast value ") {
        let printed = to.rsplit_once(" to type ").map_or("integer", |(_, t)| t);
        return PgError::out_of_range(&printed_type_name(printed)).into();
    }
    if let Some(types) = message.strip_prefix("Casting from ")
        && let Some((from, to)) = types.split_once(" to ")
    {
        return ErrorReport::new(
            SqlState::parse("42846").unwrap_or(SqlState::DATATYPE_MISMATCH),
            format!(
                "cannot cast type {} to {}",
                printed_type_name(from),
                printed_type_name(to.trim_end_matches(" not supported"))
            ),
        );
    }
    if let Some(report) = decimal_overflow(message) {
        return report;
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("overflow")
        || lower.contains("out of range")
        || lower.contains("unable to represent")
    {
        return ErrorReport::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, tidy(message));
    }
    ErrorReport::new(SqlState::INVALID_TEXT_REPRESENTATION, tidy(message))
}

fn decimal_overflow(message: &str) -> Option<ErrorReport> {
    let overflow = message.contains(" to store in a Decimal")
        || (message.contains("Cannot cast to Decimal") && message.contains("verflow"));
    overflow.then(|| {
        ErrorReport::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric field overflow",
        )
    })
}

/// The regex crate draws the pattern with carets below; its last line says what is wrong.
fn regular_expression(message: &str) -> Option<ErrorReport> {
    let at = message.to_ascii_lowercase().find("regex parse error")?;
    let what = message[at..].rsplit("error: ").next()?.trim();
    Some(ErrorReport::new(
        SqlState::INVALID_REGULAR_EXPRESSION,
        format!("invalid regular expression: {what}"),
    ))
}

/// The memory pool names the operator that asked; that is what the client wants to know.
fn exhausted(message: &str) -> ErrorReport {
    if message.to_ascii_lowercase().contains("disk") {
        return ErrorReport::new(SqlState::DISK_FULL, "temporary file space exhausted")
            .with_detail(sentence(message));
    }
    let report = ErrorReport::new(SqlState::OUT_OF_MEMORY, "out of memory");
    let first = message
        .rsplit("caused by\n")
        .next()
        .unwrap_or(message)
        .trim();
    let asked = between(first, "Failed to allocate additional ", " for ");
    let operator = between(first, " for ", " with ");
    match (asked, operator) {
        (Some(asked), Some(operator)) => report.with_detail(format!(
            "Failed on request of size {asked} in operator \"{operator}\"."
        )),
        _ => report.with_detail(sentence(first)),
    }
    .with_hint("Raise the executor's memory, or ask for less in one statement.")
}

fn cancelled() -> ErrorReport {
    ErrorReport::new(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
}

/// Records and nested arrays, which Arrow's kernels do not put in order.
fn not_ordered(message: &str) -> Option<ErrorReport> {
    [
        "ncomparable values",
        "ort not supported for data type",
        "not supported in rank",
    ]
    .iter()
    .any(|text| message.contains(text))
    .then(|| {
        ErrorReport::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "records and nested arrays cannot be put in order",
        )
    })
}

fn internal(message: impl ToString) -> ErrorReport {
    let message = message.to_string();
    regular_expression(&message)
        .or_else(|| not_ordered(&message))
        .unwrap_or_else(|| ErrorReport::new(SqlState::INTERNAL_ERROR, tidy(&message)))
}

fn without_backtrace(message: &str) -> &str {
    message
        .split(DataFusionError::BACK_TRACE_SEP)
        .next()
        .unwrap_or(message)
}

/// Lower-case start, no full stop, no prefixes of DataFusion's.
fn tidy(message: &str) -> String {
    let mut text = message.trim();
    loop {
        let before = text;
        for prefix in [
            "Error during planning: ",
            "Execution error: ",
            "Arrow error: ",
            "Parquet error: ",
            "Object Store error: ",
            "External error: ",
            "Internal error: ",
            "This feature is not implemented: ",
            "SQL error: ",
        ] {
            text = text.strip_prefix(prefix).unwrap_or(text);
        }
        if text == before {
            break;
        }
    }
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // An acronym or a type name keeps its capitals.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn sentence(message: &str) -> String {
    let text = message.trim();
    if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// Splits `Utf8, Decimal128(10, 2)` at the commas outside brackets.
fn split_types(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !list[start..].trim().is_empty() {
        parts.push(&list[start..]);
    }
    parts
}

fn parser_location(text: &str) -> Option<(u64, u64)> {
    let at = text.rfind(" at Line: ")?;
    let rest = &text[at + " at Line: ".len()..];
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Lines and columns count from 1, as do PostgreSQL's positions.
fn character_position(sql: &str, line: u64, column: u64) -> Option<u32> {
    let skip = usize::try_from(line.checked_sub(1)?).ok()?;
    let before: usize = sql
        .split_inclusive('\n')
        .take(skip)
        .map(|line| line.chars().count())
        .sum();
    u32::try_from(before)
        .ok()?
        .checked_add(u32::try_from(column).ok()?)
}

#[cfg(test)]
mod tests;
