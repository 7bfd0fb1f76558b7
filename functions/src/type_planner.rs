//! SQL type names to Arrow types, by way of [`PgType`].

use datafusion::arrow::datatypes::FieldRef;
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, ObjectName,
    TimezoneInfo,
};
use job::SqlState;

use crate::error::PgError;
use crate::pg_type::{PgType, interval_typmod};

/// The longest `varchar(n)` PostgreSQL accepts.
const CHARACTER_LENGTH_MAX: u64 = 10_485_760;
/// The largest precision of a numeric that PostgreSQL accepts.
const NUMERIC_PRECISION_MAX: u64 = 1000;

/// The field of a cast that the statement has; DataFusion's own casts have nameless fields.
pub const WRITTEN_CAST: &str = "cast";

/// DataFusion's hook for type names in SQL.
#[derive(Debug)]
pub struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let Some(pg_type) = pg_type(sql_type)? else {
            return Ok(None);
        };
        match pg_type.arrow_field(WRITTEN_CAST, true) {
            Some(field) => Ok(Some(field.into())),
            None => Err(PgError::not_supported(format!(
                "type {pg_type} is not supported: numerics hold at most 76 digits"
            ))
            .into()),
        }
    }
}

/// The PostgreSQL type a SQL type name means; `None` for names that are not PostgreSQL's.
pub fn pg_type(sql_type: &SqlType) -> Result<Option<PgType>, PgError> {
    Ok(Some(match sql_type {
        SqlType::Bool | SqlType::Boolean => PgType::BOOL,
        SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::TinyInt(_) => PgType::INT2,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => PgType::INT4,
        SqlType::BigInt(_) | SqlType::Int8(_) => PgType::INT8,
        SqlType::Real | SqlType::Float4 => PgType::FLOAT4,
        SqlType::Float8 | SqlType::DoublePrecision | SqlType::Double(ExactNumberInfo::None) => {
            PgType::FLOAT8
        }
        SqlType::Float(info) => float(info)?,
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => numeric(info)?,
        SqlType::Text | SqlType::String(None) => PgType::TEXT,
        SqlType::Varchar(length)
        | SqlType::CharacterVarying(length)
        | SqlType::CharVarying(length) => match characters(length.as_ref(), "varchar")? {
            Some(length) => PgType::varchar(length),
            None => PgType::VARCHAR,
        },
        SqlType::Character(length) | SqlType::Char(length) => {
            PgType::bpchar(characters(length.as_ref(), "char")?.unwrap_or(1))
        }
        SqlType::Bytea => PgType::BYTEA,
        SqlType::Uuid => PgType::UUID,
        SqlType::JSON => PgType::JSON,
        SqlType::JSONB => PgType::JSONB,
        SqlType::Regclass => PgType::REGCLASS,
        SqlType::Date => PgType::DATE,
        SqlType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            with_fraction(PgType::TIME, *precision)
        }
        SqlType::Time(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            return Err(PgError::not_supported(
                "type time with time zone is not supported",
            ));
        }
        SqlType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            with_fraction(PgType::TIMESTAMP, *precision)
        }
        SqlType::Timestamp(precision, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            with_fraction(PgType::TIMESTAMPTZ, *precision)
        }
        SqlType::Interval { fields, precision } => {
            PgType::INTERVAL.with_typmod(interval_typmod(fields.as_ref(), *precision))
        }
        SqlType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => match pg_type(element)? {
            Some(element) => element.array_of(),
            None => return Ok(None),
        },
        SqlType::Custom(name, modifiers) => return custom(name, modifiers),
        _ => return Ok(None),
    }))
}

fn custom(name: &ObjectName, modifiers: &[String]) -> Result<Option<PgType>, PgError> {
    let Some(simple) = crate::syntax::simple_name(name) else {
        return Err(undefined(&name.to_string()));
    };
    let spelled = if modifiers.is_empty() {
        simple.clone()
    } else {
        format!("{simple}({})", modifiers.join(","))
    };
    match PgType::from_metadata_name(&spelled) {
        Some(pg_type) => Ok(Some(pg_type)),
        None if simple == "serial" || simple == "serial4" => Ok(Some(PgType::INT4)),
        None if simple == "bigserial" || simple == "serial8" => Ok(Some(PgType::INT8)),
        None if simple == "smallserial" || simple == "serial2" => Ok(Some(PgType::INT2)),
        None => Err(undefined(&simple)),
    }
}

fn undefined(name: &str) -> PgError {
    PgError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("type \"{name}\" does not exist"),
    )
}

fn float(info: &ExactNumberInfo) -> Result<PgType, PgError> {
    match info {
        ExactNumberInfo::None => Ok(PgType::FLOAT8),
        ExactNumberInfo::Precision(0) => Err(PgError::invalid_parameter(
            "precision for type float must be at least 1 bit",
        )),
        ExactNumberInfo::Precision(1..=24) => Ok(PgType::FLOAT4),
        ExactNumberInfo::Precision(25..=53) => Ok(PgType::FLOAT8),
        ExactNumberInfo::Precision(_) | ExactNumberInfo::PrecisionAndScale(_, _) => Err(
            PgError::invalid_parameter("precision for type float must be less than 54 bits"),
        ),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<PgType, PgError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(PgType::NUMERIC),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if precision == 0 || precision > NUMERIC_PRECISION_MAX {
        return Err(PgError::invalid_parameter(format!(
            "NUMERIC precision {precision} must be between 1 and {NUMERIC_PRECISION_MAX}"
        )));
    }
    match (u16::try_from(precision), i16::try_from(scale)) {
        (Ok(precision), Ok(scale)) if (-1000..=1000).contains(&scale) => {
            Ok(PgType::numeric(precision, scale))
        }
        _ => Err(PgError::invalid_parameter(format!(
            "NUMERIC scale {scale} must be between -1000 and 1000"
        ))),
    }
}

fn characters(length: Option<&CharacterLength>, type_name: &str) -> Result<Option<i32>, PgError> {
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length: 0, .. }) => Err(PgError::invalid_parameter(
            format!("length for type {type_name} must be at least 1"),
        )),
        Some(CharacterLength::IntegerLength { length, .. }) if *length <= CHARACTER_LENGTH_MAX => {
            Ok(i32::try_from(*length).ok())
        }
        Some(CharacterLength::IntegerLength { .. } | CharacterLength::Max) => {
            Err(PgError::invalid_parameter(format!(
                "length for type {type_name} cannot exceed {CHARACTER_LENGTH_MAX}"
            )))
        }
    }
}

fn with_fraction(pg_type: PgType, digits: Option<u64>) -> PgType {
    // More than six digits are six, as PostgreSQL warns and does.
    match digits {
        Some(digits) => pg_type.with_typmod(i32::try_from(digits.min(6)).unwrap_or(6)),
        None => pg_type,
    }
}
