//! To integers, floats, numerics and booleans.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;

use crate::arithmetic::floats::{overflow, underflow};
use crate::error::PgError;
use crate::kit::{Args, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric as decimal;
use crate::pg_type::arrow_types::{NUMERIC_DEFAULT, decimal_type};
use crate::pg_type::parse;

/// A double's decimal text has this many digits that mean something.
const FLOAT8_DIGITS: usize = 15;
const FLOAT4_DIGITS: usize = 6;

pub(crate) fn bool() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "bool",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Bool, bool_from_text),
                Overload::new(&[Ty::Int4], Ty::Bool, bool_from_int),
            ]
        },
    )
    .udf()
}

fn bool_from_text(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| match text.get(row) {
        Some(text) => Ok(Some(parse::number::bool(text).map_err(PgError::from)?)),
        None => Ok(None),
    })
}

fn bool_from_int(args: &Args) -> Result<ColumnarValue> {
    let value = args.int4(0)?;
    args.rows(|row| Ok(value.get(row).map(|value| value != 0)))
}

macro_rules! integer_casts {
    ($name:ident, $native:ty, $ty:expr, $label:literal,
     $text:ident, $double:ident, $single:ident, $numeric:ident, $int:ident) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            PgFunction::immutable(
                stringify!($name),
                const {
                    &[
                        Overload::new(&[Ty::Text], $ty, $text),
                        Overload::new(&[Ty::Float8], $ty, $double),
                        Overload::new(&[Ty::Float4], $ty, $single),
                        Overload::new(&[Ty::Numeric], $ty, $numeric),
                        Overload::new(&[Ty::Int8], $ty, $int),
                    ]
                },
            )
            .udf()
        }

        fn $text(args: &Args) -> Result<ColumnarValue> {
            let text = args.text(0)?;
            args.rows(|row| match text.get(row) {
                Some(text) => Ok(Some(parse::number::$name(text).map_err(PgError::from)?)),
                None => Ok(None),
            })
        }

        fn $double(args: &Args) -> Result<ColumnarValue> {
            let value = args.float8(0)?;
            args.rows(|row| match value.get(row) {
                // Half to even, as the C library rounds; NaN fits nowhere.
                Some(value) => whole(value.round_ties_even())
                    .and_then(|value| <$native>::try_from(value).ok())
                    .map(Some)
                    .ok_or_else(|| PgError::out_of_range($label).into()),
                None => Ok(None),
            })
        }

        fn $single(args: &Args) -> Result<ColumnarValue> {
            let value = args.float4(0)?;
            args.rows(|row| match value.get(row) {
                Some(value) => whole(f64::from(value).round_ties_even())
                    .and_then(|value| <$native>::try_from(value).ok())
                    .map(Some)
                    .ok_or_else(|| PgError::out_of_range($label).into()),
                None => Ok(None),
            })
        }

        fn $numeric(args: &Args) -> Result<ColumnarValue> {
            let value = args.numeric(0)?;
            args.rows(|row| match value.get(row) {
                Some(value) => decimal::rescale(value, 0)
                    .and_then(|value| <$native>::try_from(value.to_i128()?).ok())
                    .map(Some)
                    .ok_or_else(|| PgError::out_of_range($label).into()),
                None => Ok(None),
            })
        }

        fn $int(args: &Args) -> Result<ColumnarValue> {
            let value = args.int8(0)?;
            args.rows(|row| match value.get(row) {
                Some(value) => <$native>::try_from(value)
                    .map(Some)
                    .map_err(|_| PgError::out_of_range($label).into()),
                None => Ok(None),
            })
        }
    };
}

integer_casts!(
    int2,
    i16,
    Ty::Int2,
    "smallint",
    int2_from_text,
    int2_from_float8,
    int2_from_float4,
    int2_from_numeric,
    int2_from_int
);
integer_casts!(
    int4,
    i32,
    Ty::Int4,
    "integer",
    int4_from_text,
    int4_from_float8,
    int4_from_float4,
    int4_from_numeric,
    int4_from_int
);
integer_casts!(
    int8,
    i64,
    Ty::Int8,
    "bigint",
    int8_from_text,
    int8_from_float8,
    int8_from_float4,
    int8_from_numeric,
    int8_from_int
);

