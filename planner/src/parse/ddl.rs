//! CREATE, DROP, COMMENT.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, TableConstraint};
use datafusion::sql::sqlparser::tokenizer::Token;
use job::{ErrorReport, SqlState};

use crate::error::{PlanError, Result};
use crate::statement::{
    ColumnSpec, CommentOn, CreateExternalTable, CreateTempTable, CreateView, Drop, DropKind,
    FileColumnOrder, Name, OnCommit, Statement, TempTableSource, ViewPersistence,
};
use crate::types;

use super::cursor::{Cursor, fold};
use super::options::option_list;
use super::query::permanent_table;

pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("create")?;
    let or_replace = cursor.accept_words(&["or", "replace"]);
    if cursor.accept_words(&["external", "table"]) {
        return external_table(cursor, or_replace);
    }
    let temporary = {
        // GLOBAL and LOCAL are noise words, as in PostgreSQL.
        let scoped = cursor.accept_any(&["global", "local"]);
        let temporary = cursor.accept_any(&["temp", "temporary"]);
        if scoped && !temporary {
            return Err(cursor.syntax_error());
        }
        temporary
    };
    let unlogged = !temporary && cursor.accept_word("unlogged");
    match cursor.peek_word().as_deref() {
        Some("table") if !or_replace => {
            cursor.advance();
            create_table(cursor, temporary)
        }
        Some("view") if !unlogged => {
            cursor.advance();
            create_view(cursor, or_replace, temporary)
        }
        Some("schema") if !or_replace && !temporary && !unlogged => {
            cursor.advance();
            create_schema(cursor)
        }
        Some(
            what @ ("index" | "unique" | "sequence" | "function" | "procedure" | "trigger" | "type"
            | "domain" | "role" | "user" | "group" | "database" | "extension"
            | "materialized" | "recursive" | "rule" | "policy" | "aggregate" | "operator"
            | "cast" | "collation" | "conversion" | "language" | "foreign" | "server"
            | "publication" | "subscription" | "tablespace" | "statistics" | "event"
            | "access" | "text" | "transform" | "constraint" | "trusted" | "procedural"),
        ) => {
            let what = match what {
                "materialized" => "MATERIALIZED VIEW".to_owned(),
                "unique" => "INDEX".to_owned(),
                "foreign" if cursor.peek_nth_word(1).as_deref() == Some("table") => {
                    cursor.skip_to_end();
                    return Ok(Statement::Unsupported(
                        PlanError::unsupported("CREATE FOREIGN TABLE is")
                            .with_hint("Use CREATE EXTERNAL TABLE for files."),
                    ));
                }
                other => other.to_ascii_uppercase(),
            };
            cursor.skip_to_end();
            Ok(Statement::Unsupported(PlanError::unsupported(format!(
                "CREATE {what} is"
            ))))
        }
        _ => Err(cursor.syntax_error()),
    }
}

