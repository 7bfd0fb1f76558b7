//! Mathematical functions where PostgreSQL's type, rounding or error differs from DataFusion's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use crate::error::PgError;
use crate::kit::{Args, Body, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric::{self, Digits};

pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
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
    functions.extend(powers::functions());
    functions.extend(whole::functions());
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
mod powers;
mod whole;

pub(crate) use bits::{shift_left, shift_right};
pub(crate) use powers::power;

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
