//! Arithmetic on numerics as 128-bit decimals: rescaling, division, remainder, roots.
//!
//! PostgreSQL's numeric carries a scale per value; a column of ours has one scale for all. So
//! division picks its scale by [`division_type`]: exactly PostgreSQL's for constants, and a fixed
//! one of 16 to 20 digits behind the point for columns. Nothing here wraps or loses digits in
//! front of the point: what does not fit 38 digits is an error.

use std::cmp::Ordering;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, i256};
use datafusion::scalar::ScalarValue;

use crate::error::PgError;
use crate::kit::Numeric;

/// PostgreSQL computes quotients to at least this many significant digits.
const SIGNIFICANT_DIGITS_MIN: i32 = 16;
/// PostgreSQL's numerics are made of digits to this base of ten thousand.
const DECIMAL_DIGITS_PER_DIGIT: i32 = 4;
const PRECISION_MAX: u8 = DECIMAL128_MAX_PRECISION;

/// `10^exponent`, up to what 128 bits hold.
pub(crate) fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

fn wide_power_of_ten(exponent: u32) -> Option<i256> {
    // i256 holds 76 digits.
    (exponent <= 76).then(|| {
        let mut power = i256::ONE;
        for _ in 0..exponent {
            power = power.wrapping_mul(i256::from_i128(10));
        }
        power
    })
}

/// `value / divisor`, rounded half away from zero.
fn divide_rounding(value: i256, divisor: i256) -> Option<i256> {
    let quotient = value.checked_div(divisor)?;
    let remainder = value.checked_rem(divisor)?;
    let twice = remainder.wrapping_abs().checked_mul(i256::from_i128(2))?;
    if twice >= divisor.wrapping_abs() {
        let away = if (value < i256::ZERO) == (divisor < i256::ZERO) {
            i256::ONE
        } else {
            i256::MINUS_ONE
        };
        quotient.checked_add(away)
    } else {
        Some(quotient)
    }
}

fn fits(value: i128, precision: u8) -> bool {
    power_of_ten(u32::from(precision)).is_none_or(|bound| value > -bound && value < bound)
}

/// The unscaled value of a numeric at another scale, rounded half away from zero.
pub(crate) fn to_scale(value: Numeric, scale: i8, precision: u8) -> Result<i128, PgError> {
    let overflow = || {
        if precision == PRECISION_MAX {
            PgError::numeric_too_long()
        } else {
            PgError::numeric_field_overflow(precision, scale)
        }
    };
    let rescaled = rescale(value, scale).ok_or_else(overflow)?;
    if fits(rescaled, precision) {
        Ok(rescaled)
    } else {
        Err(overflow())
    }
}

/// As [`to_scale`] without a precision; `None` beyond 128 bits.
pub(crate) fn rescale(value: Numeric, scale: i8) -> Option<i128> {
    let by = i32::from(scale) - i32::from(value.scale);
    if by >= 0 {
        if value.value == 0 {
            return Some(0);
        }
        return value
            .value
            .checked_mul(power_of_ten(u32::try_from(by).ok()?)?);
    }
    let Some(divisor) = power_of_ten(by.unsigned_abs()) else {
        return Some(0);
    };
    let (quotient, remainder) = (value.value / divisor, value.value % divisor);
    Some(if remainder.unsigned_abs() * 2 >= divisor.unsigned_abs() {
        quotient + value.value.signum()
    } else {
        quotient
    })
}

/// `left / right` at `scale`.
pub(crate) fn divide(left: Numeric, right: Numeric, scale: i8) -> Result<Numeric, PgError> {
    if right.value == 0 {
        return Err(PgError::division_by_zero());
    }
    let shift = i32::from(scale) + i32::from(right.scale) - i32::from(left.scale);
    let power = wide_power_of_ten(shift.unsigned_abs()).ok_or_else(PgError::numeric_too_long)?;
    let (numerator, denominator) = if shift >= 0 {
        (
            i256::from_i128(left.value).checked_mul(power),
            Some(i256::from_i128(right.value)),
        )
    } else {
        (
            Some(i256::from_i128(left.value)),
            i256::from_i128(right.value).checked_mul(power),
        )
    };
    numerator
        .zip(denominator)
        .and_then(|(numerator, denominator)| divide_rounding(numerator, denominator))
        .and_then(i256::to_i128)
        .map(|value| Numeric { value, scale })
        .ok_or_else(PgError::numeric_too_long)
}

/// `left * right` rounded to `scale`.
pub(crate) fn multiply(left: Numeric, right: Numeric, scale: i8) -> Result<Numeric, PgError> {
    let product = i256::from_i128(left.value).checked_mul(i256::from_i128(right.value));
    let drop = i32::from(left.scale) + i32::from(right.scale) - i32::from(scale);
    let power = wide_power_of_ten(drop.unsigned_abs());
    product
        .zip(power)
        .and_then(|(product, power)| {
            if drop >= 0 {
                divide_rounding(product, power)
            } else {
                product.checked_mul(power)
            }
        })
        .and_then(i256::to_i128)
        .map(|value| Numeric { value, scale })
        .ok_or_else(PgError::numeric_too_long)
}

