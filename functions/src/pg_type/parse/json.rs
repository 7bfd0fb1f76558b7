//! JSON: whether text is JSON, and the normal form that jsonb has.
//!
//! `json` keeps the text as it was given. `jsonb` keeps the value: the last of equal keys, keys
//! ordered by length and then by bytes, numbers as numerics, no space but after `:` and `,`.

use std::borrow::Cow;

use job::SqlState;

use crate::pg_type::error::{Result, TypeError};

/// Nesting beyond this is refused, as PostgreSQL does when its stack runs out.
const DEPTH_MAX: usize = 1_000;

/// Digits that a jsonb number may have when written out: PostgreSQL's limit before the point.
const NUMBER_DIGITS_MAX: i64 = 131_072;

/// Checks that text is one JSON value.
pub fn json(text: &str) -> Result<()> {
    parse(text, Unicode::Keep).map(|_| ())
}

/// The normal form of a JSON value.
pub fn jsonb(text: &str) -> Result<String> {
    let value = parse(text, Unicode::Decode)?;
    let mut out = String::with_capacity(text.len());
    value.write(&mut out)?;
    Ok(out)
}

/// The value of a string of a document, quotes and escapes taken away.
pub(crate) fn decode_string(string: &str) -> Result<String> {
    let mut parser = Parser {
        rest: string,
        unicode: Unicode::Decode,
    };
    parser.string().map(Cow::into_owned)
}

enum Value<'a> {
    /// `null`, `true`, `false`.
    Word(&'static str),
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// Whether escapes must name characters that text can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unicode {
    Keep,
    Decode,
}

fn parse(text: &str, unicode: Unicode) -> Result<Value<'_>> {
    let mut parser = Parser {
        rest: text,
        unicode,
    };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.rest.is_empty() {
        Ok(value)
    } else {
        Err(parser.expected("end of input"))
    }
}

struct Parser<'a> {
    rest: &'a str,
    unicode: Unicode,
}

