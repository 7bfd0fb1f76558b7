//! Writers of columns that are one Arrow primitive, string or byte string.

use arrow::array::{
    Array, ArrayAccessor, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, ArrowTimestampType, DataType, Date32Type, Date64Type, Decimal32Type,
    Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use job::SqlState;

use super::{CellWriter, Format, downcast, mismatch};
use crate::pg_type::arrow_types::NUMERIC_DEFAULT;
use crate::pg_type::civil::{
    DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_MINUS_INFINITY, MICROS_PER_SECOND, PG_EPOCH_DAYS,
    PG_EPOCH_MICROS, TIMESTAMP_END, TIMESTAMP_INFINITY, TIMESTAMP_MIN, TIMESTAMP_MINUS_INFINITY,
};
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::parse;
use crate::pg_type::settings::FormatSettings;
use crate::pg_type::time_zone::OffsetCache;
use crate::pg_type::types::{Base, PgType};
use crate::pg_type::write::interval::PgInterval;
use crate::pg_type::write::{bytes, datetime, interval, number, numeric};

type Writer<'a> = Box<dyn CellWriter + 'a>;

/// Any array with values of one kind, and how to write one.
struct Values<A, F> {
    array: A,
    write: F,
}

impl<A, F> CellWriter for Values<A, F>
where
    A: ArrayAccessor,
    F: FnMut(A::Item, &mut Vec<u8>) -> Result<()>,
{
    #[inline]
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.array.is_null(row) {
            return Ok(false);
        }
        (self.write)(self.array.value(row), out)?;
        Ok(true)
    }
}

fn values<'a, A, F>(array: A, write: F) -> Result<Writer<'a>>
where
    A: ArrayAccessor + 'a,
    F: FnMut(A::Item, &mut Vec<u8>) -> Result<()> + 'a,
{
    Ok(Box::new(Values { array, write }))
}

fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    write: impl FnMut(T::Native, &mut Vec<u8>) -> Result<()> + 'a,
) -> Result<Writer<'a>> {
    values(downcast::<PrimitiveArray<T>>(array)?, write)
}

