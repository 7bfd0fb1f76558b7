//! Mathematical functions where PostgreSQL's type, rounding or error differs from DataFusion's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::arithmetic::floats::{overflow, underflow};
use crate::error::PgError;
use crate::kit::{Args, Body, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric::{self, Digits};

/// Digits behind the point of roots, powers and logarithms of numerics.
const TRANSCENDENTAL_SCALE: i8 = 16;

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        power(),
        shift_left(),
        shift_right(),
        PgFunction::immutable(
            "int_not",
            const {
                &[
                    Overload::new(&[Ty::Int2], Ty::Int2, not2),
                    Overload::new(&[Ty::Int4], Ty::Int4, not4),
                    Overload::new(&[Ty::Int8], Ty::Int8, not8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "abs",
            const {
                &[
                    Overload::new(&[Ty::Int2], Ty::Int2, abs2),
                    Overload::new(&[Ty::Int4], Ty::Int4, abs4),
                    Overload::new(&[Ty::Int8], Ty::Int8, abs8),
                    Overload::returning(&[Ty::Numeric], Returns::Argument(0), abs_numeric),
                    Overload::new(&[Ty::Float4], Ty::Float4, abs_float4),
                    Overload::new(&[Ty::Float8], Ty::Float8, abs_float8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "sign",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], WHOLE, sign_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, sign_float8),
                ]
            },
        )
        .udf(),
        rounding(
            "round",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], WHOLE, round_numeric),
                    Overload::returning(&[Ty::Numeric, Ty::Int4], SCALED, round_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, round_float8),
                ]
            },
        ),
        rounding(
            "trunc",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], WHOLE, trunc_numeric),
                    Overload::returning(&[Ty::Numeric, Ty::Int4], SCALED, trunc_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, trunc_float8),
                ]
            },
        ),
        rounding(
            "floor",
            const {
                &[
                    Overload::returning(&[Ty::Numeric], WHOLE, floor_numeric),
                    Overload::new(&[Ty::Float8], Ty::Float8, floor_float8),
                ]
            },
        ),
        Arc::new(ScalarUDF::new_from_impl(
            PgFunction::immutable(
                "ceil",
                const {
                    &[
                        Overload::returning(&[Ty::Numeric], WHOLE, ceil_numeric),
                        Overload::new(&[Ty::Float8], Ty::Float8, ceil_float8),
                    ]
                },
            )
            .alias("ceiling"),
        )),
        PgFunction::immutable(
            "mod",
            const {
                &[
                    Overload::new(&[Ty::Int2, Ty::Int2], Ty::Int2, mod2),
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, mod4),
                    Overload::new(&[Ty::Int8, Ty::Int8], Ty::Int8, mod8),
                    Overload::returning(&[Ty::Numeric, Ty::Numeric], WIDEST, mod_numeric),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "div",
            const {
                &[Overload::returning(
                    &[Ty::Numeric, Ty::Numeric],
                    WHOLE,
                    div_numeric,
                )]
            },
        )
        .udf(),
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
        PgFunction::immutable(
            "factorial",
            const { &[Overload::returning(&[Ty::Int8], FACTORIAL, factorial)] },
        )
        .udf(),
        PgFunction::immutable(
            "gcd",
            const {
                &[
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, gcd4),
                    Overload::new(&[Ty::Int8, Ty::Int8], Ty::Int8, gcd8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "lcm",
            const {
                &[
                    Overload::new(&[Ty::Int4, Ty::Int4], Ty::Int4, lcm4),
                    Overload::new(&[Ty::Int8, Ty::Int8], Ty::Int8, lcm8),
                ]
            },
        )
        .udf(),
        PgFunction::immutable(
            "width_bucket",
            const {
                &[Overload::new(
                    &[Ty::Float8, Ty::Float8, Ty::Float8, Ty::Int4],
                    Ty::Int4,
                    width_bucket,
                )]
            },
        )
        .udf(),
        PgFunction::immutable(
            "min_scale",
            const { &[Overload::new(&[Ty::Numeric], Ty::Int4, min_scale)] },
        )
        .udf(),
        PgFunction::immutable(
            "scale",
            const { &[Overload::new(&[Ty::Numeric], Ty::Int4, scale_of)] },
        )
        .udf(),
    ];
    functions.extend(degrees::functions());
    functions.extend(domains::functions());
    functions
}

/// The signature of most functions of floats.
const fn float8(body: Body) -> Overload {
    Overload::new(&[Ty::Float8], Ty::Float8, body)
}

fn rounding(name: &'static str, overloads: &'static [Overload]) -> Arc<ScalarUDF> {
    PgFunction::immutable(name, overloads).udf()
}

const WHOLE: Returns = Returns::Computed(whole_type);
const SCALED: Returns = Returns::Computed(scaled_type);
const WIDEST: Returns = Returns::Computed(widest_type);
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
const FACTORIAL: Returns =
    Returns::Computed(|_, _| Ok(DataType::Decimal256(numeric::PRECISION_MAX, 0)));

fn argument_digits(types: &[DataType]) -> Digits {
    types.first().and_then(Digits::of).unwrap_or(Digits {
        whole: 38,
        scale: 0,
    })
}

/// Rounding may carry into one digit more.
fn whole_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let digits = argument_digits(types);
    let carry = i16::from(digits.scale > 0);
    Ok(numeric::decimal(digits.whole + carry, 0))
}