#[cold]
fn invalid(detail: impl Into<String>) -> TypeError {
    TypeError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        "invalid input syntax for type json",
    )
    .with_detail(detail)
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// The next token, for an error's detail.
    fn token(&self) -> &'a str {
        let word = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii()))
            .unwrap_or(self.rest.len());
        let one = self.rest.chars().next().map_or(0, char::len_utf8);
        &self.rest[..word.max(one)]
    }

    #[cold]
    fn expected(&self, what: &str) -> TypeError {
        let token = self.token();
        if token.is_empty() {
            return invalid("The input string ended unexpectedly.");
        }
        let starts_a_token = matches!(
            token.as_bytes()[0],
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' | b'-' | b'0'..=b'9'
        ) || matches!(token, "true" | "false" | "null");
        if starts_a_token {
            let token = if token == "\"" {
                self.string_token()
            } else {
                token
            };
            invalid(format!("Expected {what}, but found \"{token}\"."))
        } else {
            invalid(format!("Token \"{token}\" is invalid."))
        }
    }

    fn string_token(&self) -> &'a str {
        let end = self.rest[1..]
            .find('"')
            .map_or(self.rest.len(), |at| at + 2);
        &self.rest[..end]
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>> {
        if depth > DEPTH_MAX {
            return Err(TypeError::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                "stack depth limit exceeded",
            ));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for word in ["null", "true", "false"] {
                    if self.token() == word {
                        self.rest = &self.rest[word.len()..];
                        return Ok(Value::Word(word));
                    }
                }
                Err(self.expected("JSON value"))
            }
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>> {
        self.eat(b'{');
        let mut members = Vec::new();
        if self.eat(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                let what = if members.is_empty() {
                    "string or \"}\""
                } else {
                    "string"
                };
                return Err(self.expected(what));
            }
            let key = self.string()?;
            if !self.eat(b':') {
                return Err(self.expected("\":\""));
            }
            members.push((key, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>> {
        self.eat(b'[');
        let mut elements = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Value::Array(elements));
            }
            if !self.eat(b',') {
                return Err(self.expected("\",\" or \"]\""));
            }
        }
    }

    fn number(&mut self) -> Result<Value<'a>> {
        let bytes = self.rest.as_bytes();
        let mut at = usize::from(bytes[0] == b'-');
        let digits = |from: usize| {
            bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let whole = digits(at);
        let mut valid = whole > 0 && (whole == 1 || bytes[at] != b'0');
        at += whole;
        if bytes.get(at) == Some(&b'.') {
            let places = digits(at + 1);
            valid &= places > 0;
            at += 1 + places;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let places = bytes
                .get(at + 1 + sign..)
                .map_or(0, |_| digits(at + 1 + sign));
            valid &= places > 0;
            at += 1 + sign + places;
        }
        let tail = self.rest[at..]
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii()))
            .unwrap_or(self.rest.len() - at);
        if !valid || tail > 0 {
            return Err(invalid(format!(
                "Token \"{}\" is invalid.",
                &self.rest[..at + tail]
            )));
        }
        let number = &self.rest[..at];
        self.rest = &self.rest[at..];
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let body = &self.rest[1..];
        let Some(plain) = body.find(|c: char| matches!(c, '"' | '\\') || c < ' ') else {
            return Err(invalid(format!("Token \"{}\" is invalid.", self.rest)));
        };
        if body.as_bytes()[plain] == b'"' {
            self.rest = &body[plain + 1..];
            return Ok(Cow::Borrowed(&body[..plain]));
        }
        let mut value = body[..plain].to_owned();
        let mut chars = body[plain..].chars();
        loop {
            match chars.next() {
                None => return Err(invalid(format!("Token \"{}\" is invalid.", self.rest))),
                Some('"') => {
                    self.rest = chars.as_str();
                    return Ok(Cow::Owned(value));
                }
                Some('\\') => self.escape(&mut chars, &mut value)?,
                Some(c) if c < ' ' => {
                    return Err(invalid(format!(
                        "Character with value 0x{:02x} must be escaped.",
                        c as u32
                    )));
                }
                Some(c) => value.push(c),
            }
        }
    }

    fn escape(&self, chars: &mut std::str::Chars<'a>, value: &mut String) -> Result<()> {
        match chars.next() {
            Some(c @ ('"' | '\\' | '/')) => value.push(c),
            Some('b') => value.push('\x08'),
            Some('f') => value.push('\x0c'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('u') => {
                let first = hex4(chars)?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    let mut ahead = chars.clone();
                    let low = (ahead.next() == Some('\\') && ahead.next() == Some('u'))
                        .then(|| hex4(&mut ahead))
                        .transpose()?
                        .filter(|low| (0xdc00..0xe000).contains(low));
                    let Some(low) = low else {
                        return self.bad_surrogate(
                            "Unicode high surrogate must not follow a high surrogate.",
                            "Unicode low surrogate must follow a high surrogate.",
                            chars.as_str().starts_with("\\ud8"),
                        );
                    };
                    *chars = ahead;
                    0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    first
                };
                match char::from_u32(code) {
                    Some('\0') if self.unicode == Unicode::Decode => {
                        return Err(TypeError::new(
                            SqlState(*b"22P05"),
                            "unsupported Unicode escape sequence",
                        )
                        .with_detail("\\u0000 cannot be converted to text."));
                    }
                    Some(c) => value.push(c),
                    None => {
                        return self.bad_surrogate(
                            "",
                            "Unicode low surrogate must follow a high surrogate.",
                            false,
                        );
                    }
                }
            }
            Some(c) => return Err(invalid(format!("Escape sequence \"\\{c}\" is invalid."))),
            None => return Err(invalid("The input string ended unexpectedly.")),
        }
        Ok(())
    }

    fn bad_surrogate(&self, twice: &str, alone: &str, is_twice: bool) -> Result<()> {
        match (self.unicode, is_twice) {
            // Plain json only checks the syntax of escapes.
            (Unicode::Keep, _) => Ok(()),
            (Unicode::Decode, true) => Err(invalid(twice)),
            (Unicode::Decode, false) => Err(invalid(alone)),
        }
    }
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Result<u32> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = chars
            .next()
            .and_then(|c| c.to_digit(16))
            .ok_or_else(|| invalid("\"\\u\" must be followed by four hexadecimal digits."))?;
        code = code * 16 + digit;
    }
    Ok(code)
}

