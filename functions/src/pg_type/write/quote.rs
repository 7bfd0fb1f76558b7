//! Quoting within array and record literals.
//!
//! Both work on what has just been appended to the buffer from `start` on, and rewrite it in
//! place only if it needs quotes, so that plain values cost one scan.

/// Quotes an array element if it is empty, spells NULL, or holds a character with a meaning.
pub fn array_element(out: &mut Vec<u8>, start: usize) {
    let text = &out[start..];
    let needs_quotes = text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text
            .iter()
            .any(|byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*byte));
    if needs_quotes {
        quote(out, start, |_| b'\\');
    }
}

/// Quotes a record field if it is empty or holds a character with a meaning. Quotes and
/// backslashes are doubled.
pub fn record_field(out: &mut Vec<u8>, start: usize) {
    let text = &out[start..];
    let needs_quotes = text.is_empty()
        || text
            .iter()
            .any(|byte| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*byte));
    if needs_quotes {
        quote(out, start, |escaped| escaped);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Wraps the tail in double quotes; `escape` gives what goes before a quote or a backslash.
fn quote(out: &mut Vec<u8>, start: usize, escape: impl Fn(u8) -> u8) {
    let escapes = out[start..]
        .iter()
        .filter(|byte| matches!(byte, b'"' | b'\\'))
        .count();
    let mut from = out.len();
    out.resize(out.len() + escapes + 2, b'"');
    // From the back, so that nothing is overwritten before it has been moved.
    let mut to = out.len() - 1;
    while from > start {
        from -= 1;
        to -= 1;
        let byte = out[from];
        out[to] = byte;
        if matches!(byte, b'"' | b'\\') {
            to -= 1;
            out[to] = escape(byte);
        }
    }
    out[start] = b'"';
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str, quote: fn(&mut Vec<u8>, usize)) -> String {
        let mut out = format!("#{text}").into_bytes();
        quote(&mut out, 1);
        String::from_utf8(out).unwrap().split_off(1)
    }

    #[test]
    fn elements() {
        for (text, expected) in [
            ("a", "a"),
            ("", "\"\""),
            ("NuLL", "\"NuLL\""),
            ("b c", "\"b c\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("{", "\"{\""),
            ("(", "("),
        ] {
            assert_eq!(quoted(text, array_element), expected);
        }
    }

    #[test]
    fn fields() {
        for (text, expected) in [
            ("a", "a"),
            ("", "\"\""),
            ("null", "null"),
            ("a\"b\\", "\"a\"\"b\\\\\""),
            ("(", "\"(\""),
            ("{", "{"),
        ] {
            assert_eq!(quoted(text, record_field), expected);
        }
    }
}
