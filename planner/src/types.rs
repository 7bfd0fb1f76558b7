//! SQL type names to PostgreSQL types and Arrow fields.

use datafusion::arrow::datatypes::Field;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, ObjectName, TimezoneInfo,
};
use functions::pg_type::{PgType, interval_typmod};
use job::SqlState;

use crate::error::{PlanError, Result};
use crate::parse::fold;

/// Digits Arrow's widest decimal holds; PostgreSQL allows 1000.
const NUMERIC_PRECISION_MAX: u64 = 76;
/// PostgreSQL's longest varchar(n) and char(n).
const CHARACTER_LENGTH_MAX: u64 = 10_485_760;

/// The column a name and a type make.
pub(crate) fn field(name: &str, data_type: &DataType, nullable: bool) -> Result<Field> {
    let pg_type = pg_type(data_type)?;
    pg_type.arrow_field(name, nullable).ok_or_else(|| {
        PlanError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("column \"{name}\" has pseudo-type {pg_type}"),
        )
    })
}

/// The PostgreSQL type a type name means.
pub(crate) fn pg_type(data_type: &DataType) -> Result<PgType> {
    Ok(match data_type {
        DataType::Bool | DataType::Boolean => PgType::BOOL,
        DataType::Int2(None) | DataType::SmallInt(None) => PgType::INT2,
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => PgType::INT4,
        DataType::BigInt(None) | DataType::Int8(None) => PgType::INT8,
        DataType::Real | DataType::Float4 => PgType::FLOAT4,
        DataType::Float8 | DataType::DoublePrecision | DataType::Double(ExactNumberInfo::None) => {
            PgType::FLOAT8
        }
        DataType::Float(ExactNumberInfo::None) => PgType::FLOAT8,
        DataType::Float(ExactNumberInfo::Precision(bits)) => match bits {
            0 => {
                return Err(PlanError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "precision for type float must be at least 1 bit",
                ));
            }
            1..=24 => PgType::FLOAT4,
            25..=53 => PgType::FLOAT8,
            _ => {
                return Err(PlanError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "precision for type float must be less than 54 bits",
                ));
            }
        },
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text => PgType::TEXT,
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => match character_length("varchar", *length)? {
            Some(length) => PgType::varchar(length),
            None => PgType::VARCHAR,
        },
        DataType::Char(length) | DataType::Character(length) => {
            PgType::bpchar(character_length("char", *length)?.unwrap_or(1))
        }
        DataType::Bytea => PgType::BYTEA,
        DataType::Uuid => PgType::UUID,
        DataType::JSON => PgType::JSON,
        DataType::JSONB => PgType::JSONB,
        DataType::Regclass => PgType::REGCLASS,
        DataType::Date => PgType::DATE,
        DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            fractional(PgType::TIME, *precision)
        }
        DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            return Err(PlanError::unsupported("type \"time with time zone\" is"));
        }
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            fractional(PgType::TIMESTAMP, *precision)
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            fractional(PgType::TIMESTAMPTZ, *precision)
        }
        DataType::Interval { fields, precision } => {
            PgType::INTERVAL.with_typmod(interval_typmod(fields.as_ref(), *precision))
        }
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => pg_type(element)?.array_of(),
        DataType::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(undefined(&other.to_string().to_ascii_lowercase())),
    })
}

fn undefined(name: &str) -> PlanError {
    PlanError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("type \"{name}\" does not exist"),
    )
}

/// Names the parser has no word for: `oid`, `pg_catalog.int4`, `timestamptz`, `name`.
fn custom(name: &ObjectName, modifiers: &[String]) -> Result<PgType> {
    let parts = name
        .0
        .iter()
        .map(|part| part.as_ident().map(fold))
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default();
    let (schema, base) = match parts.as_slice() {
        [base] => (None, base.as_str()),
        [schema, base] => (Some(schema.as_str()), base.as_str()),
        _ => return Err(undefined(&name.to_string())),
    };
    if schema.is_some_and(|schema| schema != "pg_catalog") {
        return Err(undefined(&parts.join(".")));
    }
    if matches!(
        base,
        "timetz" | "money" | "bit" | "varbit" | "xml" | "inet" | "cidr" | "macaddr"
    ) {
        return Err(PlanError::unsupported(format!("type \"{base}\" is")));
    }
    if base.ends_with("serial") {
        return Err(PlanError::unsupported(format!("type \"{base}\" is")));
    }
    let spelling = match modifiers {
        [] => base.to_owned(),
        modifiers => format!("{base}({})", modifiers.join(",")),
    };
    let pg_type = PgType::from_metadata_name(&spelling)
        // `_int4` is how arrays are called in pg_type.
        .or_else(|| {
            let element = PgType::from_metadata_name(spelling.strip_prefix('_')?)?;
            Some(element.array_of())
        });
    match pg_type {
        Some(pg_type) if pg_type != PgType::UNKNOWN => Ok(pg_type),
        _ => Err(undefined(base)),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<PgType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(PgType::NUMERIC),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(PlanError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(PlanError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC scale {scale} must be between -1000 and 1000"),
        ));
    }
    let too_wide = || {
        PlanError::unsupported(format!("numeric({precision},{scale}) is")).with_hint(format!(
            "Numeric values hold at most {NUMERIC_PRECISION_MAX} digits."
        ))
    };
    if precision > NUMERIC_PRECISION_MAX || scale.unsigned_abs() > NUMERIC_PRECISION_MAX {
        return Err(too_wide());
    }
    let (Ok(precision), Ok(scale)) = (u16::try_from(precision), i16::try_from(scale)) else {
        return Err(too_wide());
    };
    Ok(PgType::numeric(precision, scale))
}

fn character_length(name: &str, length: Option<CharacterLength>) -> Result<Option<i32>> {
    match length {
        None => Ok(None),
        Some(CharacterLength::Max) => Err(undefined(&format!("{name}(max)"))),
        Some(CharacterLength::IntegerLength { length, .. }) => {
            if length == 0 {
                return Err(PlanError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("length for type {name} must be at least 1"),
                ));
            }
            match i32::try_from(length) {
                Ok(valid) if length <= CHARACTER_LENGTH_MAX => Ok(Some(valid)),
                _ => Err(PlanError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("length for type {name} cannot exceed {CHARACTER_LENGTH_MAX}"),
                )),
            }
        }
    }
}

/// Digits of a second: more than six are six, as in PostgreSQL, which warns.
fn fractional(pg_type: PgType, precision: Option<u64>) -> PgType {
    match precision {
        None => pg_type,
        Some(digits) => pg_type.with_typmod(i32::try_from(digits.min(6)).unwrap_or(6)),
    }
}
