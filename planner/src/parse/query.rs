//! SELECT and its kin, INSERT, EXPLAIN.

use datafusion::sql::sqlparser::ast::{self, Query, SetExpr, TableObject};
use datafusion::sql::sqlparser::tokenizer::Token;
use job::Caching;

use crate::error::{PlanError, Result};
use crate::statement::{
    CreateTempTable, Explain, ExplainFormat, ExplainOptions, Insert, Name, OnCommit, Statement,
    TempTableSource,
};

use super::cursor::{Cursor, fold};
use super::options::{boolean, option_list};

pub(super) fn query_statement(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let mut query = cursor.query()?;
    if let Some(unsupported) = forbid_writes(&query) {
        return Ok(Statement::Unsupported(unsupported));
    }
    match take_into(&mut query) {
        None => Ok(Statement::Query(query)),
        Some(into) => select_into(into, query),
    }
}

/// Does a query write (`WITH x AS (…) INSERT …`)?
pub(super) fn forbid_writes(query: &Query) -> Option<PlanError> {
    match query.body.as_ref() {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => Some(
            PlanError::unsupported("data-modifying statements after WITH are"),
        ),
        _ => None,
    }
}

fn take_into(query: &mut Query) -> Option<ast::SelectInto> {
    match query.body.as_mut() {
        SetExpr::Select(select) => select.into.take(),
        _ => None,
    }
}

/// `SELECT … INTO TEMP t` is CREATE TEMP TABLE AS.
fn select_into(into: ast::SelectInto, query: Box<Query>) -> Result<Statement> {
    if !into.temporary {
        return Ok(Statement::Unsupported(permanent_table()));
    }
    let name = object_name(&into.name)?;
    Ok(table_of(name.name, query, None))
}

/// CREATE TEMP TABLE AS, with nothing but the query.
pub(super) fn table_of(name: String, query: Box<Query>, caching: Option<Caching>) -> Statement {
    Statement::CreateTempTable(Box::new(CreateTempTable {
        name,
        if_not_exists: false,
        on_commit: OnCommit::PreserveRows,
        source: TempTableSource::Query {
            query,
            columns: Vec::new(),
            with_data: true,
        },
        caching,
        warnings: Vec::new(),
    }))
}

pub(super) fn permanent_table() -> PlanError {
    PlanError::unsupported("permanent tables are").with_hint(
        "Use CREATE TEMP TABLE for a table of this session, or CREATE EXTERNAL TABLE for files that exist already.",
    )
}

pub(super) fn object_name(name: &ast::ObjectName) -> Result<Name> {
    let mut parts = name
        .0
        .iter()
        .map(|part| part.as_ident().map(fold))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| PlanError::syntax(format!("improper qualified name: {name}")))?;
    if parts.len() > 3 {
        return Err(PlanError::syntax(format!(
            "improper qualified name (too many dotted names): {}",
            parts.join(".")
        )));
    }
    let name = parts.pop().unwrap_or_default();
    Ok(Name {
        schema: parts.pop(),
        name,
    })
}

pub(super) fn insert(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let ast::Statement::Insert(insert) = cursor.sql_statement()? else {
        return Err(PlanError::internal("INSERT parsed into something else"));
    };
    if insert.on.is_some() {
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "ON CONFLICT is",
        )));
    }
    if insert.returning.is_some() {
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "RETURNING is",
        )));
    }
    let TableObject::TableName(table) = &insert.table else {
        return Err(PlanError::syntax("INSERT needs the name of a table"));
    };
    let columns = insert
        .columns
        .iter()
        .map(|column| match column.0.as_slice() {
            [only] => only.as_ident().map(fold),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| PlanError::unsupported("assignments to parts of a column are"))?;
    Ok(Statement::Insert(Box::new(Insert {
        table: object_name(table)?,
        columns,
        source: insert.source,
    })))
}

pub(super) fn explain(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("explain")?;
    let mut options = ExplainOptions::default();
    // `EXPLAIN (SELECT 1)` is a query in parentheses.
    let is_option_list = cursor.peek_is(&Token::LParen)
        && !matches!(
            cursor.peek_nth_word(1).as_deref(),
            Some("select" | "with" | "values" | "table") | None
        );
    if is_option_list {
        for (name, value) in option_list(cursor)? {
            match name.as_str() {
                "analyze" => options.analyze = boolean(&name, &value)?,
                "verbose" => options.verbose = boolean(&name, &value)?,
                "format" => {
                    options.format = match value.as_deref().unwrap_or_default() {
                        "text" => ExplainFormat::Text,
                        "json" => ExplainFormat::Json,
                        other @ ("xml" | "yaml") => {
                            return Ok(Statement::Unsupported(PlanError::unsupported(format!(
                                "EXPLAIN format {other} is"
                            ))));
                        }
                        other => {
                            return Err(PlanError::new(
                                job::SqlState::INVALID_PARAMETER_VALUE,
                                format!(
                                    "unrecognized value for EXPLAIN option \"format\": \"{other}\""
                                ),
                            ));
                        }
                    };
                }
                // Nothing of ours to show or hide.
                "costs" | "buffers" | "timing" | "summary" | "settings" | "wal"
                | "generic_plan" | "memory" => {
                    boolean(&name, &value)?;
                }
                _ => {
                    return Err(PlanError::syntax(format!(
                        "unrecognized EXPLAIN option \"{name}\""
                    )));
                }
            }
        }
    } else {
        options.analyze = cursor.accept_any(&["analyze", "analyse"]);
        options.verbose = cursor.accept_word("verbose");
    }
    let start = cursor.index();
    let statement = super::statement(cursor)?;
    match &statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::CreateTempTable(_)
        | Statement::DeclareCursor(_)
        | Statement::Execute { .. } => {}
        Statement::Unsupported(error) => return Ok(Statement::Unsupported(error.clone())),
        _ => return Err(PlanError::syntax("EXPLAIN takes a query")),
    }
    Ok(Statement::Explain(Box::new(Explain {
        options,
        statement: cursor.nested(statement, start),
    })))
}