/// `round(x, n)` has n digits behind the point when n is a constant, and x's otherwise.
fn scaled_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let own = argument_digits(types);
    let asked = |digits: i64| {
        let most = i64::from(numeric::NARROW_PRECISION_MAX);
        i8::try_from(digits.clamp(0, most)).unwrap_or(0)
    };
    let scale = match constants.get(1) {
        Some(Some(ScalarValue::Int32(Some(digits)))) => asked(i64::from(*digits)),
        Some(Some(ScalarValue::Int64(Some(digits)))) => asked(*digits),
        _ => own.scale,
    };
    // A negative n rounds digits in front of the point, with a carry too.
    let carry = i16::from(own.scale > 0 || constants.get(1).is_some());
    Ok(numeric::decimal(
        own.whole + carry + i16::from(scale),
        scale,
    ))
}

fn widest_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let digits = types.iter().filter_map(Digits::of).reduce(Digits::union);
    let digits = digits.unwrap_or(Digits {
        whole: 38,
        scale: 0,
    });
    Ok(numeric::decimal(digits.precision(), digits.scale))
}

macro_rules! one {
    ($name:ident, $read:ident, $body:expr) => {
        fn $name(args: &Args) -> Result<ColumnarValue> {
            let value = args.$read(0)?;
            args.rows(|row| match value.get(row) {
                Some(value) => Ok(Some($body(value)?)),
                None => Ok(None),
            })
        }
    };
}

macro_rules! two {
    ($name:ident, $left:ident, $right:ident, $body:expr) => {
        fn $name(args: &Args) -> Result<ColumnarValue> {
            let (left, right) = (args.$left(0)?, args.$right(1)?);
            args.rows(|row| match (left.get(row), right.get(row)) {
                (Some(left), Some(right)) => Ok(Some($body(left, right)?)),
                _ => Ok(None),
            })
        }
    };
}

type Checked<T> = Result<T, PgError>;

one!(not2, int2, |v: i16| -> Checked<i16> { Ok(!v) });
one!(not4, int4, |v: i32| -> Checked<i32> { Ok(!v) });
one!(not8, int8, |v: i64| -> Checked<i64> { Ok(!v) });
one!(abs2, int2, |v: i16| v
    .checked_abs()
    .ok_or_else(|| PgError::out_of_range("smallint")));
one!(abs4, int4, |v: i32| v
    .checked_abs()
    .ok_or_else(|| PgError::out_of_range("integer")));
