//! Between Arrow's types and PostgreSQL's.
//!
//! Arrow has no uuid, json, varchar(n), oid and so on. A field that means one of them says so in
//! its metadata under [`PG_TYPE_KEY`], in the spelling of [`PgType::metadata_name`]: `uuid` on
//! FixedSizeBinary(16), `varchar(10)` on Utf8, `uuid[]` on a list of FixedSizeBinary(16).
//! Metadata sits on the outer field only, never on a list's item: Arrow compares item fields
//! when it compares types, and two lists of uuid must have the same type. Expressions may carry
//! metadata along to a result it no longer fits; what does not fit the Arrow type is ignored.
//!
//! | PostgreSQL | Arrow |
//! | --- | --- |
//! | int2, int4, int8, float4, float8, bool | Int16, Int32, Int64, Float32, Float64, Boolean |
//! | numeric(p, s) | Decimal128(p, s) to 38 digits, Decimal256 to 76 |
//! | numeric | Decimal256(76, 40), shown without zeros at the end |
//! | text, varchar, bpchar, name, "char", json, jsonb | Utf8 |
//! | bytea, uuid | Binary, FixedSizeBinary(16) |
//! | date, time | Date32, Time64(µs) |
//! | timestamp, timestamptz | Timestamp(µs), Timestamp(µs, "UTC") |
//! | interval | Interval(MonthDayNano) |
//! | oid, xid, reg… | UInt32 |
//! | record | Struct |
//!
//! A bpchar value has no blanks at its end: they mean nothing when it is compared, measured or cast,
//! and are written when it leaves (`cells`).
//!
//! `infinity` is the largest Date32 and Timestamp(µs), `-infinity` the smallest, as in
//! PostgreSQL itself. NaN has no decimal and is refused on input.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use super::types::{Base, PgType};

/// Field metadata key for the PostgreSQL type of a column.
pub const PG_TYPE_KEY: &str = "firesteel.pg_type";

/// Digits of a numeric without precision and scale: 36 in front of the point, 40 behind.
pub const NUMERIC_DEFAULT_PRECISION: u8 = 76;
/// The product of two quotients, which have 20 digits behind the point where they are below one,
/// is exact.
pub const NUMERIC_DEFAULT_SCALE: i8 = 40;

/// The column type of a numeric without precision and scale, whose values have scales of their own
/// in PostgreSQL. Zeros at the end of its values are not shown, and what does not fit it is an
/// error, never rounded. (`numeric(76,40)` is taken for the same; decision 0008.)
pub const NUMERIC_DEFAULT: DataType =
    DataType::Decimal256(NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE);

/// The zone that our timestamptz columns name. The instants are UTC whatever a column says.
pub const TIMESTAMPTZ_ZONE: &str = "UTC";

/// The type a client sees for a column.
pub fn pg_type_of(field: &Field) -> PgType {
    if let Some(name) = field.metadata().get(PG_TYPE_KEY)
        && let Some(pg_type) = PgType::from_metadata_name(name)
        && fits(pg_type, field.data_type())
    {
        return pg_type;
    }
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => pg_type_of(item).array_of(),
        data_type => pg_type_of_data_type(data_type),
    }
}

/// The type a client sees for values without a field: what metadata would say is unknown.
pub fn pg_type_of_data_type(data_type: &DataType) -> PgType {
    match data_type {
        // A bare NULL leaves PostgreSQL's SELECT as text.
        DataType::Null => PgType::TEXT,
        DataType::Boolean => PgType::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgType::INT2,
        DataType::Int32 | DataType::UInt16 => PgType::INT4,
        DataType::Int64 | DataType::UInt32 => PgType::INT8,
        DataType::UInt64 => PgType::numeric(20, 0),
        DataType::Float16 | DataType::Float32 => PgType::FLOAT4,
        DataType::Float64 => PgType::FLOAT8,
        DataType::Decimal256(NUMERIC_DEFAULT_PRECISION, NUMERIC_DEFAULT_SCALE) => PgType::NUMERIC,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            PgType::numeric(u16::from(*precision), i16::from(*scale))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PgType::TEXT,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => PgType::BYTEA,
        DataType::Date32 | DataType::Date64 => PgType::DATE,
        DataType::Time32(_) | DataType::Time64(_) => PgType::TIME,
        DataType::Timestamp(_, None) => PgType::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => PgType::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => PgType::INTERVAL,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => pg_type_of(item).array_of(),
        DataType::Struct(_) => PgType::RECORD,
        // A map is the list of its entries.
        DataType::Map(..) => PgType::RECORD.array_of(),
        DataType::Dictionary(_, value) => pg_type_of_data_type(value),
        DataType::RunEndEncoded(_, value) => pg_type_of(value),
        // Shown by its type name only in the error that refuses it.
        DataType::Union(..) => PgType::UNKNOWN,
    }
}

