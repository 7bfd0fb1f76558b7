//! `encode` and `decode`: bytes as hex, base64 and escaped text.

use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

use crate::error::PgError;
use crate::kit::Args;

/// Width of a line of base64, as MIME has it.
const BASE64_LINE: usize = 76;

fn unknown_encoding(name: &str) -> PgError {
    PgError::invalid_parameter(format!("unrecognized encoding: \"{name}\""))
}

pub(super) fn encode(args: &Args) -> Result<ColumnarValue> {
    let (bytes, encoding) = (args.bytea(0)?, args.text(1)?);
    args.rows(|row| match (bytes.get(row), encoding.get(row)) {
        (Some(bytes), Some(encoding)) => Ok(Some(match encoding.to_lowercase().as_str() {
            "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            "base64" => base64(bytes),
            "escape" => escape(bytes),
            other => return Err(unknown_encoding(other).into()),
        })),
        _ => Ok(None),
    })
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            0 | 128.. => out.push_str(&format!("\\{byte:03o}")),
            b'\\' => out.push_str("\\\\"),
            byte => out.push(char::from(*byte)),
        }
    }
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        if line == BASE64_LINE {
            out.push('\n');
            line = 0;
        }
        let part = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for index in 0..4 {
            if index <= chunk.len() {
                let sextet = bits >> (18 - 6 * index) & 63;
                out.push(char::from(BASE64[sextet as usize]));
            } else {
                out.push('=');
            }
        }
        line += 4;
    }
    out
}

pub(super) fn decode(args: &Args) -> Result<ColumnarValue> {
    let (text, encoding) = (args.text(0)?, args.text(1)?);
    args.rows(|row| match (text.get(row), encoding.get(row)) {
        (Some(text), Some(encoding)) => Ok(Some(match encoding.to_lowercase().as_str() {
            "hex" => from_hex(text)?,
            "base64" => from_base64(text)?,
            "escape" => crate::pg_type::parse::bytes::bytea(text).map_err(PgError::from)?,
            other => return Err(unknown_encoding(other).into()),
        })),
        _ => Ok(None),
    })
}

fn from_hex(text: &str) -> Result<Vec<u8>, PgError> {
    let mut digits = Vec::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = c.to_digit(16).ok_or_else(|| {
            PgError::invalid_parameter(format!("invalid hexadecimal digit: \"{c}\""))
        })?;
        digits.push(u8::try_from(digit).unwrap_or(0));
    }
    if digits.len() % 2 == 1 {
        return Err(PgError::invalid_parameter(
            "invalid hexadecimal data: odd number of digits",
        ));
    }
    Ok(digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

fn from_base64(text: &str) -> Result<Vec<u8>, PgError> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count, mut padding) = (0_u32, 0, 0);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        if c == b'=' {
            padding += 1;
            continue;
        }
        let Some(value) = BASE64.iter().position(|known| *known == c) else {
            return Err(PgError::invalid_parameter(format!(
                "invalid symbol \"{}\" found while decoding base64 sequence",
                char::from(c)
            )));
        };
        bits = bits << 6 | u32::try_from(value).unwrap_or(0);
        count += 1;
        if count == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, _) => {}
        (2, 2) => out.push((bits >> 4) as u8),
        (3, 1) => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2 & 255) as u8]),
        _ => {
            return Err(
                PgError::invalid_parameter("invalid base64 end sequence").with_hint(
                    "Input data is missing padding, is truncated, or is otherwise corrupted.",
                ),
            );
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_round_trips() {
        for text in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(
                from_base64(&base64(text.as_bytes())).unwrap(),
                text.as_bytes()
            );
        }
        assert_eq!(base64(b"abc"), "YWJj");
        assert!(from_base64("YWJ").is_err());
    }
}
