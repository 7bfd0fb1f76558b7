//! Decimals of up to 76 digits: what Arrow's 256 bits hold.

use arrow::datatypes::i256;
use job::SqlState;

use super::number::trim;
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::types::Base;

/// Digits of Arrow's widest decimal.
pub const DIGITS_MAX: u8 = 76;

/// A decimal with as many places after the point as were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numeric {
    pub unscaled: i256,
    /// At most [`DIGITS_MAX`].
    pub scale: u8,
}

/// Reads sign, digits, point and exponent. `NaN` and infinities are refused: decimals have none.
pub fn numeric(text: &str) -> Result<Numeric> {
    let trimmed = trim(text);
    let (negative, number) = match trimmed.as_bytes() {
        [b'-', ..] => (true, &trimmed[1..]),
        [b'+', ..] => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let bytes = number.as_bytes();
    if !bytes.iter().any(u8::is_ascii_digit) {
        return Err(
            if ["nan", "inf", "infinity"]
                .iter()
                .any(|name| number.eq_ignore_ascii_case(name))
            {
                not_a_decimal(trimmed)
            } else {
                invalid(text)
            },
        );
    }
    let mut digits = Digits::default();
    let mut scale: i64 = 0;
    let mut seen_point = false;
    let mut after_digit = false;
    let mut seen_digit = false;
    let mut exponent: i64 = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits.push(byte - b'0');
                scale += i64::from(seen_point);
                after_digit = true;
                seen_digit = true;
            }
            b'.' if !seen_point => {
                seen_point = true;
                after_digit = false;
            }
            b'_' if after_digit && bytes.get(index + 1).is_some_and(u8::is_ascii_digit) => {
                after_digit = false;
            }
            b'e' | b'E' if seen_digit => {
                exponent = parse_exponent(&number[index + 1..]).ok_or_else(|| invalid(text))?;
                break;
            }
            _ => return Err(invalid(text)),
        }
    }
    scale -= exponent;
    if scale < 0 {
        if !digits.is_zero() {
            for _ in 0..(-scale).min(i64::from(DIGITS_MAX) + 1) {
                digits.push(0);
            }
        }
        scale = 0;
    }
    let scale = u8::try_from(scale)
        .ok()
        .filter(|scale| *scale <= DIGITS_MAX);
    match (digits.value(negative), scale) {
        (Some(unscaled), Some(scale)) => Ok(Numeric { unscaled, scale }),
        _ => Err(too_many_digits()),
    }
}

fn invalid(text: &str) -> TypeError {
    TypeError::invalid_syntax(Base::Numeric.sql_name(), text)
}

/// NaN and the infinities, which PostgreSQL's numeric has and Arrow's decimals have not.
#[cold]
pub(crate) fn not_a_decimal(value: &str) -> TypeError {
    TypeError::unsupported(format!("numeric value \"{value}\" is not supported"))
        .with_hint("Use double precision for NaN and infinities.")
}

#[cold]
pub(crate) fn too_many_digits() -> TypeError {
    TypeError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        "value overflows numeric format",
    )
    .with_detail(format!("A numeric can have at most {DIGITS_MAX} digits."))
    .with_hint("Round the value, or use double precision.")
}

/// A value that a numeric without precision and scale does not hold: it would lose digits.
#[cold]
pub(crate) fn unfit() -> TypeError {
    TypeError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        "value overflows numeric format",
    )
    .with_detail(
        "A numeric without precision and scale holds 36 digits before and 40 after the decimal point.",
    )
    .with_hint(
        "Round the value, or use numeric(p, s), which has up to 76 digits, s of them after the point.",
    )
}

/// PostgreSQL refuses exponents beyond 2^30; anything near that is out of our range anyway.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits
        .parse::<i64>()
        .map_or(1 << 30, |value| value.min(1 << 30));
    Some(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// Decimal digits gathered into an integer; counts those that no longer fit.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    /// The first 38 digits.
    high: u128,
    /// The following 38.
    low: u128,
    /// Without leading zeros.
    count: u32,
}

impl Digits {
    pub(crate) fn push(&mut self, digit: u8) {
        if digit == 0 && self.count == 0 {
            return;
        }
        if self.count < 38 {
            self.high = self.high * 10 + u128::from(digit);
        } else if self.count < 76 {
            self.low = self.low * 10 + u128::from(digit);
        }
        self.count = self.count.saturating_add(1);
    }

    fn is_zero(&self) -> bool {
        self.count == 0
    }

    /// `None` when there were too many.
    pub(crate) fn value(&self, negative: bool) -> Option<i256> {
        if self.count > u32::from(DIGITS_MAX) {
            return None;
        }
        let high = i256::from_parts(self.high, 0);
        let value = if self.count <= 38 {
            high
        } else {
            let shift = i256::from_parts(10u128.pow(self.count - 38), 0);
            high.wrapping_mul(shift)
                .wrapping_add(i256::from_parts(self.low, 0))
        };
        Some(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }
}

impl Numeric {
    /// Decimal digits of the unscaled value, at least 1.
    pub fn precision(&self) -> u8 {
        let absolute = self.unscaled.wrapping_abs();
        (1..=DIGITS_MAX)
            .find(|digits| absolute < power_of_ten(*digits))
            .unwrap_or(DIGITS_MAX)
    }

