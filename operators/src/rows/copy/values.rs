//! COPY FROM: fields gathered into a column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;
use functions::pg_type::arrow_types::NUMERIC_DEFAULT;
use functions::pg_type::decode::unconstrained;
use functions::pg_type::{Base, Format, InputContext, PgType, Result, TypeError, decode};
use job::SqlState;

/// A column in the making.
pub(super) struct Values {
    /// What fields are read as: a numeric has the digits of its Arrow type.
    pg_type: PgType,
    format: Format,
    builder: Builder,
}

enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(UInt32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder),
    /// Numerics without precision and scale.
    WideNumeric(Decimal256Builder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Bytea(BinaryBuilder),
    /// The rest, at a scalar's price.
    Scalars(DataType, Vec<ScalarValue>),
}

impl Values {
    pub(super) fn new(pg_type: PgType, data_type: &DataType, format: Format) -> Self {
        let builder = match data_type {
            DataType::Boolean => Builder::Bool(BooleanBuilder::new()),
            DataType::Int16 => Builder::Int2(Int16Builder::new()),
            DataType::Int32 => Builder::Int4(Int32Builder::new()),
            DataType::Int64 => Builder::Int8(Int64Builder::new()),
            DataType::UInt32 => Builder::Oid(UInt32Builder::new()),
            DataType::Float32 => Builder::Float4(Float32Builder::new()),
            DataType::Float64 => Builder::Float8(Float64Builder::new()),
            DataType::Decimal128(..) => {
                Builder::Numeric(Decimal128Builder::new().with_data_type(data_type.clone()))
            }
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Time64(TimeUnit::Microsecond) => {
                Builder::Time(Time64MicrosecondBuilder::new())
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()),
            ),
            DataType::Utf8 => Builder::Text(StringBuilder::new()),
            DataType::Binary => Builder::Bytea(BinaryBuilder::new()),
            unconstrained if *unconstrained == NUMERIC_DEFAULT => {
                Builder::WideNumeric(Decimal256Builder::new().with_data_type(unconstrained.clone()))
            }
            other => Builder::Scalars(other.clone(), Vec::new()),
        };
        let pg_type = match data_type {
            // Read with the digits it has, and made to fit without rounding.
            unconstrained if *unconstrained == NUMERIC_DEFAULT => PgType::NUMERIC,
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                PgType::numeric(u16::from(*precision), i16::from(*scale))
            }
            _ => pg_type,
        };
        Self {
            pg_type,
            format,
            builder,
        }
    }

    pub(super) fn append(&mut self, field: Option<&[u8]>, context: InputContext<'_>) -> Result<()> {
        if let (Builder::Text(builder), Some(bytes)) = (&mut self.builder, field)
            && is_plain(self.pg_type)
            && let Ok(text) = std::str::from_utf8(bytes)
            && !text.contains('\0')
        {
            check_length(text, self.pg_type)?;
            builder.append_value(text);
            return Ok(());
        }
        let value = decode(self.pg_type, self.format, field, context)?;
        match (&mut self.builder, value) {
            (Builder::Bool(to), ScalarValue::Boolean(value)) => to.append_option(value),
            (Builder::Int2(to), ScalarValue::Int16(value)) => to.append_option(value),
            (Builder::Int4(to), ScalarValue::Int32(value)) => to.append_option(value),
            (Builder::Int8(to), ScalarValue::Int64(value)) => to.append_option(value),
            (Builder::Oid(to), ScalarValue::UInt32(value)) => to.append_option(value),
            (Builder::Float4(to), ScalarValue::Float32(value)) => to.append_option(value),
            (Builder::Float8(to), ScalarValue::Float64(value)) => to.append_option(value),
            (Builder::Numeric(to), ScalarValue::Decimal128(value, _, _)) => {
                to.append_option(value);
            }
            (Builder::WideNumeric(to), value) => to.append_option(unconstrained(&value)?),
            (Builder::Date(to), ScalarValue::Date32(value)) => to.append_option(value),
            (Builder::Time(to), ScalarValue::Time64Microsecond(value)) => to.append_option(value),
            (Builder::Timestamp(to), ScalarValue::TimestampMicrosecond(value, _)) => {
                to.append_option(value);
            }
            (Builder::Text(to), ScalarValue::Utf8(value)) => {
                if let Some(text) = &value {
                    check_length(text, self.pg_type)?;
                }
                to.append_option(value);
            }
            (Builder::Bytea(to), ScalarValue::Binary(value)) => to.append_option(value),
            (Builder::Scalars(data_type, to), value) if value.data_type() == *data_type => {
                to.push(value);
            }
            (_, value) => {
                return Err(TypeError::internal(format!(
                    "{} was read as {}",
                    self.pg_type,
                    value.data_type()
                )));
            }
        }
        Ok(())
    }

    /// The column so far; the next one is begun.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match &mut self.builder {
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Int2(builder) => Arc::new(builder.finish()),
            Builder::Int4(builder) => Arc::new(builder.finish()),
            Builder::Int8(builder) => Arc::new(builder.finish()),
            Builder::Oid(builder) => Arc::new(builder.finish()),
            Builder::Float4(builder) => Arc::new(builder.finish()),
            Builder::Float8(builder) => Arc::new(builder.finish()),
            Builder::Numeric(builder) => Arc::new(builder.finish()),
            Builder::WideNumeric(builder) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Time(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Bytea(builder) => Arc::new(builder.finish()),
            Builder::Scalars(data_type, values) if values.is_empty() => {
                arrow::array::new_empty_array(data_type)
            }
            Builder::Scalars(_, values) => ScalarValue::iter_to_array(values.drain(..))
                .map_err(|error| TypeError::internal(error.to_string()))?,
        })
    }
}

/// Types whose values are their text.
fn is_plain(pg_type: PgType) -> bool {
    !pg_type.is_array && matches!(pg_type.base, Base::Text | Base::Varchar)
}

/// Only blanks may go beyond the length of a varchar(n) or char(n).
fn check_length(text: &str, pg_type: PgType) -> Result<()> {
    let Some(length) = pg_type.character_length() else {
        return Ok(());
    };
    let length = usize::try_from(length).unwrap_or(0);
    if text.len() > length && text.chars().skip(length).any(|c| c != ' ') {
        return Err(TypeError::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {}({length})", pg_type.sql_name()),
        ));
    }
    Ok(())
}
