//! Columns of cells: an Arrow array, a PostgreSQL type and a format, made into a writer that
//! appends one row's cell to a buffer.
//!
//! The type and the format are looked at once per column and batch; a cell costs one virtual
//! call and the writing itself. Cells carry no framing: lengths, delimiters and escapes belong to
//! whoever puts rows together (`operators::rows`, COPY, casts to text).
//!
//! - [`scalar`]: the types that are one Arrow primitive, string or byte string
//! - [`nested`]: arrays and records, which write the cells of their children

mod nested;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, RunArray, StringArray, new_empty_array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, DataType, Int8Type, Int16Type, Int32Type, Int64Type,
    RunEndIndexType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use job::SqlState;

use super::arrow_types::fits;
use super::error::{Result, TypeError};
use super::settings::FormatSettings;
use super::types::PgType;

/// How a value travels: PostgreSQL's format codes 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }

    pub const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// Writes the cells of one column of one batch.
pub trait CellWriter {
    /// Appends the cell of a row that exists. `false`, with nothing appended, for NULL.
    ///
    /// After an error the buffer's tail is undefined.
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool>;
}

/// The writer for an array whose values are to be sent as `pg_type`.
pub fn cell_writer<'a>(
    array: &'a dyn Array,
    pg_type: PgType,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Box<dyn CellWriter + 'a>> {
    let data_type = array.data_type();
    if !fits(pg_type, data_type) {
        return Err(cannot_send(data_type, pg_type));
    }
    match data_type {
        DataType::Null => Ok(Box::new(Nulls)),
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::Int8 => dictionary::<Int8Type>(array, pg_type, format, settings),
            DataType::Int16 => dictionary::<Int16Type>(array, pg_type, format, settings),
            DataType::Int32 => dictionary::<Int32Type>(array, pg_type, format, settings),
            DataType::Int64 => dictionary::<Int64Type>(array, pg_type, format, settings),
            DataType::UInt8 => dictionary::<UInt8Type>(array, pg_type, format, settings),
            DataType::UInt16 => dictionary::<UInt16Type>(array, pg_type, format, settings),
            DataType::UInt32 => dictionary::<UInt32Type>(array, pg_type, format, settings),
            DataType::UInt64 => dictionary::<UInt64Type>(array, pg_type, format, settings),
            _ => Err(mismatch(array)),
        },
        DataType::RunEndEncoded(run_ends, _) => match run_ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array, pg_type, format, settings),
            DataType::Int32 => runs::<Int32Type>(array, pg_type, format, settings),
            DataType::Int64 => runs::<Int64Type>(array, pg_type, format, settings),
            _ => Err(mismatch(array)),
        },
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Map(..) => nested::list_writer(array, pg_type, format, settings),
        DataType::Struct(_) => nested::record_writer(array, format, settings),
        _ => scalar::scalar_writer(array, pg_type, format, settings),
    }
}

/// Whether [`cell_writer`] takes such columns; the error says why not.
pub fn check_cell_writer(
    data_type: &DataType,
    pg_type: PgType,
    format: Format,
    settings: &FormatSettings,
) -> Result<()> {
    // Arrow cannot make every union, not even an empty one, and none can be sent.
    if holds_union(data_type) {
        return Err(cannot_send(data_type, pg_type));
    }
    cell_writer(&new_empty_array(data_type), pg_type, format, settings).map(|_| ())
}

fn holds_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => holds_union(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_union(field.data_type())),
        DataType::Dictionary(_, value) => holds_union(value),
        _ => false,
    }
}

#[cold]
fn cannot_send(data_type: &DataType, pg_type: PgType) -> TypeError {
    TypeError::unsupported(format!(
        "cannot send values of Arrow type {data_type} as type {pg_type}"
    ))
}

/// A whole column as text: what a cast to text gives.
pub fn text_array(
    array: &dyn Array,
    pg_type: PgType,
    settings: &FormatSettings,
) -> Result<ArrayRef> {
    let mut writer = cell_writer(array, pg_type, Format::Text, settings)?;
    let mut text = Vec::with_capacity(array.len() * 8);
    let mut ends = Vec::with_capacity(array.len() + 1);
    let mut valid = Vec::with_capacity(array.len());
    ends.push(0i32);
    for row in 0..array.len() {
        valid.push(writer.write(row, &mut text)?);
        ends.push(i32::try_from(text.len()).map_err(|_| {
            TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "a batch of text exceeds the maximum of 2147483647 bytes",
            )
        })?);
    }
    let nulls = valid.contains(&false).then(|| valid.into());
    StringArray::try_new(
        OffsetBuffer::new(ScalarBuffer::from(ends)),
        text.into(),
        nulls,
    )
    .map(|array| Arc::new(array) as ArrayRef)
    .map_err(|error| TypeError::internal(error.to_string()))
}

/// One value as text; `None` for NULL.
pub fn text_value(
    array: &dyn Array,
    row: usize,
    pg_type: PgType,
    settings: &FormatSettings,
) -> Result<Option<String>> {
    let mut out = Vec::new();
    let written = cell_writer(array, pg_type, Format::Text, settings)?.write(row, &mut out)?;
    if !written {
        return Ok(None);
    }
    String::from_utf8(out)
        .map(Some)
        .map_err(|error| TypeError::internal(error.to_string()))
}

fn mismatch(array: &dyn Array) -> TypeError {
    TypeError::internal(format!(
        "array is not what its type {} says",
        array.data_type()
    ))
}

fn downcast<A: 'static>(array: &dyn Array) -> Result<&A> {
    array
        .as_any()
        .downcast_ref::<A>()
        .ok_or_else(|| mismatch(array))
}

/// A column that is NULL throughout.
struct Nulls;

impl CellWriter for Nulls {
    fn write(&mut self, _row: usize, _out: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }
}

struct Dictionary<'a, K: ArrowDictionaryKeyType> {
    array: &'a DictionaryArray<K>,
    values: Box<dyn CellWriter + 'a>,
}

impl<K: ArrowDictionaryKeyType> CellWriter for Dictionary<'_, K> {
    #[inline]
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        let keys = self.array.keys();
        if keys.is_null(row) {
            return Ok(false);
        }
        self.values.write(keys.value(row).as_usize(), out)
    }
}

fn dictionary<'a, K: ArrowDictionaryKeyType>(
    array: &'a dyn Array,
    pg_type: PgType,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Box<dyn CellWriter + 'a>> {
    let array: &DictionaryArray<K> = downcast(array)?;
    let values = cell_writer(array.values(), pg_type, format, settings)?;
    Ok(Box::new(Dictionary { array, values }))
}

struct Runs<'a, R: RunEndIndexType> {
    array: &'a RunArray<R>,
    values: Box<dyn CellWriter + 'a>,
}

impl<R: RunEndIndexType> CellWriter for Runs<'_, R> {
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        self.values.write(self.array.get_physical_index(row), out)
    }
}

fn runs<'a, R: RunEndIndexType>(
    array: &'a dyn Array,
    pg_type: PgType,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Box<dyn CellWriter + 'a>> {
    let array: &RunArray<R> = downcast(array)?;
    let values = cell_writer(array.values(), pg_type, format, settings)?;
    Ok(Box::new(Runs { array, values }))
}
