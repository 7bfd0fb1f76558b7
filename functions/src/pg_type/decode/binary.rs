//! Scalars from wire forms.
//!
//! The bytes come from a client: every count is held against the bytes that are really there
//! before anything is allocated for it.

use datafusion::common::ScalarValue;
use job::SqlState;

use super::{arrow_type, decimals, list, timestamptz, utf8};
use crate::pg_type::civil::{
    DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_MINUS_INFINITY, MICROS_PER_DAY, PG_EPOCH_DAYS,
    PG_EPOCH_MICROS, TIMESTAMP_END, TIMESTAMP_INFINITY, TIMESTAMP_MIN, TIMESTAMP_MINUS_INFINITY,
};
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::parse::array::unsupported_lower_bound;
use crate::pg_type::parse::numeric::{Digits, Numeric, not_a_decimal, too_many_digits};
use crate::pg_type::parse::{bytes, interval, json};
use crate::pg_type::types::{Base, PgType};
use crate::pg_type::write::interval::PgInterval;

/// PostgreSQL's limit on array dimensions.
const DIMENSIONS_MAX: i32 = 6;

/// What a numeric's scale field can say.
const NUMERIC_SCALE_MAX: u16 = 0x3fff;

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(TypeError::invalid_binary("incorrect binary data format"))
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or_else(|| {
            TypeError::new(
                SqlState::PROTOCOL_VIOLATION,
                "insufficient data left in message",
            )
        })?;
        self.rest = tail;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn i16(&mut self) -> Result<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str> {
        let text = utf8(std::mem::take(&mut self.rest))?;
        if text.contains('\0') {
            return Err(super::invalid_encoding("0x00"));
        }
        Ok(text)
    }

    /// The whole rest is the value.
    pub(super) fn value(&mut self, pg_type: PgType) -> Result<ScalarValue> {
        Ok(match pg_type.base {
            Base::Bool => (self.fixed::<1>()?[0] != 0).into(),
            Base::Int2 => self.i16()?.into(),
            Base::Int4 => self.i32()?.into(),
            Base::Int8 => self.i64()?.into(),
            Base::Float4 => f32::from_be_bytes(self.fixed()?).into(),
            Base::Float8 => f64::from_be_bytes(self.fixed()?).into(),
            Base::Numeric => {
                let value = self.numeric()?;
                let mut values = decimals(pg_type, &[Some(value)])?;
                values.swap_remove(0)
            }
            Base::Text
            | Base::Varchar
            | Base::Name
            | Base::Unknown
            | Base::PgNodeTree
            | Base::Aclitem
            | Base::Void => ScalarValue::Utf8(Some(self.text()?.to_owned())),
            Base::Char => {
                let [byte] = self.fixed()?;
                ScalarValue::Utf8(Some(bytes::shown_character(byte)))
            }
            Base::Bpchar => ScalarValue::Utf8(Some(self.text()?.trim_end_matches(' ').to_owned())),
            Base::Json => {
                let text = self.text()?;
                json::json(text)?;
                ScalarValue::Utf8(Some(text.to_owned()))
            }
            Base::Jsonb => {
                let [version] = self.fixed()?;
                if version != 1 {
                    return Err(TypeError::invalid_binary(format!(
                        "unsupported jsonb version number {version}"
                    )));
                }
                ScalarValue::Utf8(Some(json::jsonb(self.text()?)?))
            }
            Base::PgLsn => {
                let value = self.i64()? as u64;
                let text = format!("{:X}/{:X}", value >> 32, value as u32);
                ScalarValue::Utf8(Some(text))
            }
            Base::Bytea => ScalarValue::Binary(Some(std::mem::take(&mut self.rest).to_vec())),
            Base::Uuid => ScalarValue::FixedSizeBinary(16, Some(self.take(16)?.to_vec())),
            Base::Date => ScalarValue::Date32(Some(self.date()?)),
            Base::Time => {
                let micros = self.i64()?;
                if !(0..=MICROS_PER_DAY).contains(&micros) {
                    return Err(TypeError::value_out_of_range("time"));
                }
                ScalarValue::Time64Microsecond(Some(micros))
            }
            Base::Timestamp => ScalarValue::TimestampMicrosecond(Some(self.timestamp()?), None),
            Base::Timestamptz => timestamptz(self.timestamp()?),
            Base::Interval => {
                let (micros, days, months) = (self.i64()?, self.i32()?, self.i32()?);
                let value = interval::to_month_day_nano(PgInterval {
                    months,
                    days,
                    micros,
                })?;
                ScalarValue::IntervalMonthDayNano(Some(value))
            }
            Base::Oid
            | Base::Xid
            | Base::Regproc
            | Base::Regprocedure
            | Base::Regoper
            | Base::Regoperator
            | Base::Regclass
            | Base::Regtype
            | Base::Regnamespace
            | Base::Regrole => ScalarValue::UInt32(Some(self.u32()?)),
            Base::Int2vector => self.array(PgType::INT2.array_of(), 0)?,
            Base::Oidvector => self.array(PgType::OID.array_of(), 0)?,
            Base::Record => {
                return Err(match arrow_type(pg_type) {
                    Err(error) => error,
                    Ok(_) => TypeError::internal("record has an Arrow type"),
                });
            }
        })
    }

    fn date(&mut self) -> Result<i32> {
        match self.i32()? {
            infinity @ (DATE_INFINITY | DATE_MINUS_INFINITY) => Ok(infinity),
            days => days
                .checked_add(PG_EPOCH_DAYS)
                .filter(|days| (DATE_MIN..=DATE_MAX).contains(days))
                .ok_or_else(|| TypeError::value_out_of_range("date")),
        }
    }

    fn timestamp(&mut self) -> Result<i64> {
        match self.i64()? {
            infinity @ (TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY) => Ok(infinity),
            micros => micros
                .checked_add(PG_EPOCH_MICROS)
                .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
                .ok_or_else(|| TypeError::value_out_of_range("timestamp")),
        }
    }

    /// Base-10000 digits; those behind the display scale are cut off, as PostgreSQL does.
    fn numeric(&mut self) -> Result<Numeric> {
        let count = self.i16()?;
        let weight = i32::from(self.i16()?);
        let sign = self.i16()? as u16;
        let scale = self.i16()? as u16;
        let negative = match sign {
            0x0000 => false,
            0x4000 => true,
            0xc000 => return Err(not_a_decimal("NaN")),
            0xd000 => return Err(not_a_decimal("Infinity")),
            0xf000 => return Err(not_a_decimal("-Infinity")),
            _ => {
                return Err(TypeError::invalid_binary(
                    "invalid sign in external \"numeric\" value",
                ));
            }
        };
        if scale > NUMERIC_SCALE_MAX {
            return Err(TypeError::invalid_binary(
                "invalid scale in external \"numeric\" value",
            ));
        }
        let count = usize::try_from(count).map_err(|_| {
            TypeError::invalid_binary("invalid length in external \"numeric\" value")
        })?;
        let groups = self.take(count * 2)?;
        let scale = u8::try_from(scale).map_err(|_| too_many_digits())?;
        let mut digits = Digits::default();
        // Decimal places from the first group's first digit to the last one shown.
        let mut place = (weight + 1) * 4 - 1;
        let last = -i32::from(scale);
        for group in groups.chunks_exact(2) {
            let group = i16::from_be_bytes([group[0], group[1]]);
            if !(0..10_000).contains(&group) {
                return Err(TypeError::invalid_binary(
                    "invalid digit in external \"numeric\" value",
                ));
            }
            for divisor in [1_000, 100, 10, 1] {
                if place >= last {
                    digits.push((group / divisor % 10) as u8);
                }
                place -= 1;
            }
        }
        while place >= last {
            digits.push(0);
            place -= 1;
        }
        let unscaled = digits.value(negative).ok_or_else(too_many_digits)?;
        if scale > super::DIGITS_MAX {
            return Err(too_many_digits());
        }
        Ok(Numeric { unscaled, scale })
    }

    /// Dimensions, a flag for NULLs, the element type, then the elements, each with its length.
    /// Every dimension must start at `lower_bound`, which is 1 but for the vector types.
    pub(super) fn array(&mut self, pg_type: PgType, lower_bound: i32) -> Result<ScalarValue> {
        let element = pg_type.element().unwrap_or(pg_type);
        let dimensions = self.i32()?;
        if !(0..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(TypeError::invalid_binary(format!(
                "invalid number of dimensions: {dimensions}"
            )));
        }
        if !matches!(self.i32()?, 0 | 1) {
            return Err(TypeError::invalid_binary("invalid array flags"));
        }
        let oid = self.u32()?;
        if oid != element.oid() {
            return Err(TypeError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "binary data has array element type {oid} instead of expected {} ({})",
                    element.oid(),
                    element.sql_name()
                ),
            ));
        }
        let mut lengths = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            let length = usize::try_from(self.i32()?)
                .map_err(|_| TypeError::invalid_binary("invalid array length"))?;
            let lower = self.i32()?;
            if lower != lower_bound {
                return Err(unsupported_lower_bound(lower));
            }
            lengths.push(length);
        }
        let count = lengths
            .iter()
            .try_fold(1usize, |count, length| count.checked_mul(*length))
            // Each element takes four bytes at least.
            .filter(|count| *count <= self.rest.len() / 4)
            .ok_or_else(|| {
                TypeError::new(
                    SqlState::PROTOCOL_VIOLATION,
                    "insufficient data left in message",
                )
            });
        let count = if lengths.is_empty() { 0 } else { count? };
        let mut cells = Vec::with_capacity(count);
        for _ in 0..count {
            cells.push(match self.i32()? {
                -1 => None,
                length => {
                    let length = usize::try_from(length)
                        .map_err(|_| TypeError::invalid_binary("invalid array element length"))?;
                    Some(self.take(length)?)
                }
            });
        }
        let elements = if element.base == Base::Numeric {
            let values = cells
                .iter()
                .map(|cell| {
                    cell.map(|bytes| {
                        let mut input = Input::new(bytes);
                        let value = input.numeric()?;
                        input.end().map(|()| value)
                    })
                    .transpose()
                })
                .collect::<Result<Vec<_>>>()?;
            decimals(element, &values)?
        } else {
            cells
                .iter()
                .map(|cell| match cell {
                    Some(bytes) => super::decode_binary(element, bytes),
                    None => super::null(element),
                })
                .collect::<Result<Vec<_>>>()?
        };
        list(element, &lengths, elements)
    }
}
