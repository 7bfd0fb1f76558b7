//! Arithmetic on numerics of up to 76 digits: rescaling, division, remainder, and their types.
//!
//! PostgreSQL's numeric carries a scale per value; a column of ours has one scale for all. So
//! division picks its scale by [`division_scale`], exactly PostgreSQL's, for constants, and a
//! fixed one of 16 to 20 digits behind the point for columns. Nothing here wraps or loses digits
//! in front of the point: what does not fit 76 digits is an error.
//!
//! A column of numerics without precision and scale ([`is_unconstrained`]) is read without the zeros
//! at the end of its values, computed with as PostgreSQL does, and never rounded to its scale: what
//! needs more digits is an error ([`to_scale`]).
//!
//! Columns are 128 bits wide while 38 digits suffice for every value their type allows, else 256
//! ([`types`]). Values are computed in 256 bits; most fit 128, for which there are short cuts.

mod trim;
mod types;

use std::cmp::Ordering;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::scalar::ScalarValue;

use crate::error::PgError;
use crate::kit::Numeric;
use crate::pg_type::arrow_types::{NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE};
use crate::pg_type::parse;

pub(crate) use trim::trimmed;
pub(crate) use types::{
    Digits, NARROW_PRECISION_MAX, PRECISION_MAX, column_division_scale, common_type, decimal,
    is_unconstrained, outgrow, roomy,
};

/// PostgreSQL computes quotients to at least this many significant digits.
const SIGNIFICANT_DIGITS_MIN: i32 = 16;
/// PostgreSQL's numerics are made of digits to this base of ten thousand.
const DECIMAL_DIGITS_PER_DIGIT: i32 = 4;
const TEN: i256 = i256::from_i128(10);

const POWERS_OF_TEN: [i256; 77] = {
    let mut powers = [i256::ONE; 77];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1].wrapping_mul(TEN);
        exponent += 1;
    }
    powers
};

/// `10^exponent`, up to the 76 digits that numerics have.
pub(crate) fn power_of_ten(exponent: u32) -> Option<i256> {
    POWERS_OF_TEN.get(usize::try_from(exponent).ok()?).copied()
}