/// `pg_type` is known to fit the array's type.
pub(super) fn scalar_writer<'a>(
    array: &'a dyn Array,
    pg_type: PgType,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Writer<'a>> {
    let base = pg_type.base;
    match array.data_type() {
        DataType::Boolean => boolean(array, format),
        DataType::Int8 => integer::<Int8Type>(array, base, format),
        DataType::Int16 => integer::<Int16Type>(array, base, format),
        DataType::Int32 => integer::<Int32Type>(array, base, format),
        DataType::Int64 => integer::<Int64Type>(array, base, format),
        DataType::UInt8 => integer::<UInt8Type>(array, base, format),
        DataType::UInt16 => integer::<UInt16Type>(array, base, format),
        DataType::UInt32 => integer::<UInt32Type>(array, base, format),
        DataType::UInt64 => integer::<UInt64Type>(array, base, format),
        DataType::Float16 => float4::<Float16Type>(array, base, format, settings, |v| v.to_f32()),
        DataType::Float32 => float4::<Float32Type>(array, base, format, settings, |v| v),
        DataType::Float64 => float8(array, format, settings),
        DataType::Decimal32(_, scale) => decimal::<Decimal32Type>(array, *scale, format),
        DataType::Decimal64(_, scale) => decimal::<Decimal64Type>(array, *scale, format),
        DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(array, *scale, format),
        DataType::Decimal256(_, scale) => {
            decimal256(array, *scale, *array.data_type() == NUMERIC_DEFAULT, format)
        }
        DataType::Utf8 => string(downcast::<StringArray>(array)?, pg_type, format),
        DataType::LargeUtf8 => string(downcast::<LargeStringArray>(array)?, pg_type, format),
        DataType::Utf8View => string(downcast::<StringViewArray>(array)?, pg_type, format),
        DataType::Binary => binary(downcast::<BinaryArray>(array)?, format, settings),
        DataType::LargeBinary => binary(downcast::<LargeBinaryArray>(array)?, format, settings),
        DataType::BinaryView => binary(downcast::<BinaryViewArray>(array)?, format, settings),
        DataType::FixedSizeBinary(_) if base == Base::Uuid => uuid(array, format),
        DataType::FixedSizeBinary(_) => {
            binary(downcast::<FixedSizeBinaryArray>(array)?, format, settings)
        }
        DataType::Date32 => date::<Date32Type>(array, format, settings, Ok),
        DataType::Date64 => date::<Date64Type>(array, format, settings, |millis| {
            i32::try_from(millis.div_euclid(86_400_000))
                .map_err(|_| TypeError::value_out_of_range("date"))
        }),
        DataType::Time32(TimeUnit::Second) => {
            time::<Time32SecondType>(array, format, |v| i64::from(v) * MICROS_PER_SECOND)
        }
        DataType::Time32(_) => {
            time::<Time32MillisecondType>(array, format, |v| i64::from(v) * 1_000)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            time::<Time64NanosecondType>(array, format, |v| v.div_euclid(1_000))
        }
        DataType::Time64(_) => time::<Time64MicrosecondType>(array, format, |v| v),
        DataType::Timestamp(unit, zone) => {
            let has_zone = zone.is_some();
            match unit {
                TimeUnit::Second => {
                    timestamp::<TimestampSecondType>(array, has_zone, format, settings)
                }
                TimeUnit::Millisecond => {
                    timestamp::<TimestampMillisecondType>(array, has_zone, format, settings)
                }
                TimeUnit::Microsecond => {
                    timestamp::<TimestampMicrosecondType>(array, has_zone, format, settings)
                }
                TimeUnit::Nanosecond => {
                    timestamp::<TimestampNanosecondType>(array, has_zone, format, settings)
                }
            }
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            intervals::<IntervalYearMonthType>(array, format, settings, |months| {
                Ok(PgInterval {
                    months,
                    days: 0,
                    micros: 0,
                })
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            intervals::<IntervalDayTimeType>(array, format, settings, |value| {
                Ok(PgInterval {
                    months: 0,
                    days: value.days,
                    micros: i64::from(value.milliseconds) * 1_000,
                })
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            intervals::<IntervalMonthDayNanoType>(array, format, settings, |value| {
                Ok(PgInterval {
                    months: value.months,
                    days: value.days,
                    // Towards zero, so that a value and its negative stay each other's.
                    micros: value.nanoseconds / 1_000,
                })
            })
        }
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => duration::<DurationSecondType>(array, format, settings, *unit),
            TimeUnit::Millisecond => {
                duration::<DurationMillisecondType>(array, format, settings, *unit)
            }
            TimeUnit::Microsecond => {
                duration::<DurationMicrosecondType>(array, format, settings, *unit)
            }
            TimeUnit::Nanosecond => {
                duration::<DurationNanosecondType>(array, format, settings, *unit)
            }
        },
        _ => Err(mismatch(array)),
    }
}

fn boolean<'a>(array: &'a dyn Array, format: Format) -> Result<Writer<'a>> {
    let array = downcast::<BooleanArray>(array)?;
    match format {
        Format::Text => values(array, |value, out| {
            out.push(if value { b't' } else { b'f' });
            Ok(())
        }),
        Format::Binary => values(array, |value, out| {
            out.push(u8::from(value));
            Ok(())
        }),
    }
}

fn integer<'a, T>(array: &'a dyn Array, base: Base, format: Format) -> Result<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: itoa::Integer + Into<i128>,
{
    if format == Format::Text && base == Base::Regtype {
        return primitive::<T>(array, |value, out| {
            let known = u32::try_from(value.into()).ok();
            match known.and_then(PgType::from_oid) {
                Some(pg_type) => out.extend_from_slice(pg_type.sql_name().as_bytes()),
                None => number::integer(out, value),
            }
            Ok(())
        });
    }
    // The names of other objects are the catalog's to know: plans put them in place of OIDs.
    if format == Format::Text {
        return primitive::<T>(array, |value, out| {
            number::integer(out, value);
            Ok(())
        });
    }
    // Whatever the Arrow width, the wire has the PostgreSQL type's; `fits` made sure that integer
    // types only ever widen.
    match base {
        Base::Int2 => primitive::<T>(array, |value, out| {
            let value: i128 = value.into();
            out.extend_from_slice(&(value as i16).to_be_bytes());
            Ok(())
        }),
        Base::Int4 => primitive::<T>(array, |value, out| {
            let value: i128 = value.into();
            out.extend_from_slice(&(value as i32).to_be_bytes());
            Ok(())
        }),
        Base::Int8 => primitive::<T>(array, |value, out| {
            let value: i128 = value.into();
            out.extend_from_slice(&(value as i64).to_be_bytes());
            Ok(())
        }),
        Base::Numeric => primitive::<T>(array, |value, out| {
            numeric::binary_i128(out, value.into(), 0);
            Ok(())
        }),
        // The object identifiers, which are held in integers of any kind.
        _ => primitive::<T>(array, move |value, out| {
            let value: i128 = value.into();
            let value = u32::try_from(value).map_err(|_| {
                TypeError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range")
            })?;
            out.extend_from_slice(&value.to_be_bytes());
            Ok(())
        }),
    }
}

