//! COPY FROM: the fields of a row, and the layout of binary data.

use std::borrow::Cow;

use functions::pg_type::Result;

use super::framing::{ROW_BYTES_MAX, bad_format, literal_return};
use super::options::{CopyFormat, CopyOptions};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Flags that a reader must understand; bit 16, "has OIDs", went out of use.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// A field: text or a wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// `None` for NULL.
    pub(super) value: Option<Cow<'a, [u8]>>,
}

/// The fields of a line.
pub(super) fn split<'a>(line: &'a [u8], options: &CopyOptions) -> Result<Vec<Field<'a>>> {
    match options.format {
        CopyFormat::Text | CopyFormat::Binary => text_fields(line, options),
        CopyFormat::Csv => csv_fields(line, options),
    }
}

/// Splits at delimiters that no backslash precedes. NULL is compared before escapes are undone.
fn text_fields<'a>(line: &'a [u8], options: &CopyOptions) -> Result<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut plain = true;
    loop {
        let byte = line.get(at).copied();
        match byte {
            Some(b'\\') => {
                plain = false;
                at += 2;
                continue;
            }
            Some(b'\r') => return Err(literal_return(false)),
            Some(byte) if byte != options.delimiter => {
                at += 1;
                continue;
            }
            Some(_) | None => {}
        }
        let raw = &line[start..at.min(line.len())];
        let value = if raw == options.null.as_bytes() {
            None
        } else if plain {
            Some(Cow::Borrowed(raw))
        } else {
            Some(Cow::Owned(unescape(raw)))
        };
        fields.push(Field { value });
        if byte.is_none() {
            return Ok(fields);
        }
        at += 1;
        start = at;
        plain = true;
    }
}

/// `\n` and its like, `\ooo`, `\xhh`; any other escaped byte is itself.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        let Some((escaped, tail)) = rest.split_first() else {
            value.push(b'\\');
            break;
        };
        match escaped {
            b'b' => value.push(0x08),
            b'f' => value.push(0x0c),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(0x0b),
            b'0'..=b'7' => {
                let (number, tail) = digits(rest, 8, 3);
                value.push(number);
                rest = tail;
                continue;
            }
            b'x' if tail.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (number, tail) = digits(tail, 16, 2);
                value.push(number);
                rest = tail;
                continue;
            }
            other => value.push(*other),
        }
        rest = tail;
    }
    value
}

/// Up to `most` digits as a byte; octal 400 and above wraps, as in PostgreSQL.
fn digits(text: &[u8], radix: u32, most: usize) -> (u8, &[u8]) {
    let mut number = 0;
    let mut rest = text;
    for _ in 0..most {
        let Some((digit, tail)) = rest
            .split_first()
            .and_then(|(byte, tail)| Some((char::from(*byte).to_digit(radix)?, tail)))
        else {
            break;
        };
        number = number * radix + digit;
        rest = tail;
    }
    (number as u8, rest)
}

/// Quotes may start anywhere in a field; a field with quotes is not NULL.
fn csv_fields<'a>(line: &'a [u8], options: &CopyOptions) -> Result<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let plain = rest
            .iter()
            .position(|byte| *byte == options.delimiter || *byte == options.quote || *byte == b'\r')
            .unwrap_or(rest.len());
        let (value, used) = match rest.get(plain) {
            Some(byte) if *byte != options.delimiter => {
                let (value, used) = quoted_field(rest, options)?;
                (Some(Cow::Owned(value)), used)
            }
            Some(_) | None => {
                let value = &rest[..plain];
                let is_null = value == options.null.as_bytes();
                ((!is_null).then_some(Cow::Borrowed(value)), plain)
            }
        };
        fields.push(Field { value });
        match rest.get(used..).and_then(<[u8]>::split_first) {
            // The delimiter.
            Some((_, tail)) => rest = tail,
            None => return Ok(fields),
        }
    }
}

/// A field with quotes in it, up to a delimiter outside of them; and its length as written.
fn quoted_field(text: &[u8], options: &CopyOptions) -> Result<(Vec<u8>, usize)> {
    let mut value = Vec::new();
    let mut in_quotes = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if in_quotes {
            let next = text.get(at + 1).copied();
            match next {
                Some(next)
                    if byte == options.escape
                        && (next == options.quote || next == options.escape) =>
                {
                    value.push(next);
                    at += 1;
                }
                _ if byte == options.quote => in_quotes = false,
                _ => value.push(byte),
            }
        } else if byte == options.quote {
            in_quotes = true;
        } else if byte == options.delimiter {
            break;
        } else if byte == b'\r' {
            return Err(literal_return(true));
        } else {
            value.push(byte);
        }
        at += 1;
    }
    Ok((value, at))
}

