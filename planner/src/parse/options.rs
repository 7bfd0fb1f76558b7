//! Option lists, as EXPLAIN, COPY and CREATE EXTERNAL TABLE have them.

use datafusion::sql::sqlparser::tokenizer::Token;
use job::SqlState;

use crate::error::{PlanError, Result};

use super::cursor::Cursor;

/// `( name [value], … )`: names lower case; values of words lower case, of strings as they are,
/// of a list in parentheses joined by commas.
pub(super) fn option_list(cursor: &mut Cursor<'_>) -> Result<Vec<(String, Option<String>)>> {
    cursor.parenthesised(|cursor| {
        let name = option_name(cursor)?.to_ascii_lowercase();
        // `name = value` is not PostgreSQL's, but common where these options come from.
        cursor.accept(&Token::Eq);
        let value = if matches!(cursor.peek(), Token::Comma | Token::RParen) {
            None
        } else {
            Some(option_value(cursor)?)
        };
        Ok((name, value))
    })
}

fn option_name(cursor: &mut Cursor<'_>) -> Result<String> {
    if let Some(name) = cursor.accept_string() {
        return Ok(name);
    }
    let mut name = cursor.identifier()?;
    while cursor.accept(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    Ok(name)
}

/// One value as text.
pub(super) fn option_value(cursor: &mut Cursor<'_>) -> Result<String> {
    if let Some(value) = cursor.accept_string() {
        return Ok(value);
    }
    if cursor.peek_is(&Token::LParen) {
        let members = cursor.parenthesised(|cursor| match cursor.accept_string() {
            Some(member) => Ok(member),
            None => cursor.identifier(),
        })?;
        return Ok(members.join(","));
    }
    if cursor.accept(&Token::Mul) {
        return Ok("*".to_owned());
    }
    if let Some(number) = accept_number(cursor) {
        return Ok(number);
    }
    cursor.identifier()
}

/// A number with an optional sign, as it was written.
pub(super) fn accept_number(cursor: &mut Cursor<'_>) -> Option<String> {
    let sign = match (cursor.peek(), cursor.peek_nth(1)) {
        (Token::Minus, Token::Number(..)) => Some("-"),
        (Token::Plus, Token::Number(..)) => Some(""),
        (Token::Number(..), _) => None,
        _ => return None,
    };
    if sign.is_some() {
        cursor.advance();
    }
    let Token::Number(digits, _) = cursor.peek() else {
        return None;
    };
    let number = format!("{}{digits}", sign.unwrap_or_default());
    cursor.advance();
    Some(number)
}

/// A Boolean option; without a value it is on.
pub(super) fn boolean(name: &str, value: &Option<String>) -> Result<bool> {
    match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "on" | "1" | "yes") => Ok(true),
        Some("false" | "off" | "0" | "no") => Ok(false),
        Some(_) => Err(PlanError::new(
            SqlState::SYNTAX_ERROR,
            format!("{name} requires a Boolean value"),
        )),
    }
}
