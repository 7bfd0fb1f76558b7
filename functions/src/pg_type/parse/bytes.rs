//! Byte strings and UUIDs.

use job::SqlState;

use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::types::Base;

/// `\x` and hex digits, or the escape form with `\\` and `\ooo`.
pub fn bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => hex(digits),
        None => escaped(text),
    }
}

/// The one byte of `"char"` as it is shown: `\ooo` when it is no ASCII character, nothing for zero.
pub fn character(text: &str) -> String {
    let byte = match text.as_bytes() {
        [b'\\', octal @ ..] if octal.len() == 3 => u8::from_str_radix(&text[1..], 8).ok(),
        _ => None,
    };
    let byte = byte.or(text.as_bytes().first().copied()).unwrap_or(0);
    shown_character(byte)
}

/// As [`character`], of the byte itself.
pub fn shown_character(byte: u8) -> String {
    match byte {
        0 => String::new(),
        ascii if ascii.is_ascii() => char::from(ascii).to_string(),
        high => format!("\\{high:03o}"),
    }
}

/// The byte that [`character`] shows.
pub fn character_byte(shown: &str) -> u8 {
    match shown.as_bytes() {
        [b'\\', _, ..] => u8::from_str_radix(&shown[1..], 8).unwrap_or(b'\\'),
        [byte, ..] => *byte,
        [] => 0,
    }
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let mut value = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for character in digits.chars() {
        // Space may stand between bytes, not within one.
        if high.is_none() && matches!(character, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let digit = character.to_digit(16).ok_or_else(|| {
            TypeError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid hexadecimal digit: \"{character}\""),
            )
        })? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(high) => value.push((high << 4) | digit),
        }
    }
    if high.is_some() {
        return Err(TypeError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "invalid hexadecimal data: odd number of digits",
        ));
    }
    Ok(value)
}

fn escaped(text: &str) -> Result<Vec<u8>> {
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(value),
            [b'\\', b'\\', rest @ ..] => {
                value.push(b'\\');
                rest
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                value.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest
            }
            [b'\\', ..] => {
                return Err(TypeError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            [byte, rest @ ..] => {
                value.push(*byte);
                rest
            }
        };
    }
}

/// Thirty-two hex digits, hyphens after any group of four, braces around it all.
pub fn uuid(text: &str) -> Result<[u8; 16]> {
    parse_uuid(text).ok_or_else(|| TypeError::invalid_syntax(Base::Uuid.sql_name(), text))
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => text,
    };
    let mut value = [0; 16];
    let mut bytes = text.bytes().peekable();
    for (index, slot) in value.iter_mut().enumerate() {
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        *slot = (high << 4 | low) as u8;
        if index % 2 == 1 && index < 15 {
            bytes.next_if_eq(&b'-');
        }
    }
    bytes.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_bytea() {
        assert_eq!(bytea("\\xDE ad"), Ok(vec![0xde, 0xad]));
        assert_eq!(bytea("a\\\\b\\001"), Ok(b"a\\b\x01".to_vec()));
        assert_eq!(bytea(""), Ok(vec![]));
        assert_eq!(
            bytea("\\x1").unwrap_err().to_string(),
            "invalid hexadecimal data: odd number of digits"
        );
        assert_eq!(
            bytea("\\xzz").unwrap_err().to_string(),
            "invalid hexadecimal digit: \"z\""
        );
        assert!(bytea("\\4").is_err());
    }

    #[test]
    fn spellings_of_uuid() {
        let value = uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(uuid(text), Ok(value));
        }
        for bad in [
            "",
            "a0eebc99",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a-0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert!(uuid(bad).is_err(), "{bad}");
        }
    }
}
