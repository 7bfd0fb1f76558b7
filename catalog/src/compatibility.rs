//! Whether a file's columns fit a table's, and what columns several files have in common.
//!
//! A file fits when each of its values has an exact counterpart in the table's type: integers and
//! floats may widen, text and binary may change their Arrow layout, timestamps their unit. What
//! would need a lossy or failing cast is a type mismatch, reported before anything is read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use job::{ErrorReport, SqlState};

use crate::pg_types::pg_type_name;

/// Checks a self-describing file (Parquet, Avro, Arrow) against the table's file columns.
pub(crate) fn check_file(
    path: &std::path::Path,
    file: &Schema,
    table: &Schema,
) -> Result<(), ErrorReport> {
    for wanted in table.fields() {
        let Ok(found) = file.field_with_name(wanted.name()) else {
            // Columns a file lacks read as null, as in every engine that lets tables grow.
            continue;
        };
        if !fits(found.data_type(), wanted.data_type()) {
            return Err(ErrorReport::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" of file \"{}\" has type {}, but the table declares {}",
                    wanted.name(),
                    path.display(),
                    pg_type_name(&Field::new("", found.data_type().clone(), true)),
                    pg_type_name(wanted)
                ),
            ));
        }
    }
    Ok(())
}

/// The columns of several files by name: the union, each with the widest of its types.
pub(crate) fn merge(files: &[(&std::path::Path, SchemaRef)]) -> Result<SchemaRef, ErrorReport> {
    let mut merged: Vec<FieldRef> = Vec::new();
    for (path, schema) in files {
        for field in schema.fields() {
            let Some(known) = merged.iter_mut().find(|known| known.name() == field.name()) else {
                merged.push(Arc::clone(field));
                continue;
            };
            let nullable = known.is_nullable() || field.is_nullable();
            let data_type = if fits(field.data_type(), known.data_type()) {
                known.data_type().clone()
            } else if fits(known.data_type(), field.data_type()) {
                field.data_type().clone()
            } else {
                return Err(ErrorReport::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "column \"{}\" of file \"{}\" has type {}, but other files have {}",
                        field.name(),
                        path.display(),
                        pg_type_name(field),
                        pg_type_name(known)
                    ),
                ));
            };
            *known = Arc::new(
                known
                    .as_ref()
                    .clone()
                    .with_data_type(data_type)
                    .with_nullable(nullable),
            );
        }
    }
    // A column some file lacks is null there.
    let fields: Vec<_> = merged
        .into_iter()
        .map(|field| {
            let everywhere = files
                .iter()
                .all(|(_, schema)| schema.field_with_name(field.name()).is_ok());
            if everywhere || field.is_nullable() {
                field
            } else {
                Arc::new(field.as_ref().clone().with_nullable(true))
            }
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// Is every value of `from` a value of `to`?
pub(crate) fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    if from == to {
        return true;
    }
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, value), to) => fits(value, to),
        (from, Dictionary(_, value)) => fits(from, value),
        (from, to) if is_text(from) && is_text(to) => true,
        // Old writers store text without saying so; bytes that are no text fail when read.
        (from, to) if is_binary(from) && (is_binary(to) || is_text(to)) => true,
        (from, to) if integer_rank(from).is_some() => integer_fits(from, to),
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (from, to) if decimal(from).is_some() => match (decimal(from), decimal(to)) {
            (Some((from_digits, from_scale)), Some((to_digits, to_scale))) => {
                to_scale >= from_scale && to_digits - to_scale >= from_digits - from_scale
            }
            _ => false,
        },
        (Timestamp(_, _), Timestamp(_, _)) => true,
        (Date32 | Date64, Date32 | Date64) => true,
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) => true,
        (Duration(_), Duration(_)) => true,
        (from, to) if list_item(from).is_some() => match (list_item(from), list_item(to)) {
            (Some(from), Some(to)) => fits(from, to),
            _ => false,
        },
        (Struct(from), Struct(to)) => to.iter().all(|wanted| {
            from.iter()
                .find(|found| found.name() == wanted.name())
                .is_none_or(|found| fits(found.data_type(), wanted.data_type()))
        }),
        (Map(from, _), Map(to, _)) => match (from.data_type(), to.data_type()) {
            (Struct(from), Struct(to)) if from.len() == 2 && to.len() == 2 => from
                .iter()
                .zip(to)
                .all(|(from, to)| fits(from.data_type(), to.data_type())),
            _ => false,
        },
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Bits that carry magnitude, and whether negative numbers occur.
fn integer_rank(data_type: &DataType) -> Option<(i32, bool)> {
    match data_type {
        DataType::Int8 => Some((7, true)),
        DataType::Int16 => Some((15, true)),
        DataType::Int32 => Some((31, true)),
        DataType::Int64 => Some((63, true)),
        DataType::UInt8 => Some((8, false)),
        DataType::UInt16 => Some((16, false)),
        DataType::UInt32 => Some((32, false)),
        DataType::UInt64 => Some((64, false)),
        _ => None,
    }
}

fn integer_fits(from: &DataType, to: &DataType) -> bool {
    let Some((bits, signed)) = integer_rank(from) else {
        return false;
    };
    if let Some((to_bits, to_signed)) = integer_rank(to) {
        return to_bits >= bits && (to_signed || !signed);
    }
    match to {
        DataType::Float32 => bits <= 24,
        DataType::Float64 => bits <= 53,
        // 2^bits has at most ceil(bits * log10(2)) digits.
        to => decimal(to).is_some_and(|(digits, scale)| digits - scale > bits * 302 / 1000),
    }
}

/// Precision and scale.
fn decimal(data_type: &DataType) -> Option<(i32, i32)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            Some((i32::from(*precision), i32::from(*scale)))
        }
        _ => None,
    }
}

fn list_item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_fits_and_narrowing_does_not() {
        use DataType::*;
        let yes = [
            (Int32, Int64),
            (UInt32, Int64),
            (Int32, Float64),
            (Int64, Decimal128(20, 0)),
            (Utf8, Utf8View),
            (Binary, Utf8View),
            (Decimal128(10, 2), Decimal128(12, 3)),
            (Date64, Date32),
            (
                DataType::new_list(Int32, true),
                DataType::new_list(Int64, true),
            ),
        ];
        for (from, to) in yes {
            assert!(fits(&from, &to), "{from} fits {to}");
        }
        let no = [
            (Int64, Int32),
            (Int64, Float64),
            (Int64, UInt64),
            (UInt64, Int64),
            (Utf8, Int32),
            (Int32, Utf8View),
            (Float64, Float32),
            (Decimal128(10, 2), Decimal128(10, 3)),
            (Int64, Decimal128(18, 0)),
            (Date32, Int32),
        ];
        for (from, to) in no {
            assert!(!fits(&from, &to), "{from} does not fit {to}");
        }
    }

    #[test]
    fn merging_widens_and_names_the_file_that_does_not_fit() {
        let schema =
            |data_type, nullable| Arc::new(Schema::new(vec![Field::new("a", data_type, nullable)]));
        let (one, two) = (std::path::Path::new("/1"), std::path::Path::new("/2"));
        let merged = merge(&[
            (one, schema(DataType::Int32, false)),
            (two, schema(DataType::Int64, true)),
        ])
        .unwrap();
        assert_eq!(merged.field(0), &Field::new("a", DataType::Int64, true));
        let error = merge(&[
            (one, schema(DataType::Int32, false)),
            (two, schema(DataType::Utf8, true)),
        ])
        .unwrap_err();
        assert_eq!(
            error.message,
            "column \"a\" of file \"/2\" has type text, but other files have integer"
        );
    }
}