one!(abs8, int8, |v: i64| v
    .checked_abs()
    .ok_or_else(|| PgError::out_of_range("bigint")));
one!(abs_numeric, numeric, |v: Numeric| -> Checked<Numeric> {
    Ok(Numeric {
        value: v.value.wrapping_abs(),
        ..v
    })
});
one!(abs_float4, float4, |v: f32| -> Checked<f32> { Ok(v.abs()) });
one!(abs_float8, float8, |v: f64| -> Checked<f64> { Ok(v.abs()) });
one!(sign_numeric, numeric, |v: Numeric| -> Checked<Numeric> {
    Ok(Numeric {
        value: v.value.signum(),
        scale: 0,
    })
});
one!(sign_float8, float8, |v: f64| -> Checked<f64> {
    Ok(if v > 0.0 {
        1.0
    } else if v < 0.0 {
        -1.0
    } else {
        v
    })
});
one!(round_float8, float8, |v: f64| -> Checked<f64> {
    Ok(v.round_ties_even())
});
one!(trunc_float8, float8, |v: f64| -> Checked<f64> {
    Ok(v.trunc())
});
one!(floor_float8, float8, |v: f64| -> Checked<f64> {
    Ok(v.floor())
});
one!(ceil_float8, float8, |v: f64| -> Checked<f64> {
    Ok(v.ceil())
});
one!(floor_numeric, numeric, |v: Numeric| -> Checked<Numeric> {
    Ok(numeric::floor(v))
});
one!(ceil_numeric, numeric, |v: Numeric| -> Checked<Numeric> {
    Ok(numeric::ceil(v))
});

// Below the macros, which it uses.
mod bits;
mod degrees;
mod domains;

pub(crate) use bits::{shift_left, shift_right};

/// The digits behind the point asked for, at a row.
fn digits(args: &Args, row: usize) -> Result<Option<i8>> {
    if args.len() < 2 {
        return Ok(Some(0));
    }
    Ok(args
        .int4(1)?
        .get(row)
        .map(|digits| i8::try_from(digits.clamp(-76, 76)).unwrap_or(0)))
}

fn round_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    args.rows(|row| match (value.get(row), digits(args, row)?) {
        (Some(value), Some(scale)) => {
            if scale >= value.scale {
                return Ok(Some(value));
            }
            let rounded = numeric::rescale(value, scale).ok_or_else(PgError::numeric_too_long)?;
            whole_or_scaled(rounded, scale).map(Some)
        }
        _ => Ok(None),
    })
}

/// A value at a possibly negative scale, at scale 0 or above.
fn whole_or_scaled(value: i256, scale: i8) -> Result<Numeric> {
    let number = Numeric { value, scale };
    if scale >= 0 {
        return Ok(number);
    }
    Ok(Numeric {
        value: numeric::rescale(number, 0).ok_or_else(PgError::numeric_too_long)?,
        scale: 0,
    })
}

fn trunc_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    args.rows(|row| match (value.get(row), digits(args, row)?) {
        (Some(value), Some(scale)) => {
            let cut = numeric::truncate(value, scale);
            whole_or_scaled(cut.value, cut.scale).map(Some)
        }
        _ => Ok(None),
    })
}

macro_rules! modulo {
    ($name:ident, $read:ident) => {
        two!($name, $read, $read, |left, right| {
            if right == 0 {
                return Err(PgError::division_by_zero().into());
            }
            // The smallest value modulo -1 is 0.
            let rest: Result<_> = Ok(wrapping_rem(left, right));
            rest
        });
    };
}

trait WrappingRem: Copy {
    fn rem(self, other: Self) -> Self;
}

macro_rules! wrapping_rem_of {
    ($($native:ty),*) => {
        $(impl WrappingRem for $native {
            fn rem(self, other: Self) -> Self {
                self.wrapping_rem(other)
            }
        })*
    };
}

wrapping_rem_of!(i16, i32, i64);