/// Both values at the larger of their scales.
fn aligned(left: Numeric, right: Numeric) -> Option<(i256, i256, i8)> {
    let scale = left.scale.max(right.scale);
    let widen = |value: Numeric| {
        let by = i32::from(scale) - i32::from(value.scale);
        i256::from_i128(value.value).checked_mul(wide_power_of_ten(u32::try_from(by).ok()?)?)
    };
    Some((widen(left)?, widen(right)?, scale))
}

/// The remainder of truncating division; it has the sign of `left`.
pub(crate) fn remainder(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    if right.value == 0 {
        return Err(PgError::division_by_zero());
    }
    aligned(left, right)
        .and_then(|(left, right, scale)| {
            let value = left.checked_rem(right)?.to_i128()?;
            Some(Numeric { value, scale })
        })
        .ok_or_else(PgError::numeric_too_long)
}

/// The truncated quotient, as `div()` gives it.
pub(crate) fn truncated_quotient(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    if right.value == 0 {
        return Err(PgError::division_by_zero());
    }
    aligned(left, right)
        .and_then(|(left, right, _)| {
            let value = left.checked_div(right)?.to_i128()?;
            Some(Numeric { value, scale: 0 })
        })
        .ok_or_else(PgError::numeric_too_long)
}

pub(crate) fn compare(left: Numeric, right: Numeric) -> Ordering {
    match aligned(left, right) {
        Some((left, right, _)) => left.cmp(&right),
        None => to_f64(left).total_cmp(&to_f64(right)),
    }
}

/// Cuts the digits behind `scale`.
pub(crate) fn truncate(value: Numeric, scale: i8) -> Numeric {
    let drop = i32::from(value.scale) - i32::from(scale);
    if drop <= 0 {
        return value;
    }
    match power_of_ten(drop.unsigned_abs()) {
        Some(power) => Numeric {
            value: value.value / power,
            scale,
        },
        None => Numeric { value: 0, scale },
    }
}

pub(crate) fn floor(value: Numeric) -> Numeric {
    let whole = truncate(value, 0);
    if value.value < 0 && compare(whole, value) == Ordering::Greater {
        Numeric {
            value: whole.value - 1,
            scale: 0,
        }
    } else {
        whole
    }
}

pub(crate) fn ceil(value: Numeric) -> Numeric {
    let whole = truncate(value, 0);
    if value.value > 0 && compare(whole, value) == Ordering::Less {
        Numeric {
            value: whole.value + 1,
            scale: 0,
        }
    } else {
        whole
    }
}

/// The nearest double: through text, because two roundings would miss it.
pub(crate) fn to_f64(value: Numeric) -> f64 {
    format!("{}e{}", value.value, -i32::from(value.scale))
        .parse()
        .unwrap_or(f64::NAN)
}

/// The digits as PostgreSQL prints them.
pub(crate) fn to_text(value: Numeric) -> String {
    let digits = value.value.unsigned_abs().to_string();
    let sign = if value.value < 0 { "-" } else { "" };
    let Ok(scale) = usize::try_from(value.scale) else {
        let zeros = "0".repeat(usize::from(value.scale.unsigned_abs()));
        return if value.value == 0 {
            "0".to_owned()
        } else {
            format!("{sign}{digits}{zeros}")
        };
    };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// Reads digits with an optional sign, point and exponent; `None` for anything else, and for
/// values beyond 38 digits.
pub(crate) fn from_text(text: &str) -> Option<Numeric> {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(i128::from(digit - b'0'))?;
    }
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    if scale < 0 {
        value = value.checked_mul(power_of_ten(scale.unsigned_abs())?)?;
        scale = 0;
    }
    if !fits(value, PRECISION_MAX) || scale > i32::from(PRECISION_MAX) {
        return None;
    }
    Some(Numeric {
        value: if negative { -value } else { value },
        scale: i8::try_from(scale).ok()?,
    })
}

/// The smallest type that holds a constant with its scale.
pub(crate) fn type_of(value: Numeric) -> DataType {
    let digits = value
        .value
        .unsigned_abs()
        .checked_ilog10()
        .map_or(1, |log| log + 1);
    let precision = u8::try_from(digits)
        .unwrap_or(PRECISION_MAX)
        .max(value.scale.unsigned_abs())
        .clamp(1, PRECISION_MAX);
    DataType::Decimal128(precision, value.scale)
}

pub(crate) fn literal(value: Numeric) -> ScalarValue {
    match type_of(value) {
        DataType::Decimal128(precision, scale) => {
            ScalarValue::Decimal128(Some(value.value), precision, scale)
        }
        _ => ScalarValue::Null,
    }
}