/// CREATE [TEMP] TABLE, from the name on.
fn create_table(cursor: &mut Cursor<'_>, temporary: bool) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let temporary = temporary || name.schema.as_deref() == Some("pg_temp");
    if !temporary {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(permanent_table()));
    }
    if name
        .schema
        .as_deref()
        .is_some_and(|schema| schema != "pg_temp")
    {
        return Err(PlanError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            "cannot create temporary relation in non-temporary schema",
        ));
    }
    let mut warnings = Vec::new();
    // `(a int)` defines columns, `(a, b) AS` names those of a query.
    let named_only = cursor.peek_is(&Token::LParen)
        && matches!(cursor.peek_nth(1), Token::Word(_))
        && matches!(cursor.peek_nth(2), Token::Comma | Token::RParen);
    let mut columns = Vec::new();
    let mut names = Vec::new();
    if named_only {
        names = cursor.parenthesised(Cursor::identifier)?;
    } else if cursor.peek_is(&Token::LParen) {
        if cursor.peek_nth_word(1).as_deref() == Some("like") {
            cursor.skip_to_end();
            return Ok(Statement::Unsupported(PlanError::unsupported(
                "CREATE TABLE (LIKE …) is",
            )));
        }
        if cursor.peek_nth(1) == &Token::RParen {
            return Err(PlanError::unsupported("tables without columns are"));
        }
        let (definitions, constraints) = cursor.columns()?;
        columns = column_specs(definitions, constraints, &mut warnings)?;
    } else if let Some(what @ ("of" | "partition")) = cursor.peek_word().as_deref() {
        let what = what.to_ascii_uppercase();
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(format!(
            "CREATE TABLE … {what} is"
        ))));
    }
    let mut on_commit = OnCommit::PreserveRows;
    loop {
        if cursor.accept_words(&["on", "commit"]) {
            on_commit = if cursor.accept_words(&["preserve", "rows"]) {
                OnCommit::PreserveRows
            } else if cursor.accept_words(&["delete", "rows"]) {
                OnCommit::DeleteRows
            } else if cursor.accept_word("drop") {
                OnCommit::Drop
            } else {
                return Err(cursor.syntax_error());
            };
        } else if cursor.accept_words(&["without", "oids"]) {
            // The only way tables are.
        } else if cursor.peek_word().as_deref() == Some("with")
            && cursor.peek_nth(1) == &Token::LParen
        {
            // Storage parameters tune PostgreSQL's heap.
            cursor.advance();
            option_list(cursor)?;
        } else if cursor.accept_any(&["tablespace", "using"]) {
            cursor.identifier()?;
        } else {
            break;
        }
    }
    let source = if cursor.accept_word("as") {
        if !columns.is_empty() {
            cursor.back();
            return Err(cursor.syntax_error());
        }
        if cursor.peek_word().as_deref() == Some("execute") {
            cursor.skip_to_end();
            return Ok(Statement::Unsupported(PlanError::unsupported(
                "CREATE TABLE AS EXECUTE is",
            )));
        }
        let query = cursor.query()?;
        let with_data = if cursor.accept_words(&["with", "no", "data"]) {
            false
        } else {
            cursor.accept_words(&["with", "data"]);
            true
        };
        TempTableSource::Query {
            query,
            columns: names,
            with_data,
        }
    } else {
        if columns.is_empty() {
            return Err(cursor.syntax_error());
        }
        TempTableSource::Columns(columns)
    };
    Ok(Statement::CreateTempTable(Box::new(CreateTempTable {
        name: name.name,
        if_not_exists,
        on_commit,
        source,
        caching: None,
        warnings,
    })))
}

/// Definitions to columns; clauses that would need an index to enforce are accepted with a
/// warning, others refused.
fn column_specs(
    definitions: Vec<ColumnDef>,
    constraints: Vec<TableConstraint>,
    warnings: &mut Vec<ErrorReport>,
) -> Result<Vec<ColumnSpec>> {
    let mut not_null = BTreeSet::new();
    for constraint in constraints {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                for column in &key.columns {
                    if let datafusion::sql::sqlparser::ast::Expr::Identifier(ident) =
                        &column.column.expr
                    {
                        not_null.insert(fold(ident));
                    }
                }
                warn_not_enforced(warnings, "PRIMARY KEY");
            }
            TableConstraint::Unique(_) => warn_not_enforced(warnings, "UNIQUE"),
            TableConstraint::ForeignKey(_) => {
                return Err(PlanError::unsupported("foreign keys are"));
            }
            TableConstraint::Check(_) => {
                return Err(PlanError::unsupported("check constraints are"));
            }
            other => {
                return Err(PlanError::unsupported(format!(
                    "the table constraint {other} is"
                )));
            }
        }
    }
    let mut columns: Vec<ColumnSpec> = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let name = fold(&definition.name);
        if columns.iter().any(|column| column.field.name() == &name) {
            return Err(PlanError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let mut nullable = !not_null.contains(&name);
        let mut default = None;
        for option in definition.options {
            match option.option {
                ColumnOption::Null | ColumnOption::Comment(_) | ColumnOption::Collation(_) => {}
                ColumnOption::NotNull => nullable = false,
                ColumnOption::Default(value) => default = Some(value),
                ColumnOption::PrimaryKey(_) => {
                    nullable = false;
                    warn_not_enforced(warnings, "PRIMARY KEY");
                }
                ColumnOption::Unique(_) => warn_not_enforced(warnings, "UNIQUE"),
                ColumnOption::ForeignKey(_) => {
                    return Err(PlanError::unsupported("foreign keys are"));
                }
                ColumnOption::Check(_) => {
                    return Err(PlanError::unsupported("check constraints are"));
                }
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    return Err(PlanError::unsupported("generated columns are"));
                }
                other => {
                    return Err(PlanError::unsupported(format!(
                        "the column option {other} is"
                    )));
                }
            }
        }
        columns.push(ColumnSpec {
            field: Arc::new(types::field(&name, &definition.data_type, nullable)?),
            default,
        });
    }
    if let Some(unknown) = not_null
        .iter()
        .find(|name| !columns.iter().any(|column| column.field.name() == *name))
    {
        return Err(PlanError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{unknown}\" named in key does not exist"),
        ));
    }
    Ok(columns)
}

