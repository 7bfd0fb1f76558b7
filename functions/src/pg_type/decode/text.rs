//! Scalars from literals.

use datafusion::common::ScalarValue;

use super::{arrow_type, decimals, list, timestamptz};
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::interval_fields::IntervalModifier;
use crate::pg_type::parse::{InputContext, array as array_syntax, bytes, datetime, interval, json};
use crate::pg_type::parse::{number, numeric};
use crate::pg_type::types::{Base, PgType};

/// PostgreSQL's names have 63 bytes.
const NAME_BYTES_MAX: usize = 63;

pub(super) fn value(pg_type: PgType, text: &str, context: InputContext) -> Result<ScalarValue> {
    Ok(match pg_type.base {
        Base::Bool => number::bool(text)?.into(),
        Base::Int2 => number::int2(text)?.into(),
        Base::Int4 => number::int4(text)?.into(),
        Base::Int8 => number::int8(text)?.into(),
        Base::Float4 => number::float4(text)?.into(),
        Base::Float8 => number::float8(text)?.into(),
        Base::Numeric => {
            let value = numeric::numeric(text)?;
            return one(decimals(pg_type, &[Some(value)])?);
        }
        Base::Text
        | Base::Varchar
        | Base::Unknown
        | Base::PgNodeTree
        | Base::Aclitem
        | Base::Void => ScalarValue::Utf8(Some(text.to_owned())),
        Base::Bpchar => ScalarValue::Utf8(Some(text.trim_end_matches(' ').to_owned())),
        Base::Name => ScalarValue::Utf8(Some(clip(text).to_owned())),
        Base::Char => ScalarValue::Utf8(Some(bytes::character(text))),
        Base::Json => {
            json::json(text)?;
            ScalarValue::Utf8(Some(text.to_owned()))
        }
        Base::Jsonb => ScalarValue::Utf8(Some(json::jsonb(text)?)),
        Base::PgLsn => ScalarValue::Utf8(Some(pg_lsn(text)?)),
        Base::Bytea => ScalarValue::Binary(Some(bytes::bytea(text)?)),
        Base::Uuid => ScalarValue::FixedSizeBinary(16, Some(bytes::uuid(text)?.to_vec())),
        Base::Date => ScalarValue::Date32(Some(datetime::date(text, context)?)),
        Base::Time => ScalarValue::Time64Microsecond(Some(datetime::time(text, context)?)),
        Base::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(datetime::timestamp(text, context)?), None)
        }
        Base::Timestamptz => timestamptz(datetime::timestamptz(text, context)?),
        Base::Interval => {
            let value = interval::interval(
                text,
                context.settings.interval_style,
                IntervalModifier::NONE,
            )?;
            ScalarValue::IntervalMonthDayNano(Some(interval::to_month_day_nano(value)?))
        }
        Base::Oid | Base::Xid => ScalarValue::UInt32(Some(number::oid(text)?)),
        Base::Regproc
        | Base::Regprocedure
        | Base::Regoper
        | Base::Regoperator
        | Base::Regclass
        | Base::Regtype
        | Base::Regnamespace
        | Base::Regrole => ScalarValue::UInt32(Some(reg(pg_type, text)?)),
        Base::Int2vector => return vector(PgType::INT2, text, context),
        Base::Oidvector => return vector(PgType::OID, text, context),
        Base::Record => return arrow_type(pg_type).and_then(|_| super::null(pg_type)),
    })
}

fn one(values: Vec<ScalarValue>) -> Result<ScalarValue> {
    values
        .into_iter()
        .next()
        .ok_or_else(|| TypeError::internal("a value got lost"))
}

/// The longest prefix of whole characters that a name can hold.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

/// Names of objects are the catalog's to look up; numbers need nobody.
fn reg(pg_type: PgType, text: &str) -> Result<u32> {
    if number::trim(text) == "-" {
        return Ok(0);
    }
    number::oid(text).map_err(|_| {
        TypeError::unsupported(format!(
            "a parameter of type {} must be a number: \"{text}\"",
            pg_type.sql_name()
        ))
    })
}

/// Two hexadecimal halves around a slash.
fn pg_lsn(text: &str) -> Result<String> {
    let valid = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match text.split_once('/') {
        Some((high, low)) if valid(high) && valid(low) => Ok(text.to_ascii_uppercase()),
        _ => Err(TypeError::invalid_syntax(Base::PgLsn.sql_name(), text)),
    }
}

/// Numbers with space between them.
fn vector(element: PgType, text: &str, context: InputContext) -> Result<ScalarValue> {
    let elements = text
        .split_ascii_whitespace()
        .map(|part| value(element, part, context))
        .collect::<Result<Vec<_>>>()?;
    list(element, &[elements.len()], elements)
}

pub(super) fn array(pg_type: PgType, text: &str, context: InputContext) -> Result<ScalarValue> {
    let element = pg_type.element().unwrap_or(pg_type);
    let literal = array_syntax::array(text)?;
    let elements = if element.base == Base::Numeric {
        let values = literal
            .elements
            .iter()
            .map(|text| text.as_deref().map(numeric::numeric).transpose())
            .collect::<Result<Vec<_>>>()?;
        decimals(element, &values)?
    } else {
        literal
            .elements
            .iter()
            .map(|text| match text {
                Some(text) => value(element, text, context),
                None => super::null(element),
            })
            .collect::<Result<Vec<_>>>()?
    };
    list(element, &literal.lengths, elements)
}
