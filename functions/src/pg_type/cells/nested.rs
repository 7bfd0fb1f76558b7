//! Arrays and records: cells made of their children's cells.
//!
//! Arrow nests lists, PostgreSQL has arrays of several dimensions whose sub-arrays all have the
//! same length. In text every nesting can be written; the binary form has the dimensions in
//! front, so there a ragged nesting is an error, the one that `ARRAY[[1],[2,3]]` raises.

use std::ops::Range;

use arrow::array::{
    Array, FixedSizeListArray, LargeListArray, LargeListViewArray, ListArray, ListViewArray,
    MapArray, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use job::SqlState;

use super::{CellWriter, Format, cell_writer, downcast, mismatch};
use crate::pg_type::arrow_types::pg_type_of;
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::settings::FormatSettings;
use crate::pg_type::types::{Base, PgType};
use crate::pg_type::write::quote;

/// PostgreSQL's limit on array dimensions.
const DIMENSIONS_MAX: usize = 6;

pub(super) fn list_writer<'a>(
    array: &'a dyn Array,
    pg_type: PgType,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Box<dyn CellWriter + 'a>> {
    // The vector types are lists that are not arrays; on the wire they are arrays from index 0.
    let (element, style) = match pg_type.base {
        Base::Int2vector if !pg_type.is_array => (PgType::INT2, Style::Vector),
        Base::Oidvector if !pg_type.is_array => (PgType::OID, Style::Vector),
        _ => (pg_type.element().unwrap_or(pg_type), Style::Array),
    };
    let lists = Lists::new(array, element, format, settings, 1)?;
    let quoted = !matches!(
        element.base,
        Base::Bool
            | Base::Int2
            | Base::Int4
            | Base::Int8
            | Base::Float4
            | Base::Float8
            | Base::Numeric
            | Base::Oid
            | Base::Uuid
    );
    Ok(match (format, style) {
        (Format::Binary, _) => Box::new(BinaryArray {
            lists,
            element_oid: element.oid(),
            lower_bound: i32::from(style == Style::Array),
        }),
        (Format::Text, Style::Array) => Box::new(TextArray { lists, quoted }),
        (Format::Text, Style::Vector) => Box::new(TextVector { lists }),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Array,
    Vector,
}

/// One level of lists, and what is in them.
struct Lists<'a> {
    nulls: Option<&'a NullBuffer>,
    bounds: Bounds<'a>,
    child: Child<'a>,
}

/// Where each row's elements are within the child.
enum Bounds<'a> {
    Offsets32(&'a [i32]),
    Offsets64(&'a [i64]),
    Fixed(usize),
    View32(&'a [i32], &'a [i32]),
    View64(&'a [i64], &'a [i64]),
}

enum Child<'a> {
    Lists(Box<Lists<'a>>),
    Cells(Box<dyn CellWriter + 'a>),
}

impl<'a> Lists<'a> {
    fn new(
        array: &'a dyn Array,
        element: PgType,
        format: Format,
        settings: &'a FormatSettings,
        depth: usize,
    ) -> Result<Self> {
        if depth > DIMENSIONS_MAX {
            return Err(TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "number of array dimensions ({depth}) exceeds the maximum allowed ({DIMENSIONS_MAX})"
                ),
            ));
        }
        let (bounds, values): (_, &dyn Array) = match array.data_type() {
            DataType::List(_) => {
                let lists: &ListArray = downcast(array)?;
                (Bounds::Offsets32(lists.value_offsets()), lists.values())
            }
            DataType::LargeList(_) => {
                let lists: &LargeListArray = downcast(array)?;
                (Bounds::Offsets64(lists.value_offsets()), lists.values())
            }
            DataType::FixedSizeList(_, length) => {
                let lists: &FixedSizeListArray = downcast(array)?;
                let length = usize::try_from(*length).map_err(|_| mismatch(array))?;
                (Bounds::Fixed(length), lists.values())
            }
            DataType::ListView(_) => {
                let lists: &ListViewArray = downcast(array)?;
                let bounds = Bounds::View32(lists.value_offsets(), lists.value_sizes());
                (bounds, lists.values())
            }
            DataType::LargeListView(_) => {
                let lists: &LargeListViewArray = downcast(array)?;
                let bounds = Bounds::View64(lists.value_offsets(), lists.value_sizes());
                (bounds, lists.values())
            }
            DataType::Map(..) => {
                let maps: &MapArray = downcast(array)?;
                (Bounds::Offsets32(maps.value_offsets()), maps.entries())
            }
            _ => return Err(mismatch(array)),
        };
        let child = match values.data_type() {
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Map(..) => Child::Lists(Box::new(Lists::new(
                values,
                element,
                format,
                settings,
                depth + 1,
            )?)),
            _ => Child::Cells(cell_writer(values, element, format, settings)?),
        };
        Ok(Self {
            nulls: array.nulls(),
            bounds,
            child,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Elements of a row. Offsets that Arrow has validated are never negative.
    fn range(&self, row: usize) -> Range<usize> {
        match self.bounds {
            Bounds::Offsets32(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Bounds::Offsets64(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Bounds::Fixed(length) => row * length..(row + 1) * length,
            Bounds::View32(offsets, sizes) => {
                let start = offsets[row] as usize;
                start..start + sizes[row] as usize
            }
            Bounds::View64(offsets, sizes) => {
                let start = offsets[row] as usize;
                start..start + sizes[row] as usize
            }
        }
    }

    /// Whether a row holds no element at any depth: PostgreSQL has one empty array.
    fn is_empty(&self, row: usize) -> bool {
        let mut range = self.range(row);
        match &self.child {
            Child::Lists(lists) => range.all(|row| !lists.is_null(row) && lists.is_empty(row)),
            Child::Cells(_) => range.is_empty(),
        }
    }

    fn write_text(&mut self, row: usize, out: &mut Vec<u8>, quoted: bool) -> Result<()> {
        let range = self.range(row);
        let first = range.start;
        out.push(b'{');
        for index in range {
            if index > first {
                out.push(b',');
            }
            match &mut self.child {
                Child::Lists(lists) if lists.is_null(index) => out.extend_from_slice(b"NULL"),
                Child::Lists(lists) => lists.write_text(index, out, quoted)?,
                Child::Cells(cells) => {
                    let start = out.len();
                    if !cells.write(index, out)? {
                        out.extend_from_slice(b"NULL");
                    } else if quoted {
                        quote::array_element(out, start);
                    }
                }
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// The lengths along the first elements; [`Lists::write_binary`] checks the others.
    fn dimensions(&self, row: usize, lengths: &mut Vec<usize>) {
        let range = self.range(row);
        lengths.push(range.len());
        if let Child::Lists(lists) = &self.child
            && !range.is_empty()
        {
            lists.dimensions(range.start, lengths);
        }
    }

    /// Appends the elements; returns whether any is NULL.
    fn write_binary(&mut self, row: usize, lengths: &[usize], out: &mut Vec<u8>) -> Result<bool> {
        let range = self.range(row);
        let Some((length, inner)) = lengths.split_first() else {
            return Err(ragged());
        };
        if range.len() != *length {
            return Err(ragged());
        }
        let mut has_null = false;
        for index in range {
            match &mut self.child {
                Child::Lists(lists) if lists.is_null(index) => return Err(ragged()),
                Child::Lists(lists) => has_null |= lists.write_binary(index, inner, out)?,
                Child::Cells(cells) => has_null |= !write_counted(cells.as_mut(), index, out)?,
            }
        }
        Ok(has_null)
    }
}

fn ragged() -> TypeError {
    TypeError::new(
        SqlState::ARRAY_SUBSCRIPT_ERROR,
        "multidimensional arrays must have array expressions with matching dimensions",
    )
}

/// A cell with its length in front, -1 for NULL; returns whether it is not NULL.
fn write_counted(cells: &mut dyn CellWriter, row: usize, out: &mut Vec<u8>) -> Result<bool> {
    let start = out.len();
    out.extend_from_slice(&(-1i32).to_be_bytes());
    let written = cells.write(row, out)?;
    if written {
        let length = i32::try_from(out.len() - start - 4).map_err(|_| {
            TypeError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "array element is too large",
            )
        })?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(written)
}

struct TextArray<'a> {
    lists: Lists<'a>,
    /// Whether elements of the type can need quotes.
    quoted: bool,
}

impl CellWriter for TextArray<'_> {
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.lists.is_null(row) {
            return Ok(false);
        }
        if self.lists.is_empty(row) {
            out.extend_from_slice(b"{}");
        } else {
            self.lists.write_text(row, out, self.quoted)?;
        }
        Ok(true)
    }
}

/// `1 2 3`, as int2vector and oidvector are written.
struct TextVector<'a> {
    lists: Lists<'a>,
}

impl CellWriter for TextVector<'_> {
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.lists.is_null(row) {
            return Ok(false);
        }
        let range = self.lists.range(row);
        let first = range.start;
        for index in range {
            if index > first {
                out.push(b' ');
            }
            if let Child::Cells(cells) = &mut self.lists.child {
                cells.write(index, out)?;
            }
        }
        Ok(true)
    }
}

struct BinaryArray<'a> {
    lists: Lists<'a>,
    element_oid: u32,
    /// Index of the first element in every dimension.
    lower_bound: i32,
}

impl CellWriter for BinaryArray<'_> {
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.lists.is_null(row) {
            return Ok(false);
        }
        let mut lengths = Vec::with_capacity(DIMENSIONS_MAX);
        // PostgreSQL's empty array has no dimensions; the vector types always have one.
        if !self.lists.is_empty(row) || self.lower_bound == 0 {
            self.lists.dimensions(row, &mut lengths);
        }
        out.extend_from_slice(&(lengths.len() as i32).to_be_bytes());
        let flags = out.len();
        out.extend_from_slice(&0i32.to_be_bytes());
        out.extend_from_slice(&self.element_oid.to_be_bytes());
        for length in &lengths {
            let length = i32::try_from(*length).map_err(|_| {
                TypeError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "array is too large")
            })?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&self.lower_bound.to_be_bytes());
        }
        if !lengths.is_empty() && self.lists.write_binary(row, &lengths, out)? {
            out[flags..flags + 4].copy_from_slice(&1i32.to_be_bytes());
        }
        Ok(true)
    }
}