fn warn_not_enforced(warnings: &mut Vec<ErrorReport>, what: &str) {
    let warning = ErrorReport::new(
        SqlState::WARNING,
        format!("{what} is accepted but uniqueness is not enforced"),
    );
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

/// CREATE [OR REPLACE] [TEMP] VIEW, from the name on.
fn create_view(cursor: &mut Cursor<'_>, or_replace: bool, temporary: bool) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let mut name = cursor.name()?;
    let in_temp_schema = name.schema.as_deref() == Some("pg_temp");
    if in_temp_schema {
        name.schema = None;
    }
    let columns = if cursor.peek_is(&Token::LParen) {
        cursor.parenthesised(Cursor::identifier)?
    } else {
        Vec::new()
    };
    if cursor.peek_word().as_deref() == Some("with") && cursor.peek_nth(1) == &Token::LParen {
        cursor.advance();
        for (option, _) in option_list(cursor)? {
            match option.as_str() {
                // Both concern privileges and planning, which are the same for us either way.
                "security_barrier" | "security_invoker" => {}
                "check_option" => return Err(PlanError::unsupported("check_option is")),
                _ => {
                    return Err(PlanError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("unrecognized parameter \"{option}\""),
                    ));
                }
            }
        }
    }
    cursor.expect_word("as")?;
    let start = cursor.index();
    let query = cursor.query()?;
    let sql = cursor.text_of(start, cursor.index());
    if cursor.peek_word().as_deref() == Some("with") {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "WITH CHECK OPTION is",
        )));
    }
    Ok(Statement::CreateView(Box::new(CreateView {
        name,
        or_replace,
        if_not_exists,
        persistence: if temporary || in_temp_schema {
            ViewPersistence::Temporary
        } else {
            ViewPersistence::Permanent
        },
        columns,
        query,
        sql,
    })))
}

fn create_schema(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = if cursor.accept_word("authorization") {
        cursor.identifier()?
    } else {
        let name = cursor.identifier()?;
        if cursor.accept_word("authorization") {
            cursor.identifier()?;
        }
        name
    };
    if !cursor.at_end() {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "CREATE SCHEMA with elements is",
        )));
    }
    Ok(Statement::CreateSchema {
        name,
        if_not_exists,
    })
}

/// CREATE [OR REPLACE] EXTERNAL TABLE, from the name on. Clauses come in any order.
fn external_table(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    let columns = if cursor.peek_is(&Token::LParen) {
        let mut warnings = Vec::new();
        let (definitions, constraints) = cursor.columns()?;
        if let Some(constraint) = constraints.first() {
            return Err(PlanError::unsupported(format!(
                "{constraint} of an external table is"
            )));
        }
        let columns = column_specs(definitions, constraints, &mut warnings)?;
        if !warnings.is_empty() {
            return Err(PlanError::unsupported(
                "constraints of an external table are",
            ));
        }
        if columns.iter().any(|column| column.default.is_some()) {
            return Err(PlanError::unsupported("defaults of an external table are"));
        }
        columns
    } else {
        Vec::new()
    };
    let mut format = None;
    let mut location = None;
    let mut options: Option<Vec<(String, String)>> = None;
    let mut partitioned_by = Vec::new();
    let mut order = Vec::new();
    loop {
        let position = cursor.position();
        if cursor.accept_words(&["stored", "as"]) {
            let name = match cursor.accept_string() {
                Some(name) => name,
                None => cursor.identifier()?,
            };
            once(
                &mut format,
                name.to_ascii_uppercase(),
                "STORED AS",
                position,
            )?;
        } else if cursor.accept_word("location") {
            once(&mut location, cursor.string()?, "LOCATION", position)?;
        } else if cursor.accept_word("options") {
            let list = option_list(cursor)?
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_else(|| "true".to_owned())))
                .collect::<Vec<_>>();
            if let Some(twice) = list
                .iter()
                .enumerate()
                .find_map(|(i, (name, _))| list[..i].iter().any(|(n, _)| n == name).then_some(name))
            {
                return Err(PlanError::syntax(format!(
                    "option \"{twice}\" specified more than once"
                )));
            }
            once(&mut options, list, "OPTIONS", position)?;
        } else if cursor.accept_words(&["partitioned", "by"]) {
            if !partitioned_by.is_empty() {
                return Err(repeated("PARTITIONED BY", position));
            }
            partitioned_by = cursor.parenthesised(partition_column)?;
        } else if cursor.accept_words(&["with", "order"]) {
            order.push(cursor.parenthesised(order_column)?);
        } else if cursor.accept_words(&["with", "header", "row"]) {
            options
                .get_or_insert_with(Vec::new)
                .push(("has_header".to_owned(), "true".to_owned()));
        } else {
            break;
        }
    }
    let (Some(format), Some(location)) = (format, location) else {
        if !cursor.at_end() {
            return Err(cursor.syntax_error());
        }
        return Err(
            PlanError::syntax("an external table needs STORED AS and LOCATION")
                .with_hint("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/data/t/';"),
        );
    };
    Ok(Statement::CreateExternalTable(Box::new(
        CreateExternalTable {
            name,
            or_replace,
            if_not_exists,
            columns,
            format,
            location,
            options: options.unwrap_or_default(),
            partitioned_by,
            order,
        },
    )))
}

