//! Which function a cast is.
//!
//! Arrow's casts stay where they agree with PostgreSQL: widening, integers to narrower ones
//! (checked; the report names the type), dates to timestamps. Everything that rounds, parses,
//! prints, pads or depends on the session is one of the functions in [`crate::cast`], which bear
//! the names PostgreSQL gives them.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, lit};
use datafusion::scalar::ScalarValue;
use job::SqlState;

use super::literals;
use crate::arrays::cast as array_cast;
use crate::cast;
use crate::error::{PgError, type_name};
use crate::kit::call;
use crate::numeric::Digits;
use crate::pg_type::arrow_types::{NUMERIC_DEFAULT, list_of};
use crate::pg_type::{Base, PG_TYPE_KEY, PgType, pg_type_of};
use crate::type_planner::WRITTEN_CAST;

/// Casts `expr` of type `from` to the type of `target`, as `CAST(expr AS target)` would.
pub(crate) fn explicit(expr: Expr, from: &DataType, target: &Field) -> Result<Expr> {
    let to = pg_type_of(target);
    if to == PgType::NUMERIC && target.name() == WRITTEN_CAST {
        return to_any_numeric(expr, from);
    }
    // `ARRAY[1.5, 2.25]::numeric[]`: numbers keep the digits they have here too.
    if to == PgType::NUMERIC.array_of()
        && target.name() == WRITTEN_CAST
        && matches!(from, DataType::List(item) if item.data_type().is_decimal())
    {
        return Ok(expr);
    }
    let expr = convert(expr, from, to, target.data_type())?;
    if target.metadata().contains_key(PG_TYPE_KEY) && to.base != Base::Numeric {
        // The Arrow type alone does not tell a varchar(3) or a uuid from others.
        return Ok(Expr::Cast(Cast::new_from_field(
            Box::new(expr),
            target.clone().into(),
        )));
    }
    Ok(expr)
}

/// As [`explicit`], where it is known which PostgreSQL type `expr` has: a regclass is cast to text
/// by its name although it is carried as a number.
pub(crate) fn from_field(expr: Expr, from: &Field, target: &Field) -> Result<Expr> {
    let to = pg_type_of(target);
    let is_text = matches!(
        to.base,
        Base::Text | Base::Varchar | Base::Bpchar | Base::Name
    );
    let pg_type = pg_type_of(from);
    if is_text && pg_type.base.is_reg() && !pg_type.is_array && from.data_type().is_integer() {
        return explicit(call(&cast::text(), vec![expr]), &DataType::Utf8, target);
    }
    let done = explicit(expr, from.data_type(), target)?;
    let keeps_type = from.metadata().contains_key(PG_TYPE_KEY)
        && !target.metadata().contains_key(PG_TYPE_KEY)
        && from.data_type() == target.data_type()
        // Texts are the rule's business.
        && !from.data_type().is_string();
    if !keeps_type {
        return Ok(done);
    }
    // A name as text, an oid as a number: nothing is computed, but it is no name or oid any more.
    let plain = Field::new(target.name(), target.data_type().clone(), true)
        .with_metadata([(PG_TYPE_KEY.to_owned(), to.metadata_name())].into());
    Ok(Expr::Cast(Cast::new_from_field(
        Box::new(done),
        plain.into(),
    )))
}

/// What a column of a reg type prints: the names of the objects. `None` for other columns.
pub fn printed_object(expr: Expr, field: &Field) -> Option<Expr> {
    let pg_type = pg_type_of(field);
    (pg_type.base.is_reg() && !pg_type.is_array && field.data_type().is_integer())
        .then(|| call(&cast::text(), vec![expr]))
}

/// A number as one of another type, in a plan that is analysed already: rounded to its scale and
/// refused if it does not fit, and never rounded to a numeric without precision and scale.
pub fn number_as(expr: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
    to_type(expr, from, to)
}

/// Casts to an Arrow type that stands for the PostgreSQL type of the same name.
pub(crate) fn to_type(expr: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
    explicit(expr, from, &Field::new("", to.clone(), true))
}

/// An untyped literal or NULL as a value of type `to`.
pub(crate) fn from_unknown(expr: Expr, to: &DataType) -> Result<Expr> {
    to_type(expr, &DataType::Utf8, to)
}

fn native(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to.clone()))
}