fn wrapping_rem<T: WrappingRem>(left: T, right: T) -> T {
    left.rem(right)
}

modulo!(mod2, int2);
modulo!(mod4, int4);
modulo!(mod8, int8);
two!(mod_numeric, numeric, numeric, numeric::remainder);
two!(div_numeric, numeric, numeric, numeric::truncated_quotient);

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

one!(factorial, int8, |n: i64| {
    if n < 0 {
        return Err(PgError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "factorial of a negative number is undefined",
        ));
    }
    (2..=i128::from(n))
        .try_fold(i256::ONE, |product, factor| {
            product.checked_mul(i256::from_i128(factor))
        })
        .map(|value| Numeric { value, scale: 0 })
        .ok_or_else(PgError::numeric_too_long)
});

fn greatest_divisor(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

two!(gcd4, int4, int4, |a: i32, b: i32| {
    let divisor = greatest_divisor(a.unsigned_abs().into(), b.unsigned_abs().into());
    i32::try_from(divisor).map_err(|_| PgError::out_of_range("integer"))
});
two!(gcd8, int8, int8, |a: i64, b: i64| {
    let divisor = greatest_divisor(a.unsigned_abs().into(), b.unsigned_abs().into());
    i64::try_from(divisor).map_err(|_| PgError::out_of_range("bigint"))
});

fn least_multiple(a: u128, b: u128) -> u128 {
    if a == 0 || b == 0 {
        return 0;
    }
    a / greatest_divisor(a, b) * b
}

two!(lcm4, int4, int4, |a: i32, b: i32| {
    let multiple = least_multiple(a.unsigned_abs().into(), b.unsigned_abs().into());
    i32::try_from(multiple).map_err(|_| PgError::out_of_range("integer"))
});
two!(lcm8, int8, int8, |a: i64, b: i64| {
    let multiple = least_multiple(a.unsigned_abs().into(), b.unsigned_abs().into());
    i64::try_from(multiple).map_err(|_| PgError::out_of_range("bigint"))
});

one!(min_scale, numeric, |value: Numeric| -> Checked<i32> {
    let mut shown = value;
    while shown.scale > 0 {
        let shorter = numeric::truncate(shown, shown.scale - 1);
        if numeric::compare(shorter, shown).is_ne() {
            break;
        }
        shown = shorter;
    }
    Ok(i32::from(shown.scale))
});

fn input_out_of_range() -> PgError {
    PgError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        "input is out of range",
    )
}

one!(scale_of, numeric, |value: Numeric| -> Checked<i32> {
    Ok(i32::from(value.scale))
});

fn width_bucket(args: &Args) -> Result<ColumnarValue> {
    let (value, low, high, count) = (
        args.float8(0)?,
        args.float8(1)?,
        args.float8(2)?,
        args.int4(3)?,
    );
    args.rows(|row| {
        let (Some(value), Some(low), Some(high), Some(count)) =
            (value.get(row), low.get(row), high.get(row), count.get(row))
        else {
            return Ok(None);
        };
        Ok(Some(bucket(value, low, high, count)?))
    })
}

fn bucket(value: f64, low: f64, high: f64, count: i32) -> Checked<i32> {
    let invalid = |message: &str| PgError::new(SqlState(*b"2201G"), message);
    if count <= 0 {
        return Err(invalid("count must be greater than zero"));
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return Err(invalid(
            "operand, lower bound, and upper bound cannot be NaN",
        ));
    }
    if low == high {
        return Err(invalid("lower bound cannot equal upper bound"));
    }
    let (from_low, span, below, above) = if low < high {
        (value - low, high - low, value < low, value >= high)
    } else {
        (low - value, low - high, value > low, value <= high)
    };
    if below {
        return Ok(0);
    }
    if above {
        return count
            .checked_add(1)
            .ok_or_else(|| PgError::out_of_range("integer"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and count")]
    let index = (f64::from(count) * (from_low / span)).floor() as i32;
    Ok(index + 1)
}