fn once<T>(slot: &mut Option<T>, value: T, clause: &str, position: Option<u32>) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(repeated(clause, position));
    }
    Ok(())
}

fn repeated(clause: &str, position: Option<u32>) -> PlanError {
    PlanError::syntax(format!("{clause} specified more than once")).with_position(position)
}

fn partition_column(cursor: &mut Cursor<'_>) -> Result<(String, Option<FieldRef>)> {
    let name = cursor.identifier()?;
    if matches!(cursor.peek(), Token::Comma | Token::RParen) {
        return Ok((name, None));
    }
    let data_type = cursor.data_type()?;
    let field = types::field(&name, &data_type, true)?;
    Ok((name, Some(Arc::new(field))))
}

fn order_column(cursor: &mut Cursor<'_>) -> Result<FileColumnOrder> {
    let column = cursor.identifier()?;
    let descending = if cursor.accept_word("desc") {
        true
    } else {
        cursor.accept_word("asc");
        false
    };
    let nulls_first = if cursor.accept_words(&["nulls", "first"]) {
        true
    } else if cursor.accept_words(&["nulls", "last"]) {
        false
    } else {
        descending
    };
    Ok(FileColumnOrder {
        column,
        descending,
        nulls_first,
    })
}

pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("drop")?;
    let kind = if cursor.accept_words(&["external", "table"])
        || cursor.accept_words(&["foreign", "table"])
        || cursor.accept_word("table")
    {
        DropKind::Table
    } else if cursor.accept_word("view") {
        DropKind::View
    } else if cursor.accept_word("schema") {
        DropKind::Schema
    } else {
        let Some(word) = cursor.peek_word() else {
            return Err(cursor.syntax_error());
        };
        let what = if word == "materialized" {
            "MATERIALIZED VIEW".to_owned()
        } else {
            word.to_ascii_uppercase()
        };
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(format!(
            "DROP {what} is"
        ))));
    };
    let if_exists = cursor.if_exists();
    let names = cursor.comma_separated(Cursor::name)?;
    let cascade = cursor.accept_word("cascade");
    if !cascade {
        cursor.accept_word("restrict");
    }
    Ok(Statement::Drop(Drop {
        kind,
        if_exists,
        names,
        cascade,
    }))
}

pub(super) fn comment(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("comment")?;
    cursor.expect_word("on")?;
    let on = if cursor.accept_word("table") || cursor.accept_words(&["foreign", "table"]) {
        CommentOn::Table(cursor.name()?)
    } else if cursor.accept_word("view") {
        CommentOn::View(cursor.name()?)
    } else if cursor.accept_word("schema") {
        CommentOn::Schema(cursor.identifier()?)
    } else if cursor.accept_word("column") {
        let mut parts = vec![cursor.identifier()?];
        while cursor.accept(&Token::Period) {
            parts.push(cursor.identifier()?);
        }
        let column = parts.pop().unwrap_or_default();
        let Some(name) = parts.pop() else {
            return Err(PlanError::syntax("column name must be qualified"));
        };
        CommentOn::Column {
            relation: Name {
                schema: parts.pop(),
                name,
            },
            column,
        }
    } else {
        let Some(word) = cursor.peek_word() else {
            return Err(cursor.syntax_error());
        };
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(format!(
            "COMMENT ON {} is",
            word.to_ascii_uppercase()
        ))));
    };
    cursor.expect_word("is")?;
    let comment = if cursor.accept_word("null") {
        None
    } else {
        Some(cursor.string()?).filter(|comment| !comment.is_empty())
    };
    Ok(Statement::Comment { on, comment })
}