fn convert(expr: Expr, from: &DataType, to: PgType, arrow: &DataType) -> Result<Expr> {
    if literals::is_null(&expr) || from.is_null() {
        return Ok(Expr::Literal(ScalarValue::try_new_null(arrow)?, None));
    }
    if let DataType::Dictionary(_, value) = from {
        return convert(native(expr, value), value, to, arrow);
    }
    let from_text = from.is_string();
    if to.is_array {
        return Ok(match from {
            _ if from == arrow && to.typmod < 0 => expr,
            DataType::List(_) => array_cast::cast(expr, from, to, arrow)?,
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let list = list_of(item.data_type().clone());
                return convert(native(expr, &list), &list, to, arrow);
            }
            _ if from_text => input(expr, to),
            _ => return Err(cannot(from, to)),
        });
    }
    match to.base {
        Base::Bool => match from {
            DataType::Boolean => Ok(expr),
            DataType::Int32 => Ok(native(expr, arrow)),
            _ if from_text => Ok(call(&cast::bool(), vec![expr])),
            _ => Err(cannot(from, to)),
        },
        Base::Int2 | Base::Int4 | Base::Int8 => to_integer(expr, from, to, arrow),
        Base::Float4 | Base::Float8 => to_float(expr, from, to, arrow),
        Base::Numeric => to_numeric(expr, from, arrow),
        Base::Text | Base::Varchar | Base::Bpchar | Base::Name | Base::Char | Base::Unknown => {
            to_text(expr, from, to, arrow)
        }
        Base::Bytea => match from {
            DataType::Binary => Ok(expr),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Ok(native(expr, arrow))
            }
            _ if from_text => Ok(call(&cast::bytea(), vec![expr])),
            _ => Err(cannot(from, to)),
        },
        Base::Date => match from {
            DataType::Date32 => Ok(expr),
            DataType::Date64 | DataType::Timestamp(_, None) => Ok(native(expr, arrow)),
            DataType::Timestamp(_, Some(_)) => Ok(call(&cast::date(), vec![expr])),
            _ if from_text => Ok(call(&cast::date(), vec![expr])),
            _ => Err(cannot(from, to)),
        },
        Base::Time => match from {
            DataType::Time64(TimeUnit::Microsecond) if to.typmod < 0 => Ok(expr),
            DataType::Time32(_) | DataType::Time64(_) if to.typmod < 0 => Ok(native(expr, arrow)),
            DataType::Timestamp(_, _)
            | DataType::Interval(_)
            | DataType::Time32(_)
            | DataType::Time64(_) => Ok(call(&cast::time(), with_typmod(expr, to))),
            _ if from_text => Ok(call(&cast::time(), with_typmod(expr, to))),
            _ => Err(cannot(from, to)),
        },
        Base::Timestamp => match from {
            DataType::Timestamp(TimeUnit::Microsecond, None) if to.typmod < 0 => Ok(expr),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 if to.typmod < 0 => {
                Ok(native(expr, arrow))
            }
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
                Ok(call(&cast::timestamp(), with_typmod(expr, to)))
            }
            _ if from_text => Ok(call(&cast::timestamp(), with_typmod(expr, to))),
            _ => Err(cannot(from, to)),
        },
        Base::Timestamptz => match from {
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) if to.typmod < 0 => {
                Ok(if from == arrow {
                    expr
                } else {
                    native(expr, arrow)
                })
            }
            DataType::Timestamp(_, Some(_)) if to.typmod < 0 => Ok(native(expr, arrow)),
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
                Ok(call(&cast::timestamptz(), with_typmod(expr, to)))
            }
            _ if from_text => Ok(call(&cast::timestamptz(), with_typmod(expr, to))),
            _ => Err(cannot(from, to)),
        },
        Base::Interval => match from {
            _ if from_text => Ok(call(&cast::interval(), with_typmod(expr, to))),
            _ if to.typmod >= 0 => {
                let whole = convert(expr, from, to.without_typmod(), arrow)?;
                Ok(call(&cast::interval(), with_typmod(whole, to)))
            }
            _ if from == arrow => Ok(expr),
            DataType::Interval(_) | DataType::Duration(_) => Ok(native(expr, arrow)),
            DataType::Time32(_) | DataType::Time64(_) => Ok(call(&cast::interval(), vec![expr])),
            _ => Err(cannot(from, to)),
        },
        Base::Oid | Base::Xid => match from {
            _ if from == arrow => Ok(expr),
            _ if from.is_integer() => Ok(native(expr, arrow)),
            _ if from_text => Ok(input(expr, to)),
            _ => Err(cannot(from, to)),
        },
        Base::Regproc
        | Base::Regprocedure
        | Base::Regoper
        | Base::Regoperator
        | Base::Regclass
        | Base::Regtype
        | Base::Regnamespace
        | Base::Regrole => match from {
            _ if from == arrow => Ok(expr),
            _ if from.is_integer() => Ok(native(expr, arrow)),
            _ if from_text => Ok(call(&cast::reg(), vec![expr, lit(to.base.name())])),
            _ => Err(cannot(from, to)),
        },
        Base::Uuid
        | Base::Json
        | Base::Jsonb
        | Base::PgLsn
        | Base::PgNodeTree
        | Base::Aclitem
        | Base::Int2vector
        | Base::Oidvector
        | Base::Record
        | Base::Void => match from {
            _ if from_text => Ok(input(expr, to)),
            _ if from == arrow => Ok(expr),
            _ => Err(cannot(from, to)),
        },
    }
}

/// The general input function: text and the type's name.
fn input(expr: Expr, to: PgType) -> Expr {
    call(&cast::input(), vec![expr, lit(to.metadata_name())])
}

fn with_typmod(expr: Expr, to: PgType) -> Vec<Expr> {
    if to.typmod < 0 {
        vec![expr]
    } else {
        vec![expr, lit(to.typmod)]
    }
}

