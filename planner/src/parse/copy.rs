//! COPY, new and old syntax.

use datafusion::sql::sqlparser::tokenizer::Token;
use operators::rows::copy::{CopyDirection, CopyOption, CopyValue};

use crate::error::{PlanError, Result};
use crate::statement::{CopyEndpoint, CopyStatement, Statement};

use super::cursor::Cursor;
use super::options::accept_number;

pub(super) fn copy(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect_word("copy")?;
    let mut options = Vec::new();
    if cursor.peek_word().as_deref() == Some("binary") {
        old_option(cursor, &mut options)?;
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
    // To PostgreSQL, STDIN and STDOUT are the same word.
    let direction = if cursor.accept_word("to") {
        if !cursor.accept_any(&["stdout", "stdin"]) {
            return server_files(cursor);
        }
        CopyDirection::Out
    } else if cursor.accept_word("from") {
        if matches!(source, CopyEndpoint::Query(_)) {
            cursor.back();
            return Err(cursor.syntax_error());
        }
        if !cursor.accept_any(&["stdin", "stdout"]) {
            return server_files(cursor);
        }
        CopyDirection::In
    } else {
        return Err(cursor.syntax_error());
    };
    let using = cursor.accept_word("using");
    if using || cursor.peek_word().as_deref() == Some("delimiters") {
        let position = cursor.position();
        cursor.expect_word("delimiters")?;
        let value = CopyValue::Text(cursor.string()?);
        push(&mut options, "delimiter", value, position);
    }
    cursor.accept_word("with");
    if cursor.peek_is(&Token::LParen) {
        options.extend(cursor.parenthesised(option)?);
    } else {
        while old_option(cursor, &mut options)? {}
    }
    if direction == CopyDirection::In && cursor.accept_word("where") {
        cursor.skip_to_end();
        return Ok(Statement::Unsupported(
            PlanError::unsupported("COPY FROM … WHERE is")
                .with_hint("Copy into another temporary table, and INSERT … SELECT … WHERE."),
        ));
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

/// `name [value]`
fn option(cursor: &mut Cursor<'_>) -> Result<CopyOption> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    let value = if matches!(cursor.peek(), Token::Comma | Token::RParen) {
        CopyValue::Absent
    } else if cursor.peek_is(&Token::LParen) {
        CopyValue::List(cursor.parenthesised(|cursor| match cursor.accept_string() {
            Some(member) => Ok(member),
            None => cursor.identifier(),
        })?)
    } else if cursor.accept(&Token::Mul) {
        CopyValue::All
    } else if let Some(text) = cursor.accept_string() {
        CopyValue::Text(text)
    } else if let Some(number) = accept_number(cursor) {
        CopyValue::Text(number)
    } else {
        CopyValue::Text(cursor.identifier()?)
    };
    Ok(CopyOption {
        name,
        value,
        position,
    })
}

/// One item of the syntax before 9.0, `CSV HEADER DELIMITER ',' NULL ''`; false at their end.
fn old_option(cursor: &mut Cursor<'_>, options: &mut Vec<CopyOption>) -> Result<bool> {
    let position = cursor.position();
    let Some(word) = cursor.peek_word() else {
        return Ok(false);
    };
    let (name, value) = match word.as_str() {
        "binary" | "csv" => {
            cursor.advance();
            ("format", CopyValue::Text(word.clone()))
        }
        "header" | "freeze" => {
            cursor.advance();
            (word.as_str(), CopyValue::Absent)
        }
        "delimiter" | "null" | "quote" | "escape" => {
            cursor.advance();
            cursor.accept_word("as");
            (word.as_str(), CopyValue::Text(cursor.string()?))
        }
        "encoding" => {
            cursor.advance();
            ("encoding", CopyValue::Text(cursor.string()?))
        }
        "force" => {
            cursor.advance();
            if cursor.accept_words(&["not", "null"]) {
                ("force_not_null", columns(cursor)?)
            } else if cursor.accept_word("null") {
                ("force_null", columns(cursor)?)
            } else {
                cursor.expect_word("quote")?;
                let all = cursor.accept(&Token::Mul);
                let value = if all {
                    CopyValue::All
                } else {
                    columns(cursor)?
                };
                ("force_quote", value)
            }
        }
        _ => return Ok(false),
    };
    push(options, name, value, position);
    Ok(true)
}

fn columns(cursor: &mut Cursor<'_>) -> Result<CopyValue> {
    let names = cursor.comma_separated(Cursor::identifier)?;
    Ok(CopyValue::List(names))
}

fn push(options: &mut Vec<CopyOption>, name: &str, value: CopyValue, position: Option<u32>) {
    options.push(CopyOption {
        name: name.to_owned(),
        value,
        position,
    });
}