fn float4<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    base: Base,
    format: Format,
    settings: &'a FormatSettings,
    to_f32: impl Fn(T::Native) -> f32 + 'a,
) -> Result<Writer<'a>> {
    let digits = settings.extra_float_digits;
    match (format, base) {
        (Format::Text, Base::Float8) => primitive::<T>(array, move |value, out| {
            number::float8(out, f64::from(to_f32(value)), digits);
            Ok(())
        }),
        (Format::Text, _) => primitive::<T>(array, move |value, out| {
            number::float4(out, to_f32(value), digits);
            Ok(())
        }),
        (Format::Binary, Base::Float8) => primitive::<T>(array, move |value, out| {
            out.extend_from_slice(&f64::from(to_f32(value)).to_be_bytes());
            Ok(())
        }),
        (Format::Binary, _) => primitive::<T>(array, move |value, out| {
            out.extend_from_slice(&to_f32(value).to_be_bytes());
            Ok(())
        }),
    }
}

fn float8<'a>(
    array: &'a dyn Array,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Writer<'a>> {
    let digits = settings.extra_float_digits;
    match format {
        Format::Text => primitive::<Float64Type>(array, move |value, out| {
            number::float8(out, value, digits);
            Ok(())
        }),
        Format::Binary => primitive::<Float64Type>(array, |value, out| {
            out.extend_from_slice(&value.to_be_bytes());
            Ok(())
        }),
    }
}

fn decimal<'a, T>(array: &'a dyn Array, scale: i8, format: Format) -> Result<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    match format {
        Format::Text => primitive::<T>(array, move |value, out| {
            numeric::text_i128(out, value.into(), scale);
            Ok(())
        }),
        Format::Binary => primitive::<T>(array, move |value, out| {
            numeric::binary_i128(out, value.into(), scale);
            Ok(())
        }),
    }
}

/// Values of an unconstrained numeric are shown without the zeros at their end.
fn decimal256<'a>(
    array: &'a dyn Array,
    scale: i8,
    unconstrained: bool,
    format: Format,
) -> Result<Writer<'a>> {
    match format {
        Format::Text => primitive::<Decimal256Type>(array, move |value, out| {
            numeric::text_i256(out, value, scale, unconstrained);
            Ok(())
        }),
        Format::Binary => primitive::<Decimal256Type>(array, move |value, out| {
            numeric::binary_i256(out, value, scale, unconstrained);
            Ok(())
        }),
    }
}

fn string<'a, A>(array: A, pg_type: PgType, format: Format) -> Result<Writer<'a>>
where
    A: ArrayAccessor<Item = &'a str> + 'a,
{
    let base = pg_type.base;
    if let (Base::Bpchar, Some(length)) = (base, pg_type.character_length()) {
        // Blanks at the end mean nothing but to whoever sees the value.
        let length = usize::try_from(length).unwrap_or(0);
        return values(array, move |value: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(value.as_bytes());
            let missing = length.saturating_sub(value.chars().count());
            out.extend(std::iter::repeat_n(b' ', missing));
            Ok(())
        });
    }
    match (format, base) {
        (Format::Text, _)
        | (
            Format::Binary,
            Base::Text
            | Base::Varchar
            | Base::Bpchar
            | Base::Name
            | Base::Unknown
            | Base::Json
            | Base::PgNodeTree
            | Base::Void,
        ) => values(array, |value: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(value.as_bytes());
            Ok(())
        }),
        (Format::Binary, Base::Jsonb) => values(array, |value: &str, out: &mut Vec<u8>| {
            // The version of the binary form.
            out.push(1);
            out.extend_from_slice(value.as_bytes());
            Ok(())
        }),
        (Format::Binary, Base::Char) => values(array, |value: &str, out: &mut Vec<u8>| {
            out.push(parse::bytes::character_byte(value));
            Ok(())
        }),
        (Format::Binary, _) => Err(TypeError::new(
            SqlState::UNDEFINED_FUNCTION,
            format!(
                "no binary output function available for type {}",
                base.sql_name()
            ),
        )),
    }
}

fn binary<'a, A>(array: A, format: Format, settings: &'a FormatSettings) -> Result<Writer<'a>>
where
    A: ArrayAccessor<Item = &'a [u8]> + 'a,
{
    let output = settings.bytea_output;
    match format {
        Format::Text => values(array, move |value: &[u8], out: &mut Vec<u8>| {
            bytes::bytea(out, value, output);
            Ok(())
        }),
        Format::Binary => values(array, |value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok(())
        }),
    }
}

fn uuid<'a>(array: &'a dyn Array, format: Format) -> Result<Writer<'a>> {
    let array = downcast::<FixedSizeBinaryArray>(array)?;
    match format {
        Format::Text => values(array, |value: &[u8], out: &mut Vec<u8>| {
            bytes::uuid(out, value);
            Ok(())
        }),
        Format::Binary => values(array, |value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok(())
        }),
    }
}