/// A rounded float as an integer, if there is one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the bounds are checked, and the value is whole"
)]
fn whole(value: f64) -> Option<i128> {
    (value.abs() < 1e30).then_some(value as i128)
}

pub(crate) fn float8() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "float8",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Float8, float8_from_text),
                Overload::new(&[Ty::Numeric], Ty::Float8, float8_from_numeric),
                Overload::new(&[Ty::Float8], Ty::Float8, float8_from_float8),
            ]
        },
    )
    .udf()
}

fn float8_from_text(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| match text.get(row) {
        Some(text) => Ok(Some(parse::number::float8(text).map_err(PgError::from)?)),
        None => Ok(None),
    })
}

fn float8_from_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    args.rows(|row| Ok(value.get(row).map(decimal::to_f64)))
}

fn float8_from_float8(args: &Args) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    args.rows(|row| Ok(value.get(row)))
}

pub(crate) fn float4() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "float4",
        const {
            &[
                Overload::new(&[Ty::Text], Ty::Float4, float4_from_text),
                Overload::new(&[Ty::Float8], Ty::Float4, float4_from_float8),
                Overload::new(&[Ty::Numeric], Ty::Float4, float4_from_numeric),
            ]
        },
    )
    .udf()
}

fn float4_from_text(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| match text.get(row) {
        Some(text) => Ok(Some(parse::number::float4(text).map_err(PgError::from)?)),
        None => Ok(None),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "overflow and underflow are checked"
)]
fn single(value: f64) -> Result<f32, PgError> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(overflow());
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(underflow());
    }
    Ok(narrow)
}

fn float4_from_float8(args: &Args) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    args.rows(|row| Ok(value.get(row).map(single).transpose()?))
}

fn float4_from_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    args.rows(|row| match value.get(row) {
        // From the digits: by way of a double it would be rounded twice.
        Some(value) => Ok(Some(
            parse::number::float4(&decimal::to_text(value)).map_err(PgError::from)?,
        )),
        None => Ok(None),
    })
}

/// `numeric(x)` and `numeric(x, precision, scale)`.
pub(crate) fn numeric() -> Arc<ScalarUDF> {
    PgFunction::immutable(
        "numeric",
        const {
            &[
                Overload::returning(&[Ty::Text], RETURNS, from_text),
                Overload::returning(&[Ty::Text, Ty::Int4, Ty::Int4], RETURNS, from_text),
                Overload::returning(&[Ty::Numeric], RETURNS, from_numeric),
                Overload::returning(&[Ty::Numeric, Ty::Int4, Ty::Int4], RETURNS, from_numeric),
                // Without these an integer would be taken for a float8, the preferred type.
                Overload::returning(&[Ty::Int2], RETURNS, from_int2),
                Overload::returning(&[Ty::Int2, Ty::Int4, Ty::Int4], RETURNS, from_int2),
                Overload::returning(&[Ty::Int4], RETURNS, from_int4),
                Overload::returning(&[Ty::Int4, Ty::Int4, Ty::Int4], RETURNS, from_int4),
                Overload::returning(&[Ty::Int8], RETURNS, from_int8),
                Overload::returning(&[Ty::Int8, Ty::Int4, Ty::Int4], RETURNS, from_int8),
                Overload::returning(&[Ty::Float8], RETURNS, from_float8),
                Overload::returning(&[Ty::Float8, Ty::Int4, Ty::Int4], RETURNS, from_float8),
                Overload::returning(&[Ty::Float4], RETURNS, from_float4),
                Overload::returning(&[Ty::Float4, Ty::Int4, Ty::Int4], RETURNS, from_float4),
            ]
        },
    )
    .udf()
}

const RETURNS: Returns = Returns::Computed(numeric_type);

