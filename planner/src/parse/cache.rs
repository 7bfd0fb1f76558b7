//! CACHE, UNCACHE and REFRESH TABLE, CLEAR CACHE: Spark's statements.

use job::{Caching, SqlState, StorageLevel};

use crate::error::{PlanError, Result};
use crate::statement::{CacheTable, Statement};

use super::cursor::Cursor;
use super::options::option_list;
use super::query::{forbid_writes, table_of};

/// `CACHE [LAZY] TABLE name [OPTIONS (storage_level …)] [[AS] query]`. With a query it is a temporary
/// table from the start.
pub(super) fn cache(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("cache")?;
    let lazy = cursor.accept_word("lazy");
    cursor.expect_word("table")?;
    let position = cursor.position();
    let name = cursor.name()?;
    let level = if cursor.accept_word("options") {
        storage_level(cursor)?
    } else {
        StorageLevel::DEFAULT
    };
    let caching = Caching { level, lazy };
    if !cursor.accept_word("as") && cursor.at_end() {
        return Ok(Statement::CacheTable(CacheTable { name, caching }));
    }
    if name.schema.is_some() {
        return Err(PlanError::syntax(
            "the result of a query is cached under a name without a schema",
        )
        .with_position(position));
    }
    let query = cursor.query()?;
    if let Some(unsupported) = forbid_writes(&query) {
        return Ok(Statement::Unsupported(unsupported));
    }
    Ok(table_of(name.name, query, Some(caching)))
}

/// `(storage_level MEMORY_ONLY)`, or as Spark spells it, `('storageLevel' = 'MEMORY_ONLY')`.
fn storage_level(cursor: &mut Cursor<'_>) -> Result<StorageLevel> {
    let mut level = None;
    for (name, value) in option_list(cursor)? {
        if name.replace('_', "") != "storagelevel" {
            return Err(PlanError::new(
                SqlState::SYNTAX_ERROR,
                format!("unrecognized CACHE TABLE option \"{name}\""),
            )
            .with_hint("The option is storage_level."));
        }
        let value = value.unwrap_or_default();
        let Some(parsed) = StorageLevel::parse(&value) else {
            let names: Vec<_> = StorageLevel::names().collect();
            return Err(PlanError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("\"{value}\" is not a storage level"),
            )
            .with_hint(format!("Storage levels are {}.", names.join(", "))));
        };
        if level.replace(parsed).is_some() {
            return Err(PlanError::syntax("conflicting or redundant options"));
        }
    }
    level.ok_or_else(|| cursor.syntax_error())
}

pub(super) fn uncache(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("uncache")?;
    cursor.expect_word("table")?;
    let if_exists = cursor.if_exists();
    let name = cursor.name()?;
    Ok(Statement::UncacheTable { name, if_exists })
}

pub(super) fn clear(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("clear")?;
    cursor.expect_word("cache")?;
    Ok(Statement::ClearCache)
}

/// `REFRESH [TABLE] name`; PostgreSQL's REFRESH is of materialized views.
pub(super) fn refresh(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("refresh")?;
    if cursor.peek_word().as_deref() == Some("materialized") {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "REFRESH MATERIALIZED VIEW is",
        )));
    }
    cursor.accept_word("table");
    Ok(Statement::RefreshTable(cursor.name()?))
}
