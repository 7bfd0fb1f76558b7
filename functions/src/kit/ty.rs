//! The types overloads are declared in, and what converts to them without being asked.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

/// Text as our functions take and give it.
pub(crate) const TEXT: DataType = DataType::Utf8;
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Instants are microseconds in UTC; the session's zone only matters for text and fields.
pub(crate) static TIMESTAMPTZ: std::sync::LazyLock<DataType> =
    std::sync::LazyLock::new(|| DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));

/// An argument or result type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Any decimal; it is taken as it comes, whatever its precision and scale.
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    /// Any list.
    Array,
    TextArray,
    /// Anything at all, as it comes.
    Any,
}

/// The kinds of type between which implicit casts exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Int(u32),
    Numeric,
    Float(u32),
}

fn rank(data_type: &DataType) -> Option<Rank> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Some(Rank::Int(2)),
        DataType::Int32 | DataType::UInt16 => Some(Rank::Int(4)),
        DataType::Int64 | DataType::UInt32 => Some(Rank::Int(8)),
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => Some(Rank::Numeric),
        DataType::Float16 | DataType::Float32 => Some(Rank::Float(4)),
        DataType::Float64 => Some(Rank::Float(8)),
        _ => None,
    }
}

impl Ty {
    /// What an argument of type `from` costs here; `None` when it does not fit.
    ///
    /// Zero is an exact match, up to 9 an implicit cast (PostgreSQL's preferred types cost
    /// least), and from 20 a narrowing that PostgreSQL would ask to have written out: it is
    /// taken, checked, because integer literals are wider than they look before analysis.
    pub(crate) fn cost_from(self, from: &DataType, unknown: bool) -> Option<u32> {
        if from.is_null() || unknown {
            // Text is preferred, then the preferred type of each kind.
            return Some(match self {
                Ty::Text => 0,
                Ty::Any => 1,
                Ty::Float8 | Ty::Timestamptz | Ty::Interval | Ty::Bool => 3,
                _ => 4,
            });
        }
        if let DataType::Dictionary(_, value) = from {
            return self.cost_from(value, unknown).map(|cost| cost + 1);
        }
        let is_text = matches!(
            from,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        match self {
            Ty::Any => Some(9),
            Ty::Bool => (*from == DataType::Boolean).then_some(0),
            Ty::Text => is_text.then_some(0),
            Ty::Bytea => matches!(
                from,
                DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
                    | DataType::FixedSizeBinary(_)
            )
            .then_some(0),
            Ty::Int2 => self.number_cost(from, Rank::Int(2)),
            Ty::Int4 => self.number_cost(from, Rank::Int(4)),
            Ty::Int8 => self.number_cost(from, Rank::Int(8)),
            Ty::Numeric => self.number_cost(from, Rank::Numeric),
            Ty::Float4 => self.number_cost(from, Rank::Float(4)),
            Ty::Float8 => self.number_cost(from, Rank::Float(8)),
            Ty::Date => matches!(from, DataType::Date32 | DataType::Date64).then_some(0),
            Ty::Time => matches!(from, DataType::Time32(_) | DataType::Time64(_)).then_some(0),
            Ty::Timestamp => match from {
                DataType::Timestamp(_, None) => Some(0),
                DataType::Date32 | DataType::Date64 => Some(3),
                _ => None,
            },
            // Preferred among the date types, as in PostgreSQL.
            Ty::Timestamptz => match from {
                DataType::Timestamp(_, Some(_)) => Some(0),
                DataType::Timestamp(_, None) => Some(2),
                DataType::Date32 | DataType::Date64 => Some(2),
                _ => None,
            },
            Ty::Interval => match from {
                DataType::Interval(_) | DataType::Duration(_) => Some(0),
                DataType::Time32(_) | DataType::Time64(_) => Some(3),
                _ => None,
            },
            Ty::Array => matches!(
                from,
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
            )
            .then_some(0),
            Ty::TextArray => match from {
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::FixedSizeList(item, _) => matches!(
                    item.data_type(),
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
                )
                .then_some(0),
                _ => None,
            },
        }
    }

    fn number_cost(self, from: &DataType, to: Rank) -> Option<u32> {
        match (rank(from)?, to) {
            (from, to) if from == to => Some(0),
            (Rank::Int(from), Rank::Int(to)) if from < to => Some(1),
            (Rank::Int(_), Rank::Int(_)) => Some(20),
            (Rank::Int(_), Rank::Numeric) => Some(4),
            // float8 is the preferred number.
            (Rank::Int(_), Rank::Float(8)) => Some(3),
            (Rank::Int(_), Rank::Float(_)) => Some(5),
            (Rank::Numeric, Rank::Float(8)) => Some(3),
            (Rank::Numeric, Rank::Float(_)) => Some(5),
            (Rank::Float(4), Rank::Float(8)) => Some(1),
            _ => None,
        }
    }

    /// The Arrow type an argument of type `from` is given as.
    pub(crate) fn given(self, from: &DataType) -> DataType {
        match self {
            Ty::Bool => DataType::Boolean,
            Ty::Int2 => DataType::Int16,
            Ty::Int4 => DataType::Int32,
            Ty::Int8 => DataType::Int64,
            Ty::Float4 => DataType::Float32,
            Ty::Float8 => DataType::Float64,
            Ty::Numeric => match from {
                DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => from.clone(),
                DataType::Int8 | DataType::Int16 | DataType::UInt8 => DataType::Decimal128(5, 0),
                DataType::Int32 | DataType::UInt16 => DataType::Decimal128(10, 0),
                DataType::Int64 | DataType::UInt32 => DataType::Decimal128(19, 0),
                DataType::UInt64 => DataType::Decimal128(20, 0),
                DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => {
                    DataType::Decimal128(*p, *s)
                }
                _ => DataType::Decimal128(38, 10),
            },
            // Any layout of text is read as it is; only dictionaries are unpacked.
            Ty::Text => match from {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => from.clone(),
                _ => TEXT,
            },
            Ty::Bytea => DataType::Binary,
            Ty::Date => DataType::Date32,
            Ty::Time => DataType::Time64(TimeUnit::Microsecond),
            Ty::Timestamp => TIMESTAMP,
            Ty::Timestamptz => TIMESTAMPTZ.clone(),
            Ty::Interval => INTERVAL,
            Ty::Array => match from {
                DataType::List(_) => from.clone(),
                DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                    DataType::List(item.clone())
                }
                // NULL and untyped literals.
                _ => DataType::new_list(TEXT, true),
            },
            Ty::TextArray => DataType::new_list(TEXT, true),
            Ty::Any => from.clone(),
        }
    }
}
