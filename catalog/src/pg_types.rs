//! Which PostgreSQL type a column shows in the system catalogs.
//!
//! Arrow has fewer types than PostgreSQL; field metadata [`PG_TYPE_KEY`] names the others. The
//! encoding of values is `functions`' business; here are only names, OIDs and sizes.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// Field metadata key with a PostgreSQL type name, such as `oid`, `name`, `varchar(10)`, `text[]`.
pub const PG_TYPE_KEY: &str = "firesteel.pg_type";

/// The column type of numerics without precision and scale, as `functions` has it.
pub const UNCONSTRAINED_NUMERIC: DataType = DataType::Decimal256(76, 40);

/// A type as `pg_attribute` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgType {
    /// Name in `pg_type.typname`, such as `int4`; arrays with a leading underscore.
    pub name: String,
    /// Type modifier, -1 for none: `varchar(10)` has 14, `numeric(10,2)` 655366.
    pub typmod: i32,
}

impl PgType {
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            typmod: -1,
        }
    }

    fn array(self) -> Self {
        Self {
            name: format!("_{}", self.name),
            typmod: self.typmod,
        }
    }

    /// Precision and scale of a `numeric(p,s)`.
    pub(crate) fn numeric(&self) -> Option<(i64, i64)> {
        if self.name != "numeric" || self.typmod < 4 {
            return None;
        }
        let packed = self.typmod - 4;
        // The scale has eleven bits, the highest for the sign.
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        Some((i64::from((packed >> 16) & 0xffff), i64::from(scale)))
    }

    /// As `format_type(oid, typmod)` prints it: `integer`, `character varying(10)`, `text[]`.
    pub fn sql_name(&self) -> String {
        if let Some(element) = self.name.strip_prefix('_') {
            let element = PgType {
                name: element.to_owned(),
                typmod: self.typmod,
            };
            return format!("{}[]", element.sql_name());
        }
        let base = sql_spelling(&self.name);
        if self.typmod < 0 {
            return base.to_owned();
        }
        match self.name.as_str() {
            "varchar" | "bpchar" => format!("{base}({})", self.typmod - 4),
            "numeric" => match self.numeric() {
                Some((precision, scale)) => format!("numeric({precision},{scale})"),
                None => base.to_owned(),
            },
            "time" => format!("time({}) without time zone", self.typmod),
            "timestamp" => format!("timestamp({}) without time zone", self.typmod),
            "timetz" => format!("time({}) with time zone", self.typmod),
            "timestamptz" => format!("timestamp({}) with time zone", self.typmod),
            "bit" | "varbit" => format!("{base}({})", self.typmod),
            _ => base.to_owned(),
        }
    }
}

/// How SQL spells a `pg_type.typname`.
fn sql_spelling(name: &str) -> &str {
    match name {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "varchar" => "character varying",
        "bpchar" => "character",
        "char" => "\"char\"",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "varbit" => "bit varying",
        other => other,
    }
}

/// The `pg_type.typname` SQL spells so, arrays and modifiers aside.
fn type_name(spelling: &str) -> &str {
    match spelling {
        "boolean" => "bool",
        "smallint" => "int2",
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" => "float8",
        "character varying" => "varchar",
        "character" => "bpchar",
        "\"char\"" => "char",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "decimal" => "numeric",
        "bit varying" => "varbit",
        other => other,
    }
}

/// The PostgreSQL type of a column.
pub fn pg_type(field: &Field) -> PgType {
    match field.metadata().get(PG_TYPE_KEY) {
        Some(text) => parse(text),
        None => from_arrow(field.data_type()),
    }
}

/// The type's SQL name, as error messages and `\d` show it.
pub fn pg_type_name(field: &Field) -> String {
    pg_type(field).sql_name()
}

/// Reads a metadata value: `varchar(10)`, `numeric(10,2)`, `text[]`, `_text`.
pub fn parse(text: &str) -> PgType {
    let text = text.trim();
    if let Some(element) = text.strip_suffix("[]") {
        let element = parse(element);
        // All dimensions are one array type.
        return if element.name.starts_with('_') {
            element
        } else {
            element.array()
        };
    }
    let (base, modifiers) = match text.split_once('(') {
        Some((base, rest)) => {
            let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
            (format!("{}{after}", base.trim_end()), inside)
        }
        None => (text.to_owned(), ""),
    };
    let name = type_name(base.trim()).to_owned();
    let numbers: Vec<i32> = modifiers
        .split(',')
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    let typmod = match (name.as_str(), numbers.as_slice()) {
        ("varchar" | "bpchar", [length, ..]) => length.saturating_add(4),
        ("numeric", [precision]) => numeric_typmod(*precision, 0),
        ("numeric", [precision, scale, ..]) => numeric_typmod(*precision, *scale),
        (_, [number, ..]) => *number,
        (_, []) => -1,
    };
    PgType { name, typmod }
}

fn numeric_typmod(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7ff)) + 4
}

fn from_arrow(data_type: &DataType) -> PgType {
    match data_type {
        DataType::Boolean => PgType::plain("bool"),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgType::plain("int2"),
        DataType::Int32 | DataType::UInt16 => PgType::plain("int4"),
        DataType::Int64 | DataType::UInt32 => PgType::plain("int8"),
        DataType::UInt64 => PgType {
            name: "numeric".to_owned(),
            typmod: numeric_typmod(20, 0),
        },
        DataType::Float16 | DataType::Float32 => PgType::plain("float4"),
        DataType::Float64 => PgType::plain("float8"),
        unconstrained if *unconstrained == UNCONSTRAINED_NUMERIC => PgType::plain("numeric"),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => PgType {
            name: "numeric".to_owned(),
            typmod: numeric_typmod(i32::from(*precision), i32::from(*scale)),
        },
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            PgType::plain("text")
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => PgType::plain("bytea"),
        DataType::Date32 | DataType::Date64 => PgType::plain("date"),
        DataType::Time32(_) | DataType::Time64(_) => PgType::plain("time"),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            zone,
        ) => PgType::plain(if zone.is_some() {
            "timestamptz"
        } else {
            "timestamp"
        }),
        DataType::Duration(_)
        | DataType::Interval(
            IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
        ) => PgType::plain("interval"),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            let element = pg_type(item);
            if element.name.starts_with('_') {
                element
            } else {
                element.array()
            }
        }
        DataType::Struct(_) | DataType::Union(_, _) => PgType::plain("record"),
        // The list of its entries, as `functions` sends it.
        DataType::Map(_, _) => PgType::plain("record").array(),
        DataType::Dictionary(_, value) => from_arrow(value),
        DataType::RunEndEncoded(_, value) => pg_type(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for sql in [
            "integer",
            "character varying(10)",
            "numeric(10,2)",
            "numeric(5,-2)",
            "text[]",
            "character varying(3)[]",
            "timestamp(3) without time zone",
            "\"char\"",
            "timestamp with time zone",
        ] {
            assert_eq!(parse(sql).sql_name(), sql);
        }
        assert_eq!(parse("varchar(10)").typmod, 14);
        assert_eq!(parse("numeric(10,2)").typmod, 655_366);
        assert_eq!(parse("int4[][]").name, "_int4");
    }

    #[test]
    fn arrow_types_have_postgres_names() {
        let name = |data_type| pg_type_name(&Field::new("c", data_type, true));
        assert_eq!(name(DataType::Int16), "smallint");
        assert_eq!(name(DataType::Utf8View), "text");
        assert_eq!(name(DataType::Decimal128(12, 3)), "numeric(12,3)");
        assert_eq!(name(DataType::new_list(DataType::Int64, true)), "bigint[]");
    }
}