/// Whether values of the Arrow type can be sent as the PostgreSQL type.
pub fn fits(pg_type: PgType, data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => return fits(pg_type, value),
        DataType::RunEndEncoded(_, value) => return fits(pg_type, value.data_type()),
        DataType::Null => return true,
        _ => {}
    }
    let item = match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item.data_type()),
        _ => None,
    };
    match (pg_type.element(), item) {
        (Some(element), Some(item)) => {
            return fits(element, item) || fits(pg_type, item);
        }
        (Some(element), None) => {
            return element.base == Base::Record && matches!(data_type, DataType::Map(..));
        }
        (None, Some(item)) => {
            return matches!(pg_type.base, Base::Int2vector | Base::Oidvector) && item.is_integer();
        }
        (None, None) => {}
    }
    match pg_type.base {
        Base::Bool => matches!(data_type, DataType::Boolean),
        Base::Int2 => matches!(
            data_type,
            DataType::Int8 | DataType::Int16 | DataType::UInt8
        ),
        Base::Int4 => matches!(
            data_type,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16
        ),
        Base::Int8 => data_type.is_integer() && *data_type != DataType::UInt64,
        Base::Numeric => data_type.is_integer() || data_type.is_decimal(),
        Base::Float4 => matches!(data_type, DataType::Float16 | DataType::Float32),
        Base::Float8 => data_type.is_floating(),
        Base::Bytea => matches!(
            data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        ),
        Base::Uuid => matches!(data_type, DataType::FixedSizeBinary(16)),
        Base::Text
        | Base::Varchar
        | Base::Bpchar
        | Base::Name
        | Base::Char
        | Base::Unknown
        | Base::Json
        | Base::Jsonb
        | Base::PgNodeTree
        | Base::Aclitem
        | Base::PgLsn
        | Base::Void => data_type.is_string(),
        // Numbers, or names that the catalog has looked up already.
        Base::Oid
        | Base::Xid
        | Base::Regproc
        | Base::Regprocedure
        | Base::Regoper
        | Base::Regoperator
        | Base::Regclass
        | Base::Regtype
        | Base::Regnamespace
        | Base::Regrole => data_type.is_integer() || data_type.is_string(),
        Base::Date => matches!(data_type, DataType::Date32 | DataType::Date64),
        Base::Time => matches!(data_type, DataType::Time32(_) | DataType::Time64(_)),
        Base::Timestamp => matches!(data_type, DataType::Timestamp(_, None)),
        Base::Timestamptz => matches!(data_type, DataType::Timestamp(_, Some(_))),
        Base::Interval => matches!(data_type, DataType::Interval(_) | DataType::Duration(_)),
        Base::Record => matches!(data_type, DataType::Struct(_)),
        Base::Int2vector | Base::Oidvector => false,
    }
}