impl Value<'_> {
    fn write(self, out: &mut String) -> Result<()> {
        match self {
            Value::Word(word) => out.push_str(word),
            Value::Number(number) => write_number(number, out)?,
            Value::String(value) => write_string(&value, out),
            Value::Array(elements) => {
                out.push('[');
                for (index, element) in elements.into_iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    element.write(out)?;
                }
                out.push(']');
            }
            Value::Object(mut members) => {
                // Stable, so that the last of equal keys is the one given last.
                members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
                out.push('{');
                let mut first = true;
                let mut members = members.into_iter().peekable();
                while let Some((key, value)) = members.next() {
                    if members.peek().is_some_and(|(next, _)| *next == key) {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        out.push_str(", ");
                    }
                    write_string(&key, out);
                    out.push_str(": ");
                    value.write(out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

/// As a numeric prints: no exponent, the decimals that were written.
fn write_number(number: &str, out: &mut String) -> Result<()> {
    let (negative, body) = match number.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, number),
    };
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(i64::MAX)),
        None => (body, 0),
    };
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{places}");
    // Where the point stands within the digits.
    let point = (whole.len() as i64).saturating_add(exponent);
    let scale = (places.len() as i64).saturating_sub(exponent).max(0);
    let is_zero = digits.bytes().all(|digit| digit == b'0');
    if (!is_zero && point > NUMBER_DIGITS_MAX) || scale > NUMBER_DIGITS_MAX {
        return Err(TypeError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        ));
    }
    if negative && !is_zero {
        out.push('-');
    }
    let before = usize::try_from(point).unwrap_or(0);
    let mut whole_part: String = digits.chars().take(before).collect();
    if !is_zero {
        whole_part.extend(std::iter::repeat_n(
            '0',
            before.saturating_sub(digits.len()),
        ));
    }
    let whole_part = whole_part.trim_start_matches('0');
    out.push_str(if whole_part.is_empty() {
        "0"
    } else {
        whole_part
    });
    if scale > 0 {
        out.push('.');
        let zeros = usize::try_from(-point).unwrap_or(0).min(scale as usize);
        out.extend(std::iter::repeat_n('0', zeros));
        out.extend(digits.chars().skip(before).take(scale as usize - zeros));
    }
    Ok(())
}

/// A string with its quotes.
pub(crate) fn write_string(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::SqlError;

    #[test]
    fn normal_form() {
        for (text, expected) in [
            (
                r#"{"b":1,"aa":2,"a":3,"b":4}"#,
                r#"{"a": 3, "b": 4, "aa": 2}"#,
            ),
            (
                " [1.0, 1e2 ,-0, 1.5e-3,12.50E1,0e5] ",
                "[1.0, 100, 0, 0.0015, 125.0, 0]",
            ),
            (r#""a\u00e9\n\/\ud83d\ude00""#, "\"aé\\n/😀\""),
            ("null", "null"),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(jsonb(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refusals() {
        for (text, detail) in [
            ("", "The input string ended unexpectedly."),
            ("abc", "Token \"abc\" is invalid."),
            ("[1,", "The input string ended unexpectedly."),
            ("{1}", "Expected string or \"}\", but found \"1\"."),
            ("{\"a\" 1}", "Expected \":\", but found \"1\"."),
            ("01", "Token \"01\" is invalid."),
            ("1 2", "Expected end of input, but found \"2\"."),
            ("\"\\x\"", "Escape sequence \"\\x\" is invalid."),
        ] {
            let error = json(text).unwrap_err();
            assert_eq!(error.to_string(), "invalid input syntax for type json");
            assert_eq!(error.detail().as_deref(), Some(detail), "{text}");
        }
        assert!(json(&"[".repeat(100_000)).is_err());
        assert!(jsonb("\"\\u0000\"").is_err());
        assert!(json("\"\\u0000\"").is_ok());
        assert!(jsonb("\"\\ud800\"").is_err());
        assert!(jsonb("1e999999").is_err());
    }
}
