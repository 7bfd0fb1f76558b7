//! Parameters as clients send them, text or binary, into DataFusion's scalars.
//!
//! The scalar's type is the PostgreSQL type's Arrow type ([`PgType::arrow_type`]), but for a
//! numeric without precision and scale: it gets those of the value, so that no digit is lost.
//! Modifiers of varchar and timestamp are not applied here, casts do that.
//!
//! - [`text`]: by the parsers of [`super::parse`]
//! - [`binary`]: the wire forms, every length checked before it is believed

mod binary;
mod text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, i256};
use datafusion::common::ScalarValue;
use job::SqlState;

use super::arrow_types::{NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE, TIMESTAMPTZ_ZONE};
use super::cells::Format;
use super::error::{Result, TypeError};
use super::parse::InputContext;
use super::parse::numeric::{DIGITS_MAX, Numeric, unfit};
use super::types::{Base, PgType};

/// One parameter. `None` is NULL.
pub fn decode(
    pg_type: PgType,
    format: Format,
    value: Option<&[u8]>,
    context: InputContext,
) -> Result<ScalarValue> {
    match (value, format) {
        (None, _) => null(pg_type),
        (Some(bytes), Format::Text) => decode_text(pg_type, utf8(bytes)?, context),
        (Some(bytes), Format::Binary) => decode_binary(pg_type, bytes),
    }
}

/// A literal of the type.
pub fn decode_text(pg_type: PgType, text: &str, context: InputContext) -> Result<ScalarValue> {
    if text.contains('\0') {
        return Err(invalid_encoding("0x00"));
    }
    if pg_type.is_array {
        text::array(pg_type, text, context)
    } else {
        text::value(pg_type, text, context)
    }
}

/// The type's wire form.
pub fn decode_binary(pg_type: PgType, bytes: &[u8]) -> Result<ScalarValue> {
    let mut input = binary::Input::new(bytes);
    let value = if pg_type.is_array {
        input.array(pg_type, 1)
    } else {
        input.value(pg_type)
    }?;
    input.end()?;
    Ok(value)
}

/// NULL of the type.
pub fn null(pg_type: PgType) -> Result<ScalarValue> {
    let data_type = arrow_type(pg_type)?;
    ScalarValue::try_new_null(&data_type).map_err(|error| TypeError::internal(error.to_string()))
}

fn arrow_type(pg_type: PgType) -> Result<DataType> {
    pg_type.arrow_type().ok_or_else(|| match pg_type.base {
        Base::Record => {
            TypeError::unsupported("input of anonymous composite types is not implemented")
        }
        _ => TypeError::unsupported(format!("type {pg_type} is not supported")),
    })
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let end = error.error_len().map_or(bytes.len(), |len| at + len);
        let shown: Vec<String> = bytes[at..end]
            .iter()
            .map(|byte| format!("0x{byte:02x}"))
            .collect();
        invalid_encoding(&shown.join(" "))
    })
}

#[cold]
fn invalid_encoding(bytes: &str) -> TypeError {
    TypeError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {bytes}"),
    )
}

/// Decimals of one type: the type's precision and scale, or what all of the values need.
fn decimals(pg_type: PgType, values: &[Option<Numeric>]) -> Result<Vec<ScalarValue>> {
    let (precision, scale) = match pg_type.numeric_precision_scale() {
        Some((precision, scale)) => (precision, scale),
        None if scales_differ(values) && values.iter().all(is_unconstrained) => (
            u16::from(NUMERIC_DEFAULT_PRECISION),
            i16::from(NUMERIC_DEFAULT_SCALE),
        ),
        None => {
            let scale = values
                .iter()
                .flatten()
                .map(|value| value.scale)
                .max()
                .unwrap_or(0);
            // A value with fewer decimals than another gets zeros, which are digits too.
            let whole = values
                .iter()
                .flatten()
                .map(|value| value.precision().saturating_sub(value.scale))
                .max()
                .unwrap_or(0);
            let precision = u16::from(whole) + u16::from(scale);
            (precision.max(1), i16::from(scale))
        }
    };
    let digits = super::arrow_types::decimal_type(precision, scale).ok_or_else(|| {
        TypeError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        )
        .with_detail(format!("A numeric can have at most {DIGITS_MAX} digits."))
    })?;
    values
        .iter()
        .map(|value| {
            let unscaled = value
                .map(|value| value.to_precision_scale(precision, scale))
                .transpose()?;
            decimal(&digits, unscaled)
        })
        .collect()
}

