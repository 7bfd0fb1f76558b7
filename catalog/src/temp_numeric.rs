//! Numerics without precision and scale in temporary tables.
//!
//! PostgreSQL keeps the scale of each such value; an Arrow column has one for all. Each file keeps
//! the values of its statement in the type they had there: prices that all came with two digits
//! behind the point are a `Decimal128(p, 2)`. A column is read in the type of its files as long as
//! these agree on the scale, so that values look as they were written; otherwise in [`UNCONSTRAINED`],
//! which holds the values of all of them and is shown without zeros at the end.
//!
//! ```text
//!   INSERT (1.50)   part-0: Decimal128(3, 2)  \
//!   INSERT (20.00)  part-1: Decimal128(4, 2)   } read as Decimal128(4, 2): 1.50, 20.00, 3.25
//!   INSERT (3.25)   part-2: Decimal128(3, 2)  /
//!   INSERT (0.5)    part-3: Decimal128(2, 1)     read as Decimal256(76, 40): 1.5, 20, 3.25, 0.5
//! ```

use arrow::datatypes::{DataType, Field, FieldRef};

use crate::pg_types::{PG_TYPE_KEY, UNCONSTRAINED_NUMERIC as UNCONSTRAINED};

/// Digits in front of the point and behind it that every such column has room for.
const WHOLE_MAX: u8 = 36;
const SCALE_MAX: u8 = 40;

/// The type in which a file keeps a column without any value. It has no scale to agree on with other
/// files: what is said of it is [`DataType::Null`] ([`crate::TempWrite::of_columns`]).
pub const FILE_NULLS: DataType = DataType::Decimal128(1, 0);

/// The type in which a file keeps numerics of a type (or integers) in a column without precision
/// and scale.
pub fn file_numeric(from: &DataType) -> DataType {
    let (precision, scale) = match from {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => (5, 0),
        DataType::Int32 | DataType::UInt16 => (10, 0),
        DataType::Int64 | DataType::UInt32 => (19, 0),
        DataType::UInt64 => (20, 0),
        other => match digits(other) {
            Some(digits) => digits,
            None => return UNCONSTRAINED,
        },
    };
    if scale > SCALE_MAX {
        return UNCONSTRAINED;
    }
    decimal(precision.saturating_sub(scale).min(WHOLE_MAX), scale)
}

/// The type in which a column is read whose files keep these types.
pub(crate) fn read_numeric<'a>(files: impl Iterator<Item = &'a DataType>) -> DataType {
    let mut common: Option<(u8, u8)> = None;
    for data_type in files {
        if *data_type == DataType::Null {
            continue;
        }
        if *data_type == UNCONSTRAINED {
            return UNCONSTRAINED;
        }
        let Some((precision, scale)) = digits(data_type) else {
            return UNCONSTRAINED;
        };
        let whole = precision.saturating_sub(scale);
        common = match common {
            None => Some((whole, scale)),
            Some((most, other)) if other == scale => Some((most.max(whole), scale)),
            Some(_) => return UNCONSTRAINED,
        };
    }
    match common {
        // One at least, for the type of files without values.
        Some((whole, scale)) => decimal(whole.max(1), scale),
        None => UNCONSTRAINED,
    }
}

/// A column of a table as declared, or with the type its numerics have at present.
pub(crate) fn is_unconstrained(field: &Field) -> bool {
    *field.data_type() == UNCONSTRAINED
}

/// A declared column, read in another type: to clients it is still a numeric without modifiers.
pub(crate) fn read_as(field: &FieldRef, data_type: DataType) -> Field {
    let mut field = field.as_ref().clone().with_data_type(data_type);
    if !is_unconstrained(&field) {
        field
            .metadata_mut()
            .insert(PG_TYPE_KEY.to_owned(), "numeric".to_owned());
    }
    field
}

/// Precision and scale of a decimal with digits behind the point, or none.
fn digits(data_type: &DataType) -> Option<(u8, u8)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, u8::try_from(*scale).ok()?)),
        _ => None,
    }
}

fn decimal(whole: u8, scale: u8) -> DataType {
    let precision = whole.saturating_add(scale).max(1);
    // At most 36 and 40.
    let scale = i8::try_from(scale).unwrap_or(i8::MAX);
    if precision <= 38 {
        DataType::Decimal128(precision, scale)
    } else {
        DataType::Decimal256(precision, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[DataType]) -> DataType {
        read_numeric(files.iter())
    }

    #[test]
    fn files_of_one_scale_are_read_with_it() {
        assert_eq!(read(&[]), UNCONSTRAINED);
        assert_eq!(
            read(&[DataType::Decimal128(3, 2), DataType::Decimal128(38, 2)]),
            DataType::Decimal128(38, 2)
        );
        assert_eq!(
            read(&[DataType::Null, DataType::Decimal128(1, 1)]),
            DataType::Decimal128(2, 1)
        );
        assert_eq!(read(&[DataType::Null]), UNCONSTRAINED);
        assert_eq!(
            read(&[DataType::Decimal128(3, 2), DataType::Decimal128(3, 1)]),
            UNCONSTRAINED
        );
        assert_eq!(
            read(&[DataType::Decimal128(3, 2), UNCONSTRAINED]),
            UNCONSTRAINED
        );
    }

    #[test]
    fn every_file_type_fits_the_widest() {
        assert_eq!(
            file_numeric(&DataType::Decimal128(3, 2)),
            DataType::Decimal128(3, 2)
        );
        assert_eq!(
            file_numeric(&DataType::Decimal256(76, 4)),
            DataType::Decimal256(40, 4)
        );
        assert_eq!(
            file_numeric(&DataType::Decimal128(38, 0)),
            DataType::Decimal128(36, 0)
        );
        assert_eq!(file_numeric(&DataType::Decimal256(60, 50)), UNCONSTRAINED);
        assert_eq!(file_numeric(&DataType::Float64), UNCONSTRAINED);
        assert_eq!(file_numeric(&UNCONSTRAINED), UNCONSTRAINED);
        assert_eq!(file_numeric(&DataType::Int32), DataType::Decimal128(10, 0));
    }
}
