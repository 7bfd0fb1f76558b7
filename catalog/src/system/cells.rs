//! Values of system tables, and Arrow arrays of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::error::DataFusionError;

use crate::names::Oid;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    /// Any integer column, OIDs included; narrower columns take the low bits of small numbers.
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// Microseconds since 1970, UTC.
    Time(i64),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl<'a> Cell<'a> {
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn optional(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(Cow::Borrowed(text)))
    }

    pub(crate) fn yes_no(yes: bool) -> Self {
        Self::text(if yes { "YES" } else { "NO" })
    }
}

impl From<Oid> for Cell<'_> {
    fn from(oid: Oid) -> Self {
        Self::Int(i64::from(oid.0))
    }
}

/// An array of a column's type. A cell of another type is a bug in the table that made it, and
/// fails the statement.
pub(crate) fn array<'a>(
    data_type: &DataType,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $($pattern:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    $($pattern => builder.append_value($value),)+
                    other => return Err(mismatch(data_type, &other)),
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    macro_rules! build_list {
        ($item:expr, $pattern:pat => $values:expr) => {{
            let mut builder = ListBuilder::new($item);
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    $pattern => {
                        for value in $values {
                            builder.values().append_value(value);
                        }
                        builder.append(true);
                    }
                    other => return Err(mismatch(data_type, &other)),
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    match data_type {
        DataType::Boolean => build!(BooleanBuilder::new(), Cell::Bool(value) => value),
        DataType::Int16 => build!(Int16Builder::new(), Cell::Int(value) => value as i16),
        DataType::Int32 => build!(Int32Builder::new(), Cell::Int(value) => value as i32),
        DataType::Int64 => build!(Int64Builder::new(), Cell::Int(value) => value),
        DataType::Float32 => build!(
            Float32Builder::new(),
            Cell::Float(value) => value as f32,
            Cell::Int(value) => value as f32
        ),
        DataType::Float64 => build!(
            Float64Builder::new(),
            Cell::Float(value) => value,
            Cell::Int(value) => value as f64
        ),
        DataType::Utf8 => build!(StringBuilder::new(), Cell::Text(value) => value),
        DataType::Binary => {
            build!(BinaryBuilder::new(), Cell::Text(value) => value.as_bytes())
        }
        DataType::Timestamp(_, zone) => build!(
            TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()),
            Cell::Time(value) => value
        ),
        DataType::List(item) => match item.data_type() {
            DataType::Int16 => build_list!(
                Int16Builder::new(),
                Cell::Ints(values) => values.into_iter().map(|value| value as i16)
            ),
            DataType::Int64 => build_list!(Int64Builder::new(), Cell::Ints(values) => values),
            DataType::Float32 => build_list!(
                Float32Builder::new(),
                Cell::Ints(values) => values.into_iter().map(|value| value as f32)
            ),
            _ => build_list!(StringBuilder::new(), Cell::Texts(values) => values),
        },
        other => Err(DataFusionError::Internal(format!(
            "system tables have no columns of type {other}"
        ))),
    }
}

fn mismatch(data_type: &DataType, cell: &Cell<'_>) -> DataFusionError {
    DataFusionError::Internal(format!("{cell:?} is no value of a {data_type} column"))
}

/// Reads a value as `COPY … TO` writes it in text format.
pub(crate) fn parse_copy(data_type: &DataType, text: &'static str) -> Cell<'static> {
    if text == "\\N" {
        return Cell::Null;
    }
    match data_type {
        DataType::Boolean => Cell::Bool(text == "t"),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            text.parse().map_or(Cell::Null, Cell::Int)
        }
        DataType::Float32 | DataType::Float64 => text.parse().map_or(Cell::Null, Cell::Float),
        DataType::List(item) => {
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            let values = inside.split([',', ' ']).filter(|value| !value.is_empty());
            if item.data_type() == &DataType::Utf8 {
                Cell::Texts(values.map(str::to_owned).collect())
            } else {
                Cell::Ints(values.filter_map(|value| value.parse().ok()).collect())
            }
        }
        _ => Cell::text(text),
    }
}