/// Weight and value of the first base-10000 digit.
fn first_digit(value: Numeric) -> (i32, i128) {
    let magnitude = value.value.unsigned_abs();
    let Some(log) = magnitude.checked_ilog10() else {
        return (0, 0);
    };
    let exponent = i32::try_from(log).unwrap_or(0) - i32::from(value.scale);
    let weight = exponent.div_euclid(DECIMAL_DIGITS_PER_DIGIT);
    let position = weight * DECIMAL_DIGITS_PER_DIGIT + i32::from(value.scale);
    let digit = if position >= 0 {
        power_of_ten(position.unsigned_abs()).map_or(0, |power| value.value.abs() / power)
    } else {
        power_of_ten(position.unsigned_abs())
            .and_then(|power| value.value.abs().checked_mul(power))
            .unwrap_or(0)
    };
    (weight, digit)
}

/// The scale PostgreSQL gives the quotient of two values.
pub(crate) fn division_scale(left: Numeric, right: Numeric) -> i8 {
    let ((left_weight, left_digit), (right_weight, right_digit)) =
        (first_digit(left), first_digit(right));
    let mut weight = left_weight - right_weight;
    if left_digit <= right_digit {
        weight -= 1;
    }
    let scale = (SIGNIFICANT_DIGITS_MIN - weight * DECIMAL_DIGITS_PER_DIGIT)
        .max(i32::from(left.scale))
        .max(i32::from(right.scale))
        .max(0);
    i8::try_from(scale.min(i32::from(PRECISION_MAX))).unwrap_or(0)
}

/// The scale of a quotient of columns: 20 digits behind the point while that leaves the dividend
/// its digits in front, and never fewer than 16.
pub(crate) fn column_division_scale(precision: u8, scale: i8, divisor_scale: i8) -> i8 {
    let whole_digits = i32::from(precision) - i32::from(scale);
    let free = i32::from(PRECISION_MAX) - whole_digits;
    let wanted = free.clamp(16, 20);
    let wanted = wanted.max(i32::from(scale)).max(i32::from(divisor_scale));
    i8::try_from(wanted.min(i32::from(PRECISION_MAX))).unwrap_or(16)
}

pub(crate) fn constant(value: &ScalarValue) -> Option<Numeric> {
    match value {
        ScalarValue::Decimal128(Some(value), _, scale) => Some(Numeric {
            value: *value,
            scale: *scale,
        }),
        ScalarValue::Int16(Some(value)) => Some(Numeric {
            value: i128::from(*value),
            scale: 0,
        }),
        ScalarValue::Int32(Some(value)) => Some(Numeric {
            value: i128::from(*value),
            scale: 0,
        }),
        ScalarValue::Int64(Some(value)) => Some(Numeric {
            value: i128::from(*value),
            scale: 0,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Numeric {
        from_text(text).unwrap()
    }

    fn quotient(left: &str, right: &str) -> String {
        let (left, right) = (n(left), n(right));
        to_text(divide(left, right, division_scale(left, right)).unwrap())
    }

    #[test]
    fn text_round_trips_with_its_scale() {
        for text in [
            "0",
            "1.50",
            "-0.001",
            "123456789012345678901234567890.12345678",
        ] {
            assert_eq!(to_text(n(text)), text);
        }
        assert_eq!(to_text(n("1e3")), "1000");
        assert_eq!(to_text(n("1.5e-3")), "0.0015");
        assert_eq!(from_text("1.5.2"), None);
        assert_eq!(from_text("."), None);
    }

    #[test]
    fn constants_divide_with_postgres_digits() {
        assert_eq!(quotient("1", "3"), "0.33333333333333333333");
        assert_eq!(quotient("10", "4.0"), "2.5000000000000000");
        assert_eq!(quotient("1", "1"), "1.00000000000000000000");
        assert_eq!(quotient("15000", "7"), "2142.8571428571428571");
        assert_eq!(quotient("-2", "3"), "-0.66666666666666666667");
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        let scaled = |text: &str, scale| rescale(n(text), scale).unwrap();
        assert_eq!(scaled("2.5", 0), 3);
        assert_eq!(scaled("-2.5", 0), -3);
        assert_eq!(scaled("2.45", 1), 25);
        assert_eq!(scaled("1250", -2), 13);
    }

    #[test]
    fn floors_ceilings_remainders() {
        assert_eq!(floor(n("-1.2")).value, -2);
        assert_eq!(ceil(n("1.2")).value, 2);
        assert_eq!(floor(n("3.0")).value, 3);
        assert_eq!(to_text(remainder(n("-7.5"), n("2")).unwrap()), "-1.5");
        assert!(divide(n("1"), n("0"), 3).is_err());
    }

    #[test]
    fn too_long_is_an_error_and_never_wraps() {
        assert!(to_scale(n("12345678901234567890123"), 20, 38).is_err());
        assert!(to_scale(n("123.45"), 1, 3).is_err());
        assert_eq!(to_scale(n("99.44"), 1, 3).unwrap(), 994);
    }
}
