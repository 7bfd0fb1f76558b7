//! COPY, new and old syntax.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{PlanError, Result};
use crate::statement::{CopyDirection, CopyEndpoint, CopyStatement, Statement};

use super::cursor::Cursor;
use super::options::option_list;

pub(super) fn copy(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("copy")?;
    let mut options = Vec::new();
    if cursor.accept_word("binary") {
        options.push(("format".to_owned(), "binary".to_owned()));
    }
    let source = if cursor.accept(&Token::LParen) {
        let query = cursor.query()?;
        cursor.expect(&Token::RParen)?;
        CopyEndpoint::Query(query)
    } else {
        let name = cursor.name()?;
        let columns = if cursor.peek_is(&Token::LParen) {
            cursor.parenthesised(Cursor::identifier)?
        } else {
            Vec::new()
        };
        CopyEndpoint::Table { name, columns }
    };
    let direction = if cursor.accept_word("to") {
        if !cursor.accept_word("stdout") {
            return server_files(cursor);
        }
        CopyDirection::ToStdout
    } else if cursor.accept_word("from") {
        if matches!(source, CopyEndpoint::Query(_)) {
            cursor.back();
            return Err(cursor.syntax_error());
        }
        if !cursor.accept_word("stdin") {
            return server_files(cursor);
        }
        CopyDirection::FromStdin
    } else {
        return Err(cursor.syntax_error());
    };
    let with = cursor.accept_word("with");
    if cursor.peek_is(&Token::LParen) {
        for (name, value) in option_list(cursor)? {
            options.push((name, value.unwrap_or_else(|| "true".to_owned())));
        }
    } else {
        old_options(cursor, &mut options)?;
        if with && options.is_empty() {
            return Err(cursor.syntax_error());
        }
    }
    if cursor.accept_word("where") {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(PlanError::unsupported(
            "COPY FROM … WHERE is",
        )));
    }
    Ok(Statement::Copy(Box::new(CopyStatement {
        source,
        direction,
        options,
    })))
}

/// COPY from or to a file or program of the server's machine.
fn server_files(cursor: &mut Cursor<'_>) -> Result<Statement> {
    if cursor.accept_string().is_none() && cursor.peek_word().as_deref() != Some("program") {
        return Err(cursor.syntax_error());
    }
    cursor.skip_to_end();
    Ok(Statement::Unsupported(
        PlanError::unsupported("COPY to or from files of the server is").with_hint(
            "Use COPY … TO STDOUT or psql's \\copy, or CREATE EXTERNAL TABLE to read files.",
        ),
    ))
}

/// PostgreSQL's syntax before 9.0: `CSV HEADER DELIMITER ',' NULL ''`.
fn old_options(cursor: &mut Cursor<'_>, options: &mut Vec<(String, String)>) -> Result<()> {
    loop {
        if cursor.accept_word("binary") {
            options.push(("format".to_owned(), "binary".to_owned()));
        } else if cursor.accept_word("csv") {
            options.push(("format".to_owned(), "csv".to_owned()));
        } else if cursor.accept_word("header") {
            options.push(("header".to_owned(), "true".to_owned()));
        } else if let Some(name @ ("delimiter" | "delimiters" | "null" | "quote" | "escape")) =
            cursor.peek_word().as_deref()
        {
            let name = name.trim_end_matches('s').to_owned();
            cursor.advance();
            cursor.accept_word("as");
            options.push((name, cursor.string()?));
        } else if cursor.accept_word("encoding") {
            options.push(("encoding".to_owned(), cursor.string()?));
        } else if cursor.accept_words(&["force", "quote"]) {
            let columns = if cursor.accept(&Token::Mul) {
                "*".to_owned()
            } else {
                cursor.comma_separated(Cursor::identifier)?.join(",")
            };
            options.push(("force_quote".to_owned(), columns));
        } else {
            return Ok(());
        }
    }
}