/// With a modifier that; of a constant the digits it has; else wide enough for most things.
fn numeric_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    if let [_, precision, scale] = constants {
        let (Some(ScalarValue::Int32(Some(precision))), Some(ScalarValue::Int32(Some(scale)))) =
            (precision, scale)
        else {
            return Err(PgError::undefined_function("numeric", &[]).into());
        };
        let (Ok(precision), Ok(scale)) = (u16::try_from(*precision), i16::try_from(*scale)) else {
            return Err(PgError::numeric_too_long().into());
        };
        return decimal_type(precision, scale).ok_or_else(|| PgError::numeric_too_long().into());
    }
    if let [Some(constant)] = constants {
        let digits = match constant {
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)) => decimal::from_text(text),
            ScalarValue::Float64(Some(value)) => float_digits(*value, FLOAT8_DIGITS),
            ScalarValue::Float32(Some(value)) => float_digits(f64::from(*value), FLOAT4_DIGITS),
            _ => None,
        };
        if let Some(value) = digits {
            return Ok(decimal::type_of(value));
        }
    }
    match types.first() {
        Some(decimal @ (DataType::Decimal128(_, _) | DataType::Decimal256(_, _))) => {
            Ok(decimal.clone())
        }
        Some(integer) if integer.is_integer() => Ok(Ty::Numeric.given(integer)),
        _ => Ok(NUMERIC_DEFAULT),
    }
}

fn from_text(args: &Args) -> Result<ColumnarValue> {
    let text = args.text(0)?;
    args.rows(|row| match text.get(row) {
        Some(text) => match decimal::from_text(text) {
            Some(value) => declared(args, value).map(Some),
            None => {
                // Whatever it is, the parser of the type says what is wrong with it.
                parse::numeric::numeric(text).map_err(PgError::from)?;
                Err(PgError::numeric_too_long().into())
            }
        },
        None => Ok(None),
    })
}

fn from_int(args: &Args, value: Option<impl Into<i128>>) -> Result<Option<Numeric>> {
    value
        .map(|value| declared(args, Numeric::whole(value)))
        .transpose()
}

fn from_int2(args: &Args) -> Result<ColumnarValue> {
    let value = args.int2(0)?;
    args.rows(|row| from_int(args, value.get(row)))
}

fn from_int4(args: &Args) -> Result<ColumnarValue> {
    let value = args.int4(0)?;
    args.rows(|row| from_int(args, value.get(row)))
}

fn from_int8(args: &Args) -> Result<ColumnarValue> {
    let value = args.int8(0)?;
    args.rows(|row| from_int(args, value.get(row)))
}

fn from_numeric(args: &Args) -> Result<ColumnarValue> {
    let value = args.numeric(0)?;
    args.rows(|row| {
        value
            .get(row)
            .map(|value| declared(args, value))
            .transpose()
    })
}

/// A value, which must fit the precision and scale if those were given.
fn declared(args: &Args, value: Numeric) -> Result<Numeric> {
    if args.len() < 3 {
        return Ok(value);
    }
    let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) =
        *args.return_type()
    else {
        return Ok(value);
    };
    if *args.return_type() == NUMERIC_DEFAULT {
        return Ok(value);
    }
    if decimal::fits_type(value, precision, scale) {
        return Ok(value);
    }
    Err(PgError::numeric_field_overflow(precision, scale).into())
}

/// The significant decimal digits of a float.
fn float_digits(value: f64, digits: usize) -> Option<Numeric> {
    let text = format!("{value:.*e}", digits.saturating_sub(1));
    // Zeros at the end mean nothing.
    let (mantissa, exponent) = text.split_once('e')?;
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    decimal::from_text(&format!("{mantissa}e{exponent}"))
}

fn from_float(args: &Args, value: f64, digits: usize) -> Result<Numeric> {
    if !value.is_finite() {
        return Err(
            PgError::not_supported(format!("numeric value \"{value}\" is not supported")).into(),
        );
    }
    if let Some(value) = float_digits(value, digits) {
        return Ok(value);
    }
    // Of a tiny number no digit is left at the scale that was asked for.
    if value.abs() < 1.0 && args.len() > 2 && *args.return_type() != NUMERIC_DEFAULT {
        return Ok(Numeric::whole(0));
    }
    Err(PgError::numeric_too_long().into())
}

fn from_float8(args: &Args) -> Result<ColumnarValue> {
    let value = args.float8(0)?;
    args.rows(|row| {
        value
            .get(row)
            .map(|value| declared(args, from_float(args, value, FLOAT8_DIGITS)?))
            .transpose()
    })
}

fn from_float4(args: &Args) -> Result<ColumnarValue> {
    let value = args.float4(0)?;
    args.rows(|row| {
        value
            .get(row)
            .map(|value| declared(args, from_float(args, f64::from(value), FLOAT4_DIGITS)?))
            .transpose()
    })
}