/// `value / divisor`, rounded half away from zero.
fn divide_rounding(value: i256, divisor: i256) -> Option<i256> {
    if let (Some(value), Some(divisor)) = (value.to_i128(), divisor.to_i128())
        && let Some(quotient) = value.checked_div(divisor)
    {
        let remainder = (value % divisor).unsigned_abs();
        let away = if remainder >= divisor.unsigned_abs() - remainder {
            if (value < 0) == (divisor < 0) { 1 } else { -1 }
        } else {
            0
        };
        return i256::from_i128(quotient).checked_add(i256::from_i128(away));
    }
    let quotient = value.checked_div(divisor)?;
    let remainder = value.checked_rem(divisor)?.wrapping_abs();
    if remainder >= divisor.wrapping_abs().wrapping_sub(remainder) {
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

/// `value * 10^places / divisor`, rounded half away from zero; digit by digit where the product
/// outgrows 256 bits although the quotient does not.
fn divide_scaled(value: i256, places: u32, divisor: i256) -> Option<i256> {
    if let Some(scaled) = power_of_ten(places).and_then(|power| value.checked_mul(power)) {
        return divide_rounding(scaled, divisor);
    }
    let negative = value.is_negative() != divisor.is_negative();
    let (value, divisor) = (value.checked_abs()?, divisor.checked_abs()?);
    let mut quotient = value.checked_div(divisor)?;
    let mut rest = value.checked_rem(divisor)?;
    for _ in 0..places {
        rest = rest.checked_mul(TEN)?;
        quotient = quotient
            .checked_mul(TEN)?
            .checked_add(rest.checked_div(divisor)?)?;
        rest = rest.checked_rem(divisor)?;
    }
    if rest >= divisor.wrapping_sub(rest) {
        quotient = quotient.checked_add(i256::ONE)?;
    }
    Some(if negative {
        quotient.wrapping_neg()
    } else {
        quotient
    })
}

fn fits(value: i256, precision: u8) -> bool {
    power_of_ten(u32::from(precision)).is_none_or(|bound| value.wrapping_abs() < bound)
}

/// The unscaled value of a numeric at another scale, rounded half away from zero, but not to that of
/// numerics without precision and scale: those are exact.
pub(crate) fn to_scale(value: Numeric, scale: i8, precision: u8) -> Result<i256, PgError> {
    let unconstrained = precision == NUMERIC_DEFAULT_PRECISION && scale == NUMERIC_DEFAULT_SCALE;
    rescale(value, scale)
        .filter(|value| fits(*value, precision))
        .filter(|_| !unconstrained || value.scale <= scale || trimmed(value).scale <= scale)
        .ok_or_else(|| match precision {
            PRECISION_MAX if unconstrained => PgError::numeric_unfit(),
            PRECISION_MAX => PgError::numeric_too_long(),
            NARROW_PRECISION_MAX => PgError::numeric_too_wide(scale),
            _ => PgError::numeric_field_overflow(precision, scale),
        })
}

/// Whether a value, rounded to the scale, has no more digits than the precision.
pub(crate) fn fits_type(value: Numeric, precision: u8, scale: i8) -> bool {
    rescale(value, scale).is_some_and(|value| fits(value, precision))
}

/// As [`to_scale`] without a precision; `None` beyond 256 bits.
pub(crate) fn rescale(value: Numeric, scale: i8) -> Option<i256> {
    let by = i32::from(scale) - i32::from(value.scale);
    if by == 0 || value.value == i256::ZERO {
        return Some(value.value);
    }
    if by > 0 {
        return value
            .value
            .checked_mul(power_of_ten(u32::try_from(by).ok()?)?);
    }
    match power_of_ten(by.unsigned_abs()) {
        Some(divisor) => divide_rounding(value.value, divisor),
        None => Some(i256::ZERO),
    }
}

/// `left / right` at `scale`.
pub(crate) fn divide(left: Numeric, right: Numeric, scale: i8) -> Result<Numeric, PgError> {
    if right.value == i256::ZERO {
        return Err(PgError::division_by_zero());
    }
    let shift = i32::from(scale) + i32::from(right.scale) - i32::from(left.scale);
    let quotient = if shift >= 0 {
        divide_scaled(left.value, shift.unsigned_abs(), right.value)
    } else {
        power_of_ten(shift.unsigned_abs())
            .and_then(|power| right.value.checked_mul(power))
            .and_then(|divisor| divide_rounding(left.value, divisor))
    };
    quotient
        .map(|value| Numeric { value, scale })
        .ok_or_else(PgError::numeric_too_long)
}

/// `left * right`, with all its digits.
pub(crate) fn product(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    let scale = left.scale.checked_add(right.scale);
    multiply(left, right, scale.ok_or_else(PgError::numeric_too_long)?)
}

/// `left * right` rounded to `scale`.
pub(crate) fn multiply(left: Numeric, right: Numeric, scale: i8) -> Result<Numeric, PgError> {
    let narrow = left
        .value
        .to_i128()
        .zip(right.value.to_i128())
        .and_then(|(left, right)| left.checked_mul(right))
        .map(i256::from_i128);
    let drop = i32::from(left.scale) + i32::from(right.scale) - i32::from(scale);
    narrow
        .or_else(|| left.value.checked_mul(right.value))
        .zip(power_of_ten(drop.unsigned_abs()))
        .and_then(|(product, power)| match drop.cmp(&0) {
            Ordering::Equal => Some(product),
            Ordering::Greater => divide_rounding(product, power),
            Ordering::Less => product.checked_mul(power),
        })
        .map(|value| Numeric { value, scale })
        .ok_or_else(PgError::numeric_too_long)
}

/// Both values at the larger of their scales.
fn aligned(left: Numeric, right: Numeric) -> Option<(i256, i256, i8)> {
    let scale = left.scale.max(right.scale);
    Some((rescale(left, scale)?, rescale(right, scale)?, scale))
}

/// The sum, at the larger of the scales.
pub(crate) fn add(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    aligned(left, right)
        .and_then(|(left, right, scale)| {
            let value = left.checked_add(right)?;
            Some(Numeric { value, scale })
        })
        .ok_or_else(PgError::numeric_too_long)
}

pub(crate) fn negated(value: Numeric) -> Numeric {
    Numeric {
        value: value.value.wrapping_neg(),
        ..value
    }
}

/// The remainder of truncating division; it has the sign of `left`.
pub(crate) fn remainder(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    if right.value == i256::ZERO {
        return Err(PgError::division_by_zero());
    }
    aligned(left, right)
        .and_then(|(left, right, scale)| {
            let value = left.checked_rem(right)?;
            Some(Numeric { value, scale })
        })
        .ok_or_else(PgError::numeric_too_long)
}

/// The truncated quotient, as `div()` gives it.
pub(crate) fn truncated_quotient(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    if right.value == i256::ZERO {
        return Err(PgError::division_by_zero());
    }
    aligned(left, right)
        .and_then(|(left, right, _)| {
            let value = left.checked_div(right)?;
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
    let value = power_of_ten(drop.unsigned_abs())
        .and_then(|power| value.value.checked_div(power))
        .unwrap_or(i256::ZERO);
    Numeric { value, scale }
}

pub(crate) fn floor(value: Numeric) -> Numeric {
    let whole = truncate(value, 0);
    if value.value.is_negative() && compare(whole, value) == Ordering::Greater {
        Numeric {
            value: whole.value.wrapping_sub(i256::ONE),
            scale: 0,
        }
    } else {
        whole
    }
}

pub(crate) fn ceil(value: Numeric) -> Numeric {
    let whole = truncate(value, 0);
    if value.value.is_positive() && compare(whole, value) == Ordering::Less {
        Numeric {
            value: whole.value.wrapping_add(i256::ONE),
            scale: 0,
        }
    } else {
        whole
    }
}

/// The square root of a value that is not negative, with `scale` digits behind the point; those
/// beyond the 38 that roots have in 256 bits are zeros.
pub(crate) fn square_root(value: Numeric, scale: i8) -> Result<Numeric, PgError> {
    // The root of `value * 10^2(digits + 1)`, cut to a whole number, has one digit too many: the
    // one by which it is rounded.
    let radicand = |digits: i8| {
        let by = 2 * (i32::from(digits) + 1) - i32::from(value.scale);
        let power = power_of_ten(by.unsigned_abs())?;
        if by >= 0 {
            value.value.checked_mul(power)
        } else {
            value.value.checked_div(power)
        }
    };
    (0..=scale)
        .rev()
        .find_map(|digits| {
            let root = divide_rounding(whole_root(radicand(digits)?)?, TEN)?;
            let root = Numeric {
                value: root,
                scale: digits,
            };
            Some(Numeric {
                value: rescale(root, scale)?,
                scale,
            })
        })
        .ok_or_else(PgError::numeric_too_long)
}

/// The largest whole number whose square is not above `value`: Newton's iteration from above.
fn whole_root(value: i256) -> Option<i256> {
    if value <= i256::ONE {
        return Some(value);
    }
    let bits = 256 - value.leading_zeros();
    let two = i256::from_i128(2);
    let mut root = two.checked_pow(bits.div_ceil(2))?;
    loop {
        let next = root
            .checked_add(value.checked_div(root)?)?
            .checked_div(two)?;
        if next >= root {
            return Some(root);
        }
        root = next;
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
    let digits = value.value.wrapping_abs().to_string();
    let sign = if value.value.is_negative() { "-" } else { "" };
    let Ok(scale) = usize::try_from(value.scale) else {
        let zeros = "0".repeat(usize::from(value.scale.unsigned_abs()));
        return if value.value == i256::ZERO {
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

/// The numeric that a text spells; `None` for anything else, and for values beyond 76 digits.
pub(crate) fn from_text(text: &str) -> Option<Numeric> {
    let parsed = parse::numeric::numeric(text).ok()?;
    Some(Numeric {
        value: parsed.unscaled,
        scale: i8::try_from(parsed.scale).ok()?,
    })
}

/// The smallest type that holds a constant with its scale.
pub(crate) fn type_of(value: Numeric) -> DataType {
    let digits = value
        .value
        .wrapping_abs()
        .checked_ilog10()
        .map_or(1, |log| log + 1);
    decimal(i16::try_from(digits).unwrap_or(i16::MAX), value.scale)
}

/// A constant of a numeric type; `None` if it has more digits than the type.
pub(crate) fn literal_of(value: Numeric, data_type: &DataType) -> Option<ScalarValue> {
    match *data_type {
        DataType::Decimal128(precision, scale) => {
            let unscaled = to_scale(value, scale, precision).ok()?.to_i128()?;
            Some(ScalarValue::Decimal128(Some(unscaled), precision, scale))
        }
        DataType::Decimal256(precision, scale) => {
            let unscaled = to_scale(value, scale, precision).ok()?;
            Some(ScalarValue::Decimal256(Some(unscaled), precision, scale))
        }
        _ => None,
    }
}

/// A constant in the smallest type that holds it.
pub(crate) fn literal(value: Numeric) -> ScalarValue {
    literal_of(value, &type_of(value)).unwrap_or(ScalarValue::Null)
}

/// Weight and value of the first base-10000 digit.
fn first_digit(value: Numeric) -> (i32, i256) {
    let magnitude = value.value.wrapping_abs();
    let Some(log) = magnitude.checked_ilog10() else {
        return (0, i256::ZERO);
    };
    let exponent = i32::try_from(log).unwrap_or(0) - i32::from(value.scale);
    let weight = exponent.div_euclid(DECIMAL_DIGITS_PER_DIGIT);
    let position = weight * DECIMAL_DIGITS_PER_DIGIT + i32::from(value.scale);
    let power = power_of_ten(position.unsigned_abs());
    let digit = if position >= 0 {
        power.and_then(|power| magnitude.checked_div(power))
    } else {
        power.and_then(|power| magnitude.checked_mul(power))
    };
    (weight, digit.unwrap_or(i256::ZERO))
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

/// The quotient of values of numerics without precision and scale, with PostgreSQL's digits as far
/// as there are so many.
pub(crate) fn unconstrained_quotient(left: Numeric, right: Numeric) -> Result<Numeric, PgError> {
    let (left, right) = (trimmed(left), trimmed(right));
    let scale = division_scale(left, right).min(NUMERIC_DEFAULT_SCALE);
    divide(left, right, scale)
}

pub(crate) fn constant(value: &ScalarValue) -> Option<Numeric> {
    let (value, scale) = match value {
        ScalarValue::Decimal128(Some(value), _, scale) => (i256::from_i128(*value), *scale),
        ScalarValue::Decimal256(Some(value), _, scale) => (*value, *scale),
        ScalarValue::Int16(Some(value)) => (i256::from_i128(i128::from(*value)), 0),
        ScalarValue::Int32(Some(value)) => (i256::from_i128(i128::from(*value)), 0),
        ScalarValue::Int64(Some(value)) => (i256::from_i128(i128::from(*value)), 0),
        _ => return None,
    };
    Some(Numeric { value, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Numeric {
        from_text(text).unwrap()
    }

    fn whole(value: i128) -> i256 {
        i256::from_i128(value)
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
            "-12345678901234567890123456789012345678901234567890.12345678901234567890",
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
    fn quotients_whose_dividend_outgrows_256_bits_are_computed_digit_by_digit() {
        let dividend = n(&"9".repeat(70));
        let divisor = n(&format!("{}1", "7".repeat(60)));
        let digits = divide_scaled(dividend.value, 30, divisor.value).unwrap();
        assert_eq!(
            digits.to_string(),
            "1285714285714285714285714285714285714286"
        );
        let negative = divide_scaled(dividend.value.wrapping_neg(), 30, divisor.value).unwrap();
        assert_eq!(negative, digits.wrapping_neg());
    }

    #[test]
    fn roots_are_rounded_at_their_scale() {
        let root = |text: &str, scale| to_text(square_root(n(text), scale).unwrap());
        assert_eq!(root("2", 20), "1.41421356237309504880");
        assert_eq!(root("0", 5), "0.00000");
        assert_eq!(root("144.0000", 2), "12.00");
        assert_eq!(root("3.3333333333333333", 16), "1.8257418583505537");
        let long = "12345678901234567890123456789012345678901234567890";
        assert_eq!(root(long, 16), "3513641828820144253111222.3816998829390000");
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        let scaled = |text: &str, scale| rescale(n(text), scale).unwrap();
        assert_eq!(scaled("2.5", 0), whole(3));
        assert_eq!(scaled("-2.5", 0), whole(-3));
        assert_eq!(scaled("2.45", 1), whole(25));
        assert_eq!(scaled("1250", -2), whole(13));
    }

    #[test]
    fn numerics_without_precision_are_exact_or_an_error() {
        let stored = |text: &str| to_scale(n(text), 40, 76);
        assert!(stored(&format!("0.{}1", "0".repeat(39))).is_ok());
        assert!(stored(&format!("0.{}1", "0".repeat(40))).is_err());
        assert!(stored(&format!("1.5{}", "0".repeat(60))).is_ok());
        assert!(stored(&"9".repeat(36)).is_ok());
        assert!(stored(&"9".repeat(37)).is_err());
        let quotient = |left, right| to_text(unconstrained_quotient(n(left), n(right)).unwrap());
        assert_eq!(quotient("1.0000000000", "3.00"), "0.33333333333333333333");
        assert_eq!(quotient("20000.00", "3"), "6666.6666666666666667");
    }

    #[test]
    fn floors_ceilings_remainders() {
        assert_eq!(floor(n("-1.2")).value, whole(-2));
        assert_eq!(ceil(n("1.2")).value, whole(2));
        assert_eq!(floor(n("3.0")).value, whole(3));
        assert_eq!(to_text(remainder(n("-7.5"), n("2")).unwrap()), "-1.5");
        assert!(divide(n("1"), n("0"), 3).is_err());
    }

    #[test]
    fn too_long_is_an_error_and_never_wraps() {
        assert!(to_scale(n("12345678901234567890123"), 20, 38).is_err());
        assert!(to_scale(n(&"1".repeat(70)), 20, 76).is_err());
        assert!(to_scale(n("123.45"), 1, 3).is_err());
        assert_eq!(to_scale(n("99.44"), 1, 3).unwrap(), whole(994));
    }
}