pub(super) fn record_writer<'a>(
    array: &'a dyn Array,
    format: Format,
    settings: &'a FormatSettings,
) -> Result<Box<dyn CellWriter + 'a>> {
    let records: &StructArray = downcast(array)?;
    let fields = records
        .fields()
        .iter()
        .zip(records.columns())
        .map(|(field, column)| {
            let pg_type = pg_type_of(field);
            let cells = cell_writer(column, pg_type, format, settings)?;
            Ok(RecordField {
                oid: pg_type.oid(),
                cells,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Box::new(Records {
        nulls: records.nulls(),
        fields,
        format,
    }))
}

struct Records<'a> {
    nulls: Option<&'a NullBuffer>,
    fields: Vec<RecordField<'a>>,
    format: Format,
}

struct RecordField<'a> {
    oid: u32,
    cells: Box<dyn CellWriter + 'a>,
}

impl CellWriter for Records<'_> {
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<bool> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(false);
        }
        match self.format {
            Format::Text => {
                out.push(b'(');
                for (index, field) in self.fields.iter_mut().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    let start = out.len();
                    // Nothing at all is NULL; an empty string gets quotes.
                    if field.cells.write(row, out)? {
                        quote::record_field(out, start);
                    }
                }
                out.push(b')');
            }
            Format::Binary => {
                out.extend_from_slice(&(self.fields.len() as i32).to_be_bytes());
                for field in &mut self.fields {
                    out.extend_from_slice(&field.oid.to_be_bytes());
                    write_counted(field.cells.as_mut(), row, out)?;
                }
            }
        }
        Ok(true)
    }
}