/// A numeric's unscaled value in a column of numerics without precision and scale, which nothing is
/// rounded to.
pub fn unconstrained(value: &ScalarValue) -> Result<Option<i256>> {
    let (unscaled, scale) = match value {
        ScalarValue::Decimal128(value, _, scale) => (value.map(i256::from_i128), *scale),
        ScalarValue::Decimal256(value, _, scale) => (*value, *scale),
        _ => return Err(TypeError::internal("numeric is not a decimal")),
    };
    let Some(unscaled) = unscaled else {
        return Ok(None);
    };
    let scale = u8::try_from(scale).map_err(|_| unfit())?;
    let stored = Numeric { unscaled, scale }
        .rescale(NUMERIC_DEFAULT_SCALE.into())
        .ok_or_else(unfit)?;
    let read = Numeric {
        unscaled: stored,
        scale: NUMERIC_DEFAULT_SCALE.unsigned_abs(),
    };
    if read.rescale(scale.into()) == Some(unscaled) {
        Ok(Some(stored))
    } else {
        Err(unfit())
    }
}

/// Elements of an array that were written with different digits behind the point.
fn scales_differ(values: &[Option<Numeric>]) -> bool {
    let mut scales = values.iter().flatten().map(|value| value.scale);
    let first = scales.next();
    scales.any(|scale| Some(scale) != first)
}

/// Whether a value fits a numeric without precision and scale, exactly.
fn is_unconstrained(value: &Option<Numeric>) -> bool {
    value.is_none_or(|value| {
        let scale = NUMERIC_DEFAULT_SCALE.unsigned_abs();
        value.scale <= scale && value.rescale(scale.into()).is_some()
    })
}

fn decimal(data_type: &DataType, unscaled: Option<i256>) -> Result<ScalarValue> {
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let unscaled = unscaled
                .map(|value| {
                    value
                        .to_i128()
                        .ok_or_else(|| TypeError::internal("decimal is wider than its type"))
                })
                .transpose()?;
            Ok(ScalarValue::Decimal128(unscaled, *precision, *scale))
        }
        DataType::Decimal256(precision, scale) => {
            Ok(ScalarValue::Decimal256(unscaled, *precision, *scale))
        }
        _ => Err(TypeError::internal("numeric is not a decimal")),
    }
}

fn timestamptz(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some(TIMESTAMPTZ_ZONE.into()))
}

/// Elements in row-major order made into lists within lists.
fn list(element: PgType, lengths: &[usize], elements: Vec<ScalarValue>) -> Result<ScalarValue> {
    let internal = |error: &dyn std::fmt::Display| TypeError::internal(error.to_string());
    let mut values: ArrayRef = if elements.is_empty() {
        new_empty_array(&arrow_type(element)?)
    } else {
        ScalarValue::iter_to_array(elements).map_err(|error| internal(&error))?
    };
    // An empty array is one empty list, of whatever dimension.
    let lengths = if values.is_empty() { &[0][..] } else { lengths };
    for &length in lengths.iter().rev() {
        let rows = values.len().checked_div(length).unwrap_or(1);
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_repeated_length(length, rows);
        let lists =
            ListArray::try_new(item, offsets, values, None).map_err(|error| internal(&error))?;
        values = Arc::new(lists);
    }
    values
        .as_any()
        .downcast_ref::<ListArray>()
        .map(|lists| ScalarValue::List(Arc::new(lists.clone())))
        .ok_or_else(|| TypeError::internal("an array is not a list"))
}