impl PgType {
    /// The Arrow type that holds this type's values. `None` for records, whose columns the name
    /// does not tell, and for numerics with more digits than Arrow has.
    pub fn arrow_type(self) -> Option<DataType> {
        if let Some(element) = self.element() {
            return Some(list_of(element.arrow_type()?));
        }
        Some(match self.base {
            Base::Bool => DataType::Boolean,
            Base::Int2 => DataType::Int16,
            Base::Int4 => DataType::Int32,
            Base::Int8 => DataType::Int64,
            Base::Float4 => DataType::Float32,
            Base::Float8 => DataType::Float64,
            Base::Numeric => match self.numeric_precision_scale() {
                None => NUMERIC_DEFAULT,
                Some((precision, scale)) => decimal_type(precision, scale)?,
            },
            Base::Text
            | Base::Varchar
            | Base::Bpchar
            | Base::Name
            | Base::Char
            | Base::Unknown
            | Base::Json
            | Base::Jsonb
            | Base::PgNodeTree
            | Base::Aclitem
            | Base::PgLsn
            | Base::Void => DataType::Utf8,
            Base::Bytea => DataType::Binary,
            Base::Uuid => DataType::FixedSizeBinary(16),
            Base::Date => DataType::Date32,
            Base::Time => DataType::Time64(TimeUnit::Microsecond),
            Base::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Base::Timestamptz => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(TIMESTAMPTZ_ZONE.into()))
            }
            Base::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Base::Oid
            | Base::Xid
            | Base::Regproc
            | Base::Regprocedure
            | Base::Regoper
            | Base::Regoperator
            | Base::Regclass
            | Base::Regtype
            | Base::Regnamespace
            | Base::Regrole => DataType::UInt32,
            Base::Int2vector => list_of(DataType::Int16),
            Base::Oidvector => list_of(DataType::UInt32),
            Base::Record => return None,
        })
    }

    /// A column of this type, with metadata where the Arrow type alone does not tell.
    pub fn arrow_field(self, name: &str, nullable: bool) -> Option<Field> {
        let field = Field::new(name, self.arrow_type()?, nullable);
        Some(self.annotate(field))
    }

    /// Writes this type into a field's metadata, unless the Arrow type alone tells it.
    #[must_use]
    pub fn annotate(self, mut field: Field) -> Field {
        field.metadata_mut().remove(PG_TYPE_KEY);
        if pg_type_of(&field) != self {
            field
                .metadata_mut()
                .insert(PG_TYPE_KEY.to_owned(), self.metadata_name());
        }
        field
    }
}

/// A list as we make them: nullable items without metadata.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// Decimal128 where the digits fit, else Decimal256. `None` beyond 76 digits.
///
/// PostgreSQL allows a scale outside 0..=precision; a scale above the precision widens it.
pub fn decimal_type(precision: u16, scale: i16) -> Option<DataType> {
    let scale = i8::try_from(scale).ok()?;
    let digits = precision.max(u16::from(scale.max(1) as u8));
    let digits = u8::try_from(digits).ok()?;
    match digits {
        1..=38 => Some(DataType::Decimal128(digits, scale)),
        39..=76 => Some(DataType::Decimal256(digits, scale)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_field() {
        for &base in Base::ALL {
            for pg_type in [PgType::of(base), PgType::of(base).array_of()] {
                let Some(field) = pg_type.arrow_field("c", true) else {
                    assert_eq!(base, Base::Record);
                    continue;
                };
                assert!(fits(pg_type, field.data_type()), "{pg_type}");
                assert_eq!(pg_type_of(&field), pg_type);
            }
        }
    }

    #[test]
    fn metadata_that_does_not_fit_is_ignored() {
        let field = Field::new("c", DataType::Int64, true)
            .with_metadata([(PG_TYPE_KEY.to_owned(), "uuid".to_owned())].into());
        assert_eq!(pg_type_of(&field), PgType::INT8);
    }

    #[test]
    fn unsigned_integers_widen() {
        assert_eq!(pg_type_of_data_type(&DataType::UInt8), PgType::INT2);
        assert_eq!(pg_type_of_data_type(&DataType::UInt16), PgType::INT4);
        assert_eq!(pg_type_of_data_type(&DataType::UInt32), PgType::INT8);
        assert_eq!(
            pg_type_of_data_type(&DataType::UInt64),
            PgType::numeric(20, 0)
        );
    }

    #[test]
    fn nested_lists_are_arrays_of_the_base_type() {
        let nested = list_of(list_of(DataType::Int32));
        assert_eq!(pg_type_of_data_type(&nested), PgType::INT4.array_of());
    }

    #[test]
    fn numerics_without_room_have_no_arrow_type() {
        assert_eq!(
            PgType::numeric(76, 4).arrow_type(),
            Some(DataType::Decimal256(76, 4))
        );
        assert_eq!(PgType::numeric(77, 4).arrow_type(), None);
        assert_eq!(
            PgType::numeric(2, 4).arrow_type(),
            Some(DataType::Decimal128(4, 4))
        );
    }
}
