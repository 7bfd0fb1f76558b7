//! Booleans, integers and floats, as PostgreSQL 16 reads them.

use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::types::Base;

/// What C's isspace takes, which is what PostgreSQL trims.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
}

/// Any unambiguous prefix of true, false, yes, no, on, off; 1 and 0.
pub fn bool(text: &str) -> Result<bool> {
    let word = trim(text).as_bytes();
    let is_prefix = |of: &str, least: usize| {
        word.len() >= least
            && word.len() <= of.len()
            && of.as_bytes()[..word.len()].eq_ignore_ascii_case(word)
    };
    if is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) || word == b"1" {
        Ok(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == b"0" {
        Ok(false)
    } else {
        Err(TypeError::invalid_syntax(Base::Bool.sql_name(), text))
    }
}

pub fn int2(text: &str) -> Result<i16> {
    let value = integer(text, Base::Int2)?;
    i16::try_from(value).map_err(|_| out_of_range(Base::Int2, text))
}

pub fn int4(text: &str) -> Result<i32> {
    let value = integer(text, Base::Int4)?;
    i32::try_from(value).map_err(|_| out_of_range(Base::Int4, text))
}

pub fn int8(text: &str) -> Result<i64> {
    integer(text, Base::Int8)
}

/// Object identifiers; a negative number wraps around, as it does in PostgreSQL.
pub fn oid(text: &str) -> Result<u32> {
    let value = integer(text, Base::Oid)?;
    u32::try_from(value)
        .or_else(|_| i32::try_from(value).map(|value| value as u32))
        .map_err(|_| out_of_range(Base::Oid, text))
}

fn out_of_range(base: Base, text: &str) -> TypeError {
    TypeError::integer_out_of_range(base.sql_name(), text)
}

/// Decimal, 0x, 0o and 0b, with single underscores between digits.
fn integer(text: &str, base: Base) -> Result<i64> {
    let bytes = trim(text).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    // Eighteen decimal digits cannot overflow: the usual case needs no checks.
    if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        let value = digits
            .iter()
            .fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Ok(if negative { -value } else { value });
    }
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        _ => (10, digits),
    };
    let invalid = || TypeError::invalid_syntax(base.sql_name(), text);
    // Counted downwards, because the least integer has no positive counterpart.
    let mut value: i64 = 0;
    let mut overflow = false;
    let mut after_digit = radix != 10;
    for &byte in digits {
        if byte == b'_' {
            if !std::mem::take(&mut after_digit) {
                return Err(invalid());
            }
            continue;
        }
        let digit = char::from(byte).to_digit(radix).ok_or_else(invalid)?;
        after_digit = true;
        let next = value
            .checked_mul(i64::from(radix))
            .and_then(|value| value.checked_sub(i64::from(digit)));
        match next {
            Some(next) => value = next,
            None => overflow = true,
        }
    }
    if digits.is_empty() || !after_digit {
        return Err(invalid());
    }
    if overflow {
        return Err(out_of_range(base, text));
    }
    if negative {
        Ok(value)
    } else {
        value.checked_neg().ok_or_else(|| out_of_range(base, text))
    }
}

pub fn float4(text: &str) -> Result<f32> {
    let number = float_text(text, Base::Float4)?;
    let value: f32 = number
        .parse()
        .map_err(|_| TypeError::invalid_syntax(Base::Float4.sql_name(), text))?;
    if (value.is_infinite() && !names_infinity(number)) || (value == 0.0 && !is_zero(number)) {
        return Err(TypeError::float_out_of_range(
            Base::Float4.sql_name(),
            number,
        ));
    }
    Ok(value)
}

pub fn float8(text: &str) -> Result<f64> {
    let number = float_text(text, Base::Float8)?;
    let value: f64 = number
        .parse()
        .map_err(|_| TypeError::invalid_syntax(Base::Float8.sql_name(), text))?;
    if (value.is_infinite() && !names_infinity(number)) || (value == 0.0 && !is_zero(number)) {
        return Err(TypeError::float_out_of_range(
            Base::Float8.sql_name(),
            number,
        ));
    }
    Ok(value)
}

/// The number without the space around it. Rust and C agree on what follows, but for the sign
/// of a NaN, which has no meaning.
fn float_text(text: &str, base: Base) -> Result<&str> {
    let number = trim(text);
    if number.is_empty() {
        return Err(TypeError::invalid_syntax(base.sql_name(), text));
    }
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    if unsigned.eq_ignore_ascii_case("nan") {
        return Ok("NaN");
    }
    Ok(number)
}

fn names_infinity(number: &str) -> bool {
    number
        .strip_prefix(['+', '-'])
        .unwrap_or(number)
        .starts_with(['i', 'I'])
}

/// Whether all digits before the exponent are zero.
fn is_zero(number: &str) -> bool {
    number
        .bytes()
        .take_while(|byte| !matches!(byte, b'e' | b'E'))
        .all(|byte| !matches!(byte, b'1'..=b'9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for text in ["t", "TRUE", " yes ", "on", "1", "tr", "y"] {
            assert_eq!(bool(text), Ok(true), "{text}");
        }
        for text in ["f", "false", "no", "OFF", "of", "0", "n"] {
            assert_eq!(bool(text), Ok(false), "{text}");
        }
        for text in ["", "o", "truee", "2", "yess"] {
            assert_eq!(
                bool(text).unwrap_err().to_string(),
                format!("invalid input syntax for type boolean: \"{text}\"")
            );
        }
    }

    #[test]
    fn integers() {
        assert_eq!(int4(" -12 "), Ok(-12));
        assert_eq!(int8("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int8("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(int4("0x7F"), Ok(127));
        assert_eq!(int4("1_000"), Ok(1000));
        assert_eq!(oid("-1"), Ok(u32::MAX));
        for bad in [
            "", "-", "abc", "1.5", "1__0", "_1", "1_", "0x", "1 2", "--1",
        ] {
            assert_eq!(
                int4(bad).unwrap_err().to_string(),
                format!("invalid input syntax for type integer: \"{bad}\"")
            );
        }
        assert_eq!(
            int2("32768").unwrap_err().to_string(),
            "value \"32768\" is out of range for type smallint"
        );
        assert!(int8("9223372036854775808").is_err());
        assert!(int8("99999999999999999999999").is_err());
    }

    #[test]
    fn floats() {
        assert_eq!(float8(" 1.5e3 "), Ok(1500.0));
        assert_eq!(float8("-inf"), Ok(f64::NEG_INFINITY));
        assert!(float8("nan").unwrap().is_nan());
        assert_eq!(float8("4.9e-324"), Ok(5e-324));
        assert_eq!(
            float8("1e400").unwrap_err().to_string(),
            "\"1e400\" is out of range for type double precision"
        );
        assert!(float8("1e-400").is_err());
        assert!(float4("1e40").is_err());
        assert_eq!(float8("0e-400"), Ok(0.0));
        assert!(float8("1e").is_err());
        assert!(float8("").is_err());
    }
}
