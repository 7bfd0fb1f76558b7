//! SIMILAR TO patterns as regular expressions, and LIKE patterns with other escapes.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Overload, PgFunction, Ty};

const INVALID_ESCAPE_SEQUENCE: SqlState = SqlState(*b"22025");
const INVALID_ESCAPE_CHARACTER: SqlState = SqlState(*b"22019");

/// `similar_to_escape(pattern [, escape])`: the regular expression a pattern means.
pub(crate) fn similar_to_escape() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "similar_to_escape",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Text, translate),
                Overload::new(&[Ty::Text, Ty::Text], Ty::Text, translate),
            ]
        },
    )
    .udf()
}

fn translate(args: &Args) -> Result<ColumnarValue> {
    let pattern = args.text(0)?;
    let escape = if args.len() > 1 {
        Some(args.text(1)?)
    } else {
        None
    };
    args.rows(|row| {
        let escape = match &escape {
            Some(escape) => match escape.get(row) {
                Some(escape) => one_character(escape)?,
                None => return Ok(None),
            },
            None => Some('\\'),
        };
        match pattern.get(row) {
            Some(pattern) => Ok(Some(regular_expression(pattern, escape)?)),
            None => Ok(None),
        }
    })
}

/// `like_escape(pattern, escape)`: the same LIKE pattern with a backslash for its escape.
pub(crate) fn like_escape() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "like_escape",
        const {
            &[Overload::new(
                &[Ty::Text, Ty::Text],
                Ty::Text,
                with_backslash,
            )]
        },
    )
    .udf()
}

fn with_backslash(args: &Args) -> Result<ColumnarValue> {
    let (pattern, escape) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (pattern.get(row), escape.get(row)) {
        (Some(pattern), Some(escape)) => Ok(Some(match one_character(escape)? {
            Some(escape) => backslashed_like(pattern, escape),
            None => pattern.replace('\\', "\\\\"),
        })),
        _ => Ok(None),
    })
}

/// An empty escape means that there is none.
fn one_character(escape: &str) -> Result<Option<char>, PgError> {
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Ok(None),
        (Some(escape), None) => Ok(Some(escape)),
        (Some(_), Some(_)) => Err(
            PgError::new(INVALID_ESCAPE_CHARACTER, "invalid escape string")
                .with_hint("Escape string must be empty or one character."),
        ),
    }
}

/// A part of a pattern, without anchors.
pub(super) fn body(pattern: &str, escape: &str) -> Result<String, PgError> {
    let mut out = String::with_capacity(pattern.len());
    push_translated(&mut out, pattern, one_character(escape)?)?;
    Ok(out)
}

fn regular_expression(pattern: &str, escape: Option<char>) -> Result<String, PgError> {
    let mut out = String::with_capacity(pattern.len() + 8);
    // The dot must match line ends too, as `_` and `%` do.
    out.push_str("(?s)^(?:");
    push_translated(&mut out, pattern, escape)?;
    out.push_str(")$");
    Ok(out)
}

fn push_translated(out: &mut String, pattern: &str, escape: Option<char>) -> Result<(), PgError> {
    let mut in_brackets = false;
    let mut separators = 0;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                // Around the part that `substring` gives, which is an expression of its own.
                Some('"') => {
                    separators += 1;
                    if separators > 2 {
                        return Err(too_many_separators());
                    }
                    out.push_str(")(?:");
                }
                Some(literal) => push_literal(out, literal),
                None => {
                    return Err(PgError::new(
                        INVALID_ESCAPE_SEQUENCE,
                        "invalid escape sequence",
                    ));
                }
            }
            continue;
        }
        if in_brackets {
            match c {
                ']' => in_brackets = false,
                '\\' => out.push('\\'),
                _ => {}
            }
            out.push(c);
            continue;
        }
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '[' => {
                in_brackets = true;
                out.push('[');
            }
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    Ok(())
}

pub(super) fn too_many_separators() -> PgError {
    PgError::new(
        SqlState(*b"2200C"),
        "SQL regular expression may not contain more than two escape-double-quote separators",
    )
}

fn push_literal(out: &mut String, c: char) {
    if !c.is_alphanumeric() && c.is_ascii() {
        out.push('\\');
    }
    out.push(c);
}

/// The same LIKE pattern with a backslash for its escape.
pub(crate) fn backslashed_like(pattern: &str, escape: char) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == escape {
            match chars.next() {
                Some(literal) => {
                    if matches!(literal, '%' | '_' | '\\') {
                        out.push('\\');
                    }
                    out.push(literal);
                }
                // PostgreSQL complains only when a match gets here: such a pattern hardly ever
                // matches, and then it should match nothing.
                None => out.push_str("\\\\"),
            }
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_patterns() {
        let regex = |pattern| regular_expression(pattern, Some('\\')).unwrap();
        assert_eq!(regex("a%b_"), "(?s)^(?:a.*b.)$");
        assert_eq!(regex("(a|b)+"), "(?s)^(?:(?:a|b)+)$");
        assert_eq!(regex("[a.]"), "(?s)^(?:[a.])$");
        assert_eq!(regex("a.b"), "(?s)^(?:a\\.b)$");
        assert_eq!(regex("a\\%"), "(?s)^(?:a\\%)$");
    }

    #[test]
    fn like_escapes() {
        assert_eq!(backslashed_like("10#%", '#'), "10\\%");
        assert_eq!(backslashed_like("a\\b", '#'), "a\\\\b");
        assert_eq!(backslashed_like("a\\_", '\\'), "a\\_");
        assert_eq!(backslashed_like("a#", '#'), "a\\\\");
    }
}