/// The fields of a binary row, which is whole.
pub(super) fn binary_fields(row: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut input = Bytes(row);
    let count = usize::try_from(input.i16().unwrap_or(0)).unwrap_or(0);
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let value = field_length(&mut input)?
            .flatten()
            .and_then(|length| input.take(length))
            .map(Cow::Borrowed);
        fields.push(Field { value });
    }
    Ok(fields)
}

/// The length of the row at the front, if it is all there.
pub(super) fn binary_row_end(bytes: &[u8]) -> Result<Option<usize>> {
    let mut input = Bytes(bytes);
    let Some(count) = input.i16() else {
        return Ok(None);
    };
    for _ in 0..count {
        match field_length(&mut input)? {
            None => return Ok(None),
            Some(None) => {}
            Some(Some(length)) => {
                if input.take(length).is_none() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(bytes.len() - input.0.len()))
}

/// The length of the header, if it is all there.
pub(super) fn binary_header(bytes: &[u8]) -> Result<Option<usize>> {
    let mut input = Bytes(bytes);
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let fixed = input
        .take(SIGNATURE.len())
        .and_then(|_| Some((input.u32()?, input.u32()?)));
    let Some((flags, extension)) = fixed else {
        return Ok(None);
    };
    if flags & CRITICAL_FLAGS != 0 {
        return Err(bad_format(
            "unrecognized critical flags in COPY file header",
        ));
    }
    if extension as usize > ROW_BYTES_MAX {
        return Err(bad_format("invalid COPY file header (wrong length)"));
    }
    Ok(input
        .take(extension as usize)
        .map(|_| bytes.len() - input.0.len()))
}

/// Reads from the front of what is there; `None` when it does not suffice yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    fn i16(&mut self) -> Option<i16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(i16::from_be_bytes(bytes))
    }
}

/// `Some(None)` is NULL.
#[expect(clippy::option_option, reason = "not there yet, NULL, or a length")]
fn field_length(input: &mut Bytes<'_>) -> Result<Option<Option<usize>>> {
    match input.u32() {
        None => Ok(None),
        Some(u32::MAX) => Ok(Some(None)),
        Some(length) if length as usize > ROW_BYTES_MAX => Err(bad_format("invalid field size")),
        Some(length) => Ok(Some(Some(length as usize))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{CopyDirection, tests::written};
    use super::*;

    fn fields(format: &[(&str, &str)], line: &str) -> Vec<Option<String>> {
        let options = CopyOptions::parse(&written(format), CopyDirection::In).unwrap();
        split(line.as_bytes(), &options)
            .unwrap()
            .into_iter()
            .map(|field| {
                let value = field.value?;
                Some(String::from_utf8(value.into_owned()).unwrap())
            })
            .collect()
    }

    fn expected(fields: &[Option<&str>]) -> Vec<Option<String>> {
        fields
            .iter()
            .map(|field| field.map(str::to_owned))
            .collect()
    }

    #[test]
    fn text() {
        for (line, row) in [
            ("1\ta\\tb\\\\\\101\\x42", &[Some("1"), Some("a\tb\\AB")][..]),
            ("\\N\t\\\nx", &[None, Some("\nx")]),
            ("\\Nx\t\t", &[Some("Nx"), Some(""), Some("")]),
            ("", &[Some("")]),
        ] {
            assert_eq!(fields(&[], line), expected(row), "{line:?}");
        }
    }

    #[test]
    fn csv() {
        let csv = &[("format", "csv")][..];
        let escaped = &[("format", "csv"), ("escape", "\\"), ("delimiter", ";")][..];
        for (format, line, row) in [
            (
                csv,
                "1,\"a\"\"b\nc\",",
                &[Some("1"), Some("a\"b\nc"), None][..],
            ),
            (csv, ",\"\",x\"y,\"z", &[None, Some(""), Some("xy,z")]),
            (csv, "", &[None]),
            (
                escaped,
                "\"a\\\"b\\\\\";c\\d",
                &[Some("a\"b\\"), Some("c\\d")],
            ),
        ] {
            assert_eq!(fields(format, line), expected(row), "{line:?}");
        }
    }
}
