//! The parts of a JSON document as slices of its text.
//!
//! The text is known to be JSON: input functions have checked it. What is not JSON after all (a
//! text column beside `->`) is checked by whoever calls [`document`].

use crate::error::PgError;
use crate::pg_type::parse::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Null => "null",
        }
    }

    pub(super) fn is_scalar(self) -> bool {
        !matches!(self, Kind::Object | Kind::Array)
    }
}

/// `text` without the space around it, once it is known to be JSON.
pub(super) fn document(text: &str) -> Result<&str, PgError> {
    json::json(text).map_err(PgError::from)?;
    Ok(trim(text))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

pub(super) fn kind(value: &str) -> Kind {
    match value.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// Where the value that begins at `start` ends.
fn end_of(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth <= 1 {
                    return if depth == 1 { at + 1 } else { at };
                }
                depth -= 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Past the closing quote of the string that opens at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The values of an array; of an object, keys and values by turns.
fn values(container: &str) -> Vec<&str> {
    let bytes = container.as_bytes();
    let mut found = Vec::new();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => at += 1,
            b'}' | b']' => break,
            _ => {
                let end = end_of(bytes, at);
                found.push(&container[at..end]);
                at = end.max(at + 1);
            }
        }
    }
    found
}

pub(super) fn elements(array: &str) -> Vec<&str> {
    values(array)
}

/// Keys, decoded, and values.
pub(super) fn members(object: &str) -> Result<Vec<(String, &str)>, PgError> {
    values(object)
        .chunks_exact(2)
        .map(|pair| Ok((decoded(pair[0])?, pair[1])))
        .collect()
}

/// The last member of that key.
pub(super) fn member<'a>(value: &'a str, key: &str) -> Result<Option<&'a str>, PgError> {
    if kind(value) != Kind::Object {
        return Ok(None);
    }
    let plain = !key.contains(['"', '\\']);
    let parts = values(value);
    for pair in parts.chunks_exact(2).rev() {
        let name = pair[0];
        let same = if plain && !name.contains('\\') {
            name.get(1..name.len() - 1) == Some(key)
        } else {
            decoded(name)? == key
        };
        if same {
            return Ok(Some(pair[1]));
        }
    }
    Ok(None)
}

/// The element at an index that counts from the end when it is negative.
pub(super) fn element(value: &str, index: i32) -> Option<&str> {
    if kind(value) != Kind::Array {
        return None;
    }
    let elements = elements(value);
    let at = position(elements.len(), index)?;
    elements.get(at).copied()
}

/// An index from the front; `None` when there is no such element.
pub(super) fn position(length: usize, index: i32) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok().filter(|at| *at < length)
    } else {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

/// The value a path of keys and indexes leads to.
pub(super) fn at_path<'a>(
    document: &'a str,
    path: &[Option<String>],
) -> Result<Option<&'a str>, PgError> {
    let mut value = document;
    for step in path {
        let Some(step) = step else {
            return Ok(None);
        };
        let next = match kind(value) {
            Kind::Object => member(value, step)?,
            Kind::Array => step.trim().parse().ok().and_then(|i| element(value, i)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn decoded(string: &str) -> Result<String, PgError> {
    Ok(json::decode_string(string).map_err(PgError::from)?)
}

/// A value as text: strings without their quotes, JSON's null as NULL.
pub(super) fn as_text(value: &str) -> Result<Option<String>, PgError> {
    match kind(value) {
        Kind::Null => Ok(None),
        Kind::String => decoded(value).map(Some),
        _ => Ok(Some(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_documents() {
        let object = r#"{"a" : [1, {"b":"x,y}"}], "c\n":null,"a":  2.50 }"#;
        assert_eq!(member(object, "a").unwrap(), Some("2.50"));
        assert_eq!(member(object, "c\n").unwrap(), Some("null"));
        assert_eq!(member(object, "d").unwrap(), None);
        let array = r#"[1, "two", [3, [4]], {"five": 5}]"#;
        assert_eq!(
            elements(array),
            ["1", "\"two\"", "[3, [4]]", "{\"five\": 5}"]
        );
        assert_eq!(element(array, -1), Some("{\"five\": 5}"));
        assert_eq!(element(array, 4), None);
        assert_eq!(element(array, i32::MIN), None);
        assert_eq!(elements("[]"), Vec::<&str>::new());
        let path = ["3", "five"].map(|step| Some(step.to_owned()));
        assert_eq!(at_path(array, &path).unwrap(), Some("5"));
    }
}