fn date<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    format: Format,
    settings: &'a FormatSettings,
    to_days: impl Fn(T::Native) -> Result<i32> + 'a,
) -> Result<Writer<'a>> {
    let style = settings.date_style;
    match format {
        Format::Text => primitive::<T>(array, move |value, out| {
            datetime::date(out, to_days(value)?, style)
        }),
        Format::Binary => primitive::<T>(array, move |value, out| {
            let days = match to_days(value)? {
                days @ DATE_MIN..=DATE_MAX => days - PG_EPOCH_DAYS,
                infinity @ (DATE_INFINITY | DATE_MINUS_INFINITY) => infinity,
                _ => return Err(TypeError::value_out_of_range("date")),
            };
            out.extend_from_slice(&days.to_be_bytes());
            Ok(())
        }),
    }
}

fn time<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    format: Format,
    to_micros: impl Fn(T::Native) -> i64 + 'a,
) -> Result<Writer<'a>> {
    match format {
        Format::Text => primitive::<T>(array, move |value, out| {
            datetime::time(out, to_micros(value))
        }),
        Format::Binary => primitive::<T>(array, move |value, out| {
            out.extend_from_slice(&to_micros(value).to_be_bytes());
            Ok(())
        }),
    }
}

/// Microseconds from 1970. PostgreSQL has no nanoseconds: an instant belongs to its microsecond.
#[inline]
fn to_micros<T: ArrowTimestampType>(value: i64) -> Result<i64> {
    let factor = match T::UNIT {
        TimeUnit::Nanosecond => return Ok(value.div_euclid(1_000)),
        TimeUnit::Microsecond => return Ok(value),
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Second => 1_000_000,
    };
    match value {
        TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY => Ok(value),
        _ => value
            .checked_mul(factor)
            .ok_or_else(|| TypeError::value_out_of_range("timestamp")),
    }
}

fn timestamp<'a, T: ArrowTimestampType>(
    array: &'a dyn Array,
    has_zone: bool,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Writer<'a>> {
    let style = settings.date_style;
    let zone = &settings.time_zone;
    match (format, has_zone) {
        (Format::Binary, _) => primitive::<T>(array, |value, out| {
            let micros = match to_micros::<T>(value)? {
                micros @ TIMESTAMP_MIN..TIMESTAMP_END => micros - PG_EPOCH_MICROS,
                infinity @ (TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY) => infinity,
                _ => return Err(TypeError::value_out_of_range("timestamp")),
            };
            out.extend_from_slice(&micros.to_be_bytes());
            Ok(())
        }),
        (Format::Text, false) => primitive::<T>(array, move |value, out| {
            datetime::timestamp(out, to_micros::<T>(value)?, style)
        }),
        (Format::Text, true) if zone.is_utc() => primitive::<T>(array, move |value, out| {
            datetime::timestamptz(out, to_micros::<T>(value)?, 0, zone, style)
        }),
        (Format::Text, true) => {
            let mut offsets = OffsetCache::new(zone);
            primitive::<T>(array, move |value, out| {
                let micros = to_micros::<T>(value)?;
                let offset = offsets.offset_at(micros.div_euclid(MICROS_PER_SECOND));
                datetime::timestamptz(out, micros, offset, zone, style)
            })
        }
    }
}

fn intervals<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    format: Format,
    settings: &'a FormatSettings,
    to_interval: impl Fn(T::Native) -> Result<PgInterval> + 'a,
) -> Result<Writer<'a>> {
    let style = settings.interval_style;
    match format {
        Format::Text => primitive::<T>(array, move |value, out| {
            interval::interval(out, to_interval(value)?, style);
            Ok(())
        }),
        Format::Binary => primitive::<T>(array, move |value, out| {
            let PgInterval {
                months,
                days,
                micros,
            } = to_interval(value)?;
            out.extend_from_slice(&micros.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
            Ok(())
        }),
    }
}

fn duration<'a, T>(
    array: &'a dyn Array,
    format: Format,
    settings: &'a FormatSettings,
    unit: TimeUnit,
) -> Result<Writer<'a>>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    intervals::<T>(array, format, settings, move |value| {
        let micros = match unit {
            TimeUnit::Second => value.checked_mul(1_000_000),
            TimeUnit::Millisecond => value.checked_mul(1_000),
            TimeUnit::Microsecond => Some(value),
            TimeUnit::Nanosecond => Some(value / 1_000),
        };
        micros
            .map(PgInterval::from_duration)
            .ok_or_else(|| TypeError::value_out_of_range("interval"))
    })
}