    /// The unscaled value at another scale, rounded half away from zero. `None` past 76 digits.
    pub fn rescale(&self, scale: i16) -> Option<i256> {
        let change = i32::from(scale) - i32::from(self.scale);
        if self.unscaled == i256::ZERO {
            return Some(i256::ZERO);
        }
        if change >= 0 {
            let places = u8::try_from(change).ok().filter(|n| *n <= DIGITS_MAX)?;
            let value = self.unscaled.checked_mul(power_of_ten(places))?;
            return (value.wrapping_abs() < power_of_ten(DIGITS_MAX)).then_some(value);
        }
        let Some(places) = u8::try_from(-change).ok().filter(|n| *n <= DIGITS_MAX) else {
            return Some(i256::ZERO);
        };
        let divisor = power_of_ten(places);
        let quotient = self.unscaled.wrapping_div(divisor);
        let remainder = self.unscaled.wrapping_rem(divisor).wrapping_abs();
        let half_or_more = remainder >= divisor.wrapping_sub(remainder);
        Some(match (half_or_more, self.unscaled.is_negative()) {
            (false, _) => quotient,
            (true, false) => quotient.wrapping_add(i256::ONE),
            (true, true) => quotient.wrapping_sub(i256::ONE),
        })
    }

    /// The unscaled value of a `numeric(precision, scale)`, or PostgreSQL's overflow error.
    pub fn to_precision_scale(&self, precision: u16, scale: i16) -> Result<i256> {
        let digits = u8::try_from(precision).unwrap_or(u8::MAX).min(DIGITS_MAX);
        self.rescale(scale)
            .filter(|value| value.wrapping_abs() < power_of_ten(digits))
            .ok_or_else(|| field_overflow(precision, scale))
    }
}

/// `numeric field overflow`, with the bound in its detail.
#[cold]
pub fn field_overflow(precision: u16, scale: i16) -> TypeError {
    let bound = match i32::from(precision) - i32::from(scale) {
        0 => "1".to_owned(),
        whole_digits => format!("10^{whole_digits}"),
    };
    TypeError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(
        format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
        ),
    )
}

/// Ten to a power of at most 76.
fn power_of_ten(exponent: u8) -> i256 {
    let low = i256::from_parts(10u128.pow(u32::from(exponent.min(38))), 0);
    if exponent <= 38 {
        return low;
    }
    let high = 10u128.pow(u32::from(exponent.min(76) - 38));
    low.wrapping_mul(i256::from_parts(high, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u8) {
        let value = numeric(text).unwrap();
        (value.unscaled.to_string(), value.scale)
    }

    #[test]
    fn scale_is_what_was_written() {
        assert_eq!(parts("1.50"), ("150".to_owned(), 2));
        assert_eq!(parts(" -0.005 "), ("-5".to_owned(), 3));
        assert_eq!(parts("1e5"), ("100000".to_owned(), 0));
        assert_eq!(parts("1.5e-3"), ("15".to_owned(), 4));
        assert_eq!(parts("12.5e1"), ("125".to_owned(), 0));
        assert_eq!(parts(".5"), ("5".to_owned(), 1));
        assert_eq!(parts("5."), ("5".to_owned(), 0));
        assert_eq!(parts("0e100"), ("0".to_owned(), 0));
        let wide = "9".repeat(76);
        assert_eq!(parts(&wide), (wide.clone(), 0));
    }

    #[test]
    fn refusals() {
        for bad in [
            "", ".", "-", "1e", "1..2", "a", "1 2", "1_", "1e+", "_1", "1__2", "e5",
        ] {
            assert_eq!(
                numeric(bad).unwrap_err().to_string(),
                format!("invalid input syntax for type numeric: \"{bad}\"")
            );
        }
        assert!(
            numeric("NaN")
                .unwrap_err()
                .to_string()
                .contains("not supported")
        );
        assert!(numeric(&"9".repeat(77)).is_err());
        assert!(numeric("1e77").is_err());
        assert!(numeric("1e-77").is_err());
        assert!(numeric("1e999999999999999999999").is_err());
    }

    #[test]
    fn rounding_is_away_from_zero() {
        let round = |text: &str, scale| numeric(text).unwrap().rescale(scale).unwrap().to_string();
        assert_eq!(round("2.5", 0), "3");
        assert_eq!(round("-2.5", 0), "-3");
        assert_eq!(round("2.4999", 0), "2");
        assert_eq!(round("1250", -2), "13");
        assert_eq!(round("1.5", 3), "1500");
        assert_eq!(
            numeric("999.995")
                .unwrap()
                .to_precision_scale(5, 2)
                .unwrap_err()
                .to_string(),
            "numeric field overflow"
        );
        assert_eq!(numeric("0.001").unwrap().precision(), 1);
        assert_eq!(numeric("1000").unwrap().precision(), 4);
    }
}
