//! Powers, roots, exponentials and logarithms.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use job::SqlState;

use super::{Checked, argument_digits};
use crate::arithmetic::floats::{overflow, underflow};
use crate::error::PgError;
use crate::kit::{Args, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric;

/// Digits behind the point of roots, powers and logarithms of numerics.
const TRANSCENDENTAL_SCALE: i8 = 16;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        power(),
        PgFunction::immutable(
            "sqrt",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], TRANSCENDENTAL, sqrt_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, sqrt_float8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "exp",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], POWER, exp_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, exp_float8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "ln",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], TRANSCENDENTAL, ln_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, ln_float8),
                ]
            },
        )
        .udf(),
        Arc::new(ScalarUDF::new_from_impl(
            PgFunction::immutable(
                "log",
                const {
                    &[
                        Overload::returning(&[Ty::Numeric], TRANSCENDENTAL, log10_numeric),
                        Overload::new(&[Ty::Float8], Ty::Float8, log10_float8),
                        Overload::returning(&[Ty::Numeric, Ty::Numeric], TRANSCENDENTAL, log_base),
                    ]
                },
            )
            .alias("log10"),
        )),
    ]
}

/// Of roots and logarithms, which have fewer digits in front of the point than their arguments.
const TRANSCENDENTAL: Returns = Returns::Computed(|types, _| {
    let whole = argument_digits(types).whole.div_euclid(2) + 1;
    let scale = TRANSCENDENTAL_SCALE;
    Ok(numeric::decimal(whole.max(6) + i16::from(scale), scale))
});
/// Of powers, which may have any number of them.
const POWER: Returns = Returns::Computed(|_, _| {
    Ok(DataType::Decimal256(
        numeric::PRECISION_MAX,
        TRANSCENDENTAL_SCALE,
    ))
});

/// `power(a, b)` and `a ^ b`.
pub(crate) fn power() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(
        PgFunction::immutable(
            "power",
            const {
                &[
                    Overload::returning(&[Ty::Numeric, Ty::Numeric], POWER, power_numeric),
                    Overload::new(&[Ty::Float8, Ty::Float8], Ty::Float8, power_float8),
                ]
            },
        )
        .alias("pow"),
    ))
}

fn zero_to_negative() -> PgError {
    PgError::new(
        SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
        "zero raised to a negative power is undefined",
    )
}

fn complex_power() -> PgError {
    PgError::new(
        SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
        "a negative number raised to a non-integer power yields a complex result",
    )
}

two!(power_float8, float8, float8, |base: f64, exponent: f64| {
    if base == 0.0 && exponent < 0.0 {
        return Err(zero_to_negative());
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return Err(complex_power());
    }
    checked_float(base.powf(exponent), &[base, exponent], base != 0.0)
});

/// A float result that became infinite or zero although no operand was.
fn checked_float(result: f64, operands: &[f64], may_not_be_zero: bool) -> Checked<f64> {
    if result.is_infinite() && operands.iter().all(|operand| operand.is_finite()) {
        return Err(overflow());
    }
    if result == 0.0 && may_not_be_zero && operands.iter().all(|operand| operand.is_finite()) {
        return Err(underflow());
    }
    Ok(result)
}

two!(
    power_numeric,
    numeric,
    numeric,
    |base: Numeric, exponent: Numeric| {
        let zero = i256::ZERO;
        if base.value == zero && exponent.value < zero {
            return Err(zero_to_negative());
        }
        let whole = numeric::truncate(exponent, 0);
        let is_whole = numeric::compare(whole, exponent).is_eq();
        if base.value < zero && !is_whole {
            return Err(complex_power());
        }
        if is_whole && let Some(exponent @ -1000..=1000) = whole.value.to_i128() {
            return whole_power(base, exponent);
        }
        from_float(numeric::to_f64(base).powf(numeric::to_f64(exponent)))
    }
);

/// Exact while it fits, by squaring.
fn whole_power(base: Numeric, exponent: i128) -> Checked<Numeric> {
    let one = Numeric::whole(1);
    let mut result = one;
    let mut square = base;
    let mut left = exponent.unsigned_abs();
    while left > 0 {
        if left & 1 == 1 {
            result = product(result, square)?;
        }
        left >>= 1;
        if left > 0 {
            square = product(square, square)?;
        }
    }
    if exponent < 0 {
        return numeric::divide(one, result, 20);
    }
    Ok(result)
}

fn product(left: Numeric, right: Numeric) -> Checked<Numeric> {
    let scale = left.scale.saturating_add(right.scale).min(20);
    numeric::multiply(left, right, scale)
}

/// A double as a numeric of its sixteen or so digits.
fn from_float(value: f64) -> Checked<Numeric> {
    if !value.is_finite() {
        return Err(PgError::numeric_too_long());
    }
    let text = format!("{value:.20}");
    numeric::from_text(&text)
        .or_else(|| numeric::from_text(&format!("{value:.0}")))
        .ok_or_else(PgError::numeric_too_long)
}

fn sqrt_of_negative() -> PgError {
    PgError::new(
        SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
        "cannot take square root of a negative number",
    )
}

one!(sqrt_float8, float8, |value: f64| {
    if value < 0.0 {
        return Err(sqrt_of_negative());
    }
    Ok(value.sqrt())
});

one!(sqrt_numeric, numeric, |value: Numeric| {
    if value.value.is_negative() {
        return Err(sqrt_of_negative());
    }
    numeric::square_root(value, TRANSCENDENTAL_SCALE)
});

one!(exp_float8, float8, |value: f64| checked_float(
    value.exp(),
    &[value],
    true
));
one!(exp_numeric, numeric, |value: Numeric| from_float(
    numeric::to_f64(value).exp()
));

fn log_of(positive: bool, is_zero: bool) -> Checked<()> {
    if positive {
        return Ok(());
    }
    Err(PgError::new(
        SqlState::INVALID_ARGUMENT_FOR_LOGARITHM,
        if is_zero {
            "cannot take logarithm of zero"
        } else {
            "cannot take logarithm of a negative number"
        },
    ))
}

one!(ln_float8, float8, |value: f64| {
    log_of(!(value <= 0.0), value == 0.0)?;
    Ok::<f64, PgError>(value.ln())
});
one!(log10_float8, float8, |value: f64| {
    log_of(!(value <= 0.0), value == 0.0)?;
    Ok::<f64, PgError>(value.log10())
});
one!(ln_numeric, numeric, |value: Numeric| {
    log_of(value.value.is_positive(), value.value == i256::ZERO)?;
    from_float(numeric::to_f64(value).ln())
});
one!(log10_numeric, numeric, |value: Numeric| {
    log_of(value.value.is_positive(), value.value == i256::ZERO)?;
    from_float(numeric::to_f64(value).log10())
});
two!(
    log_base,
    numeric,
    numeric,
    |base: Numeric, value: Numeric| {
        log_of(base.value.is_positive(), base.value == i256::ZERO)?;
        log_of(value.value.is_positive(), value.value == i256::ZERO)?;
        let divisor = numeric::to_f64(base).ln();
        if divisor == 0.0 {
            return Err(PgError::division_by_zero());
        }
        // Powers of the base come out whole; a quotient of logarithms would miss them by a bit.
        let quotient = numeric::to_f64(value).ln() / divisor;
        let whole = quotient.round();
        if whole.abs() < 1e4 && numeric::to_f64(base).powf(whole) == numeric::to_f64(value) {
            return from_float(whole);
        }
        from_float(quotient)
    }
);
