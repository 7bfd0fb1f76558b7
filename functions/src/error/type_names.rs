//! PostgreSQL's names for Arrow types, for error messages only.
//!
//! Two ways in: from a [`DataType`], and from the text that DataFusion printed into a message
//! (`Decimal128(10, 2)`), because a foreign plan error carries nothing better. What the wire
//! and the catalog call a type is `pg_type`'s business, not ours.

use datafusion::arrow::datatypes::{DataType, IntervalUnit};

/// The name PostgreSQL's messages use for this type.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => "numeric".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Duration(_)
        | DataType::Interval(
            IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
        ) => "interval".to_owned(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("{}[]", type_name(item.data_type())),
        DataType::Struct(_) => "record".to_owned(),
        DataType::Dictionary(_, value) => type_name(value),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
        other @ (DataType::Map(_, _) | DataType::Union(_, _)) => other.to_string(),
    }
}

/// The same for a type as DataFusion prints it; unknown text is handed back as it came.
pub(super) fn printed_type_name(printed: &str) -> String {
    let printed = printed.trim();
    if let Ok(data_type) = printed.parse::<DataType>() {
        return type_name(&data_type);
    }
    let head = printed.split(['(', ' ']).next().unwrap_or(printed);
    match head {
        "Timestamp" if printed.contains(", ") => "timestamp with time zone".to_owned(),
        "Timestamp" => "timestamp without time zone".to_owned(),
        "Time32" | "Time64" => "time without time zone".to_owned(),
        "Interval" | "Duration" => "interval".to_owned(),
        "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "numeric".to_owned(),
        "List" | "LargeList" | "FixedSizeList" => "anyarray".to_owned(),
        "Struct" => "record".to_owned(),
        "Null" => "unknown".to_owned(),
        _ => printed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_types_read_as_postgres_names() {
        assert_eq!(printed_type_name("Utf8View"), "text");
        assert_eq!(printed_type_name("Int64"), "bigint");
        assert_eq!(printed_type_name("Decimal128(10, 2)"), "numeric");
        assert_eq!(printed_type_name("Date32"), "date");
        assert_eq!(
            printed_type_name("Timestamp(µs)"),
            "timestamp without time zone"
        );
    }
}
