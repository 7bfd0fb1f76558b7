//! DataFusion's planning errors in PostgreSQL's words, beyond what `functions::error` knows of
//! expressions; and positions in the client's text.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Location;
use job::{ErrorReport, SqlState};

use crate::error::PlanError;
use crate::normalize::names::{is_marked, visible_name};
use crate::parse::Source;

/// 42712: an alias used twice.
const DUPLICATE_ALIAS: SqlState = SqlState(*b"42712");

/// What the client is told, with the position where DataFusion knows the place.
pub(crate) fn plan_error(error: &DataFusionError, source: &Source) -> PlanError {
    let mut report = match worded(error.find_root()) {
        Some(report) => report,
        None => functions::error::report(error),
    };
    if report.position.is_none() {
        report.position = error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .and_then(|span| source.position(Location::new(span.start.line, span.start.column)));
    }
    if report.message.contains('\0') {
        report.message = unmarked(&report.message);
    }
    if report.sqlstate == SqlState::INTERNAL_ERROR {
        tracing::error!(%error, "planning failed");
    }
    PlanError::from(report)
}

/// Takes the marks of twin columns out of a text.
fn unmarked(message: &str) -> String {
    let mut parts = message.split('\0');
    let mut text = parts
        .next()
        .map(visible_name)
        .unwrap_or_default()
        .to_owned();
    for part in parts {
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

fn worded(error: &DataFusionError) -> Option<ErrorReport> {
    match error {
        DataFusionError::SchemaError(schema, _) => ambiguous_twin(schema),
        DataFusionError::Plan(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Execution(message)
        | DataFusionError::Internal(message) => text(message),
        _ => None,
    }
}

/// A reference to one of several output columns of the same name.
fn ambiguous_twin(error: &SchemaError) -> Option<ErrorReport> {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return None;
    };
    if field.relation.is_some() {
        return None;
    }
    valid_fields
        .iter()
        .any(|known| is_marked(&known.name, &field.name))
        .then(|| {
            ErrorReport::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("column reference \"{}\" is ambiguous", field.name),
            )
        })
}

/// DataFusion's planner has no error codes, so these few are told by their texts, and only here.
fn text(message: &str) -> Option<ErrorReport> {
    let report = |sqlstate, message: &str| Some(ErrorReport::new(sqlstate, message));
    if message.starts_with("Unary operator 'NOT' requires a boolean expression")
        || message.starts_with("unary operator 'NOT' requires a boolean expression")
    {
        return report(
            SqlState::DATATYPE_MISMATCH,
            "argument of NOT must be type boolean",
        );
    }
    if let Some(rest) = message.strip_prefix("Cannot create filter with non-boolean predicate '") {
        return match rest
            .strip_prefix("Utf8(\"")
            .and_then(|rest| rest.split_once("\")"))
        {
            Some((text, _)) => report(
                SqlState::INVALID_TEXT_REPRESENTATION,
                &format!("invalid input syntax for type boolean: \"{text}\""),
            ),
            None => report(
                SqlState::DATATYPE_MISMATCH,
                "argument of WHERE must be type boolean",
            ),
        };
    }
    if message.contains("calls cannot be nested") {
        return report(
            SqlState::GROUPING_ERROR,
            if message.starts_with("Window") || message.starts_with("window") {
                "window function calls cannot be nested"
            } else {
                "aggregate function calls cannot be nested"
            },
        );
    }
    if message.starts_with("Aggregate functions are not allowed in the WHERE") {
        return report(
            SqlState::GROUPING_ERROR,
            "aggregate functions are not allowed in WHERE",
        );
    }
    if message.starts_with("LIMIT must be >= 0") {
        return report(
            SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
            "LIMIT must not be negative",
        );
    }
    if message.starts_with("OFFSET must be >=0") || message.starts_with("OFFSET must be >= 0") {
        return report(
            SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE,
            "OFFSET must not be negative",
        );
    }
    if let Some((operation, _)) = message.split_once(" queries have different number of columns") {
        let operation = operation.rsplit(' ').next().unwrap_or(operation);
        return report(
            SqlState::SYNTAX_ERROR,
            &format!("each {operation} query must have the same number of columns"),
        );
    }
    if message.starts_with("SELECT DISTINCT ON expressions must match initial ORDER BY") {
        return report(
            SqlState::INVALID_COLUMN_REFERENCE,
            "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
        );
    }
    if message.starts_with("For SELECT DISTINCT, ORDER BY expressions") {
        return report(
            SqlState::INVALID_COLUMN_REFERENCE,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        );
    }
    if let Some(rest) = message.strip_prefix("Order by column out of bounds, specified: ") {
        let position = rest.split(',').next().unwrap_or_default();
        return report(
            SqlState::INVALID_COLUMN_REFERENCE,
            &format!("ORDER BY position {position} is not in select list"),
        );
    }
    if let Some(rest) = message.strip_prefix("Cannot find column with position ") {
        let position = rest.split(' ').next().unwrap_or_default();
        return report(
            SqlState::INVALID_COLUMN_REFERENCE,
            &format!("GROUP BY position {position} is not in select list"),
        );
    }
    if let Some(rest) = message.strip_prefix("WITH query name \"") {
        let name = rest.split('"').next().unwrap_or_default();
        return report(
            DUPLICATE_ALIAS,
            &format!("WITH query name \"{name}\" specified more than once"),
        );
    }
    if message.starts_with("Inconsistent data length across values list") {
        return report(
            SqlState::SYNTAX_ERROR,
            "VALUES lists must all be the same length",
        );
    }
    if message.starts_with("SELECT * with no tables specified") {
        return report(
            SqlState::SYNTAX_ERROR,
            "SELECT * with no tables specified is not valid",
        );
    }
    if message.contains("Too many columns! The subquery should only return one column") {
        return report(
            SqlState::SYNTAX_ERROR,
            "subquery must return only one column",
        );
    }
    if message.contains("OuterReferenceColumn")
        || message.contains("Correlated column")
        || message.contains("correlated subquery")
    {
        return report(
            SqlState::FEATURE_NOT_SUPPORTED,
            "this form of correlated subquery or LATERAL is not supported yet",
        );
    }
    if message.starts_with("Physical plan does not support logical expression WindowFunction") {
        return report(SqlState(*b"42P20"), "window functions are not allowed here");
    }
    if message.starts_with("Physical plan does not support logical expression ") {
        let what = if message.contains("InSubquery") {
            "IN (subquery) as a value is not supported yet"
        } else if message.contains("Exists") {
            "EXISTS as a value is not supported here yet"
        } else {
            "this expression is not supported here yet"
        };
        return report(SqlState::FEATURE_NOT_SUPPORTED, what);
    }
    None
}