fn to_integer(expr: Expr, from: &DataType, to: PgType, arrow: &DataType) -> Result<Expr> {
    let function = match to.base {
        Base::Int2 => cast::int2(),
        Base::Int4 => cast::int4(),
        _ => cast::int8(),
    };
    match from {
        _ if from == arrow => Ok(expr),
        DataType::Boolean if to.base == Base::Int4 => Ok(native(expr, arrow)),
        _ if from.is_integer() => Ok(native(expr, arrow)),
        _ if from.is_floating() || from.is_decimal() || from.is_string() => {
            Ok(call(&function, vec![expr]))
        }
        _ => Err(cannot(from, to)),
    }
}

/// Decimals of so few digits are exact in a double, and so is the power of ten: one rounding.
const EXACT_DIGITS_MAX: u8 = 15;

fn to_float(expr: Expr, from: &DataType, to: PgType, arrow: &DataType) -> Result<Expr> {
    let function = match to.base {
        Base::Float4 => cast::float4(),
        _ => cast::float8(),
    };
    match from {
        _ if from == arrow => Ok(expr),
        _ if from.is_integer() => Ok(native(expr, arrow)),
        DataType::Float16 | DataType::Float32 => Ok(native(expr, arrow)),
        DataType::Decimal128(precision, scale)
            if *precision <= EXACT_DIGITS_MAX
                && *scale >= 0
                && to.base == Base::Float8
                // A constant is folded: what it is cast to next may ask for its digits.
                && !matches!(expr, Expr::Literal(_, _)) =>
        {
            Ok(native(expr, arrow))
        }
        _ if from.is_floating() || from.is_decimal() || from.is_string() => {
            Ok(call(&function, vec![expr]))
        }
        _ => Err(cannot(from, to)),
    }
}

/// To a column of numerics, with its digits.
fn to_numeric(expr: Expr, from: &DataType, arrow: &DataType) -> Result<Expr> {
    if !(from.is_numeric() || from.is_string()) {
        return Err(cannot(from, PgType::NUMERIC));
    }
    if from == arrow {
        return Ok(expr);
    }
    // Arrow's cast where nothing is rounded and nothing can outgrow the target.
    if let (true, Some(own), Some(target)) = (
        from.is_decimal() || from.is_integer(),
        Digits::of(from),
        Digits::of(arrow),
    ) && target.union(own) == target
    {
        return Ok(native(expr, arrow));
    }
    let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = arrow
    else {
        return Err(cannot(from, PgType::NUMERIC));
    };
    Ok(call(
        &cast::numeric(),
        vec![expr, lit(i32::from(*precision)), lit(i32::from(*scale))],
    ))
}

/// `x::numeric`, without precision and scale: a number keeps those it has.
fn to_any_numeric(expr: Expr, from: &DataType) -> Result<Expr> {
    match from {
        _ if literals::is_null(&expr) || from.is_null() => Ok(Expr::Literal(
            ScalarValue::try_new_null(&NUMERIC_DEFAULT)?,
            None,
        )),
        DataType::Dictionary(_, value) => to_any_numeric(native(expr, value), value),
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => Ok(expr),
        _ if from.is_integer() => {
            let decimal = crate::kit::Ty::Numeric.given(from);
            Ok(native(expr, &decimal))
        }
        _ if !(from.is_numeric() || from.is_string()) => Err(cannot(from, PgType::NUMERIC)),
        // The digits of a constant.
        _ if matches!(expr, Expr::Literal(_, _)) => Ok(call(&cast::numeric(), vec![expr])),
        // Said, because an optimizer that finds a constant must not find another type with it.
        _ => to_numeric(expr, from, &NUMERIC_DEFAULT),
    }
}

fn to_text(expr: Expr, from: &DataType, to: PgType, arrow: &DataType) -> Result<Expr> {
    let text = if from.is_string() {
        match expr {
            // An untyped literal becomes text by being looked at as text.
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                literals::typed(ScalarValue::Utf8(Some(text)))
            }
            other if from == arrow || to.base != Base::Text => other,
            other => native(other, arrow),
        }
    } else if from.is_integer() {
        native(expr, &DataType::Utf8)
    } else {
        call(&cast::text(), vec![expr])
    };
    Ok(match (to.base, to.character_length()) {
        (Base::Varchar, Some(length)) => call(&cast::varchar(), vec![text, lit(length)]),
        (Base::Bpchar, Some(length)) => call(&cast::bpchar(), vec![text, lit(length)]),
        (Base::Name, _) => call(&cast::name(), vec![text]),
        (Base::Char, _) => call(&cast::char(), vec![text]),
        _ => text,
    })
}

fn cannot(from: &DataType, to: PgType) -> datafusion::error::DataFusionError {
    PgError::new(
        SqlState(*b"42846"),
        format!("cannot cast type {} to {}", type_name(from), to.sql_name()),
    )
    .into()
}

/// A type by its SQL spelling, as casts to regtype take it.
pub(crate) fn type_by_sql_name(text: &str) -> Option<PgType> {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    let sql_type = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .ok()?
        .parse_data_type()
        .ok()?;
    crate::type_planner::pg_type(&sql_type).ok().flatten()
}
