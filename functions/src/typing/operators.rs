//! Which function an operator is, from the types of its operands.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

use super::literals::{is_null, unknown_text};
use super::{casts, condition};
use crate::arithmetic::{Arithmetic, datetimes, floats, integers, numerics};
use crate::error::{PgError, type_name};
use crate::kit::{INTERVAL, TIMESTAMPTZ, call};
use crate::numeric::{self, common_type};
use crate::{cast, math};

/// An operand and its type.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) expr: Expr,
    pub(crate) data_type: DataType,
}

impl Operand {
    fn is_unknown(&self) -> bool {
        unknown_text(&self.expr).is_some() || is_null(&self.expr)
    }

    fn is_text(&self) -> bool {
        self.data_type.is_string() && !self.is_unknown()
    }

    fn cast(self, to: &DataType) -> Result<Self> {
        if self.data_type == *to {
            return Ok(self);
        }
        let expr = if self.is_unknown() {
            casts::from_unknown(self.expr, to)?
        } else {
            casts::to_type(self.expr, &self.data_type, to)?
        };
        Ok(Self {
            expr,
            data_type: to.clone(),
        })
    }
}

fn native(left: Operand, operator: Operator, right: Operand) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(
        Box::new(left.expr),
        operator,
        Box::new(right.expr),
    ))
}

fn undefined(left: &Operand, symbol: &str, right: &Operand) -> PgError {
    PgError::undefined_operator(&operand_name(left), symbol, &operand_name(right))
}

fn operand_name(operand: &Operand) -> String {
    if operand.is_unknown() {
        "unknown".to_owned()
    } else {
        type_name(&operand.data_type)
    }
}

pub(crate) fn resolve(left: Operand, operator: Operator, right: Operand) -> Result<Expr> {
    match operator {
        Operator::Plus => arithmetic(left, Arithmetic::Add, operator, right),
        Operator::Minus => arithmetic(left, Arithmetic::Subtract, operator, right),
        Operator::Multiply => arithmetic(left, Arithmetic::Multiply, operator, right),
        Operator::Divide => arithmetic(left, Arithmetic::Divide, operator, right),
        Operator::Modulo => arithmetic(left, Arithmetic::Modulo, operator, right),
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => comparison(left, operator, right),
        Operator::StringConcat => concatenation(left, right),
        Operator::And => Ok(native(truth(left, "AND")?, operator, truth(right, "AND")?)),
        Operator::Or => Ok(native(truth(left, "OR")?, operator, truth(right, "OR")?)),
        Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight => shift(left, operator, right),
        _ => Ok(native(left, operator, right)),
    }
}

fn truth(operand: Operand, construct: &str) -> Result<Operand> {
    let field = Field::new("", operand.data_type, true);
    Ok(Operand {
        expr: condition::checked(operand.expr, &field, construct)?,
        data_type: DataType::Boolean,
    })
}

fn is_numeric(data_type: &DataType) -> bool {
    data_type.is_decimal() || *data_type == DataType::UInt64
}

fn is_datetime(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Interval(_)
            | DataType::Duration(_)
    )
}

/// The type an untyped operand takes beside one of this type.
fn beside(other: &DataType, arithmetic: Arithmetic) -> DataType {
    match (other, arithmetic) {
        // A point in time and an unknown can only be added if that is an interval.
        (DataType::Timestamp(_, _), Arithmetic::Add) => INTERVAL,
        (
            DataType::Interval(_) | DataType::Duration(_),
            Arithmetic::Multiply | Arithmetic::Divide,
        ) => DataType::Float64,
        (DataType::Decimal128(_, _), _) => DataType::Decimal128(38, 10),
        (DataType::Decimal256(_, scale), _) => DataType::Decimal256(76, *scale),
        _ => other.clone(),
    }
}

fn arithmetic(
    mut left: Operand,
    arithmetic: Arithmetic,
    operator: Operator,
    mut right: Operand,
) -> Result<Expr> {
    match (left.is_unknown(), right.is_unknown()) {
        (true, true) if !(is_null(&left.expr) && is_null(&right.expr)) => {
            return Err(PgError::new(
                job::SqlState(*b"42725"),
                format!("operator is not unique: unknown {} unknown", arithmetic.symbol()),
            )
            .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
            .into());
        }
        (true, false) => left = unknown_beside(left, &right.data_type, arithmetic)?,
        (false, true) => right = unknown_beside(right, &left.data_type, arithmetic)?,
        _ => {}
    }
    let (l, r) = (&left.data_type, &right.data_type);
    if integers::common_type(l, r).is_some() {
        return Ok(call(
            &integers::function(arithmetic),
            vec![left.expr, right.expr],
        ));
    }
    let is_number =
        |t: &DataType| t.is_null() || t.is_integer() || t.is_floating() || t.is_decimal();
    if is_number(l) && is_number(r) {
        if l.is_floating() || r.is_floating() {
            let Some(function) = floats::function(arithmetic) else {
                return Err(undefined(&left, arithmetic.symbol(), &right).into());
            };
            // float4 alone stays float4; anything else meets at float8.
            let meet = match (l, r) {
                (DataType::Float16 | DataType::Float32, DataType::Float16 | DataType::Float32) => {
                    DataType::Float32
                }
                _ => DataType::Float64,
            };
            let (left, right) = (left.cast(&meet)?, right.cast(&meet)?);
            return Ok(call(&function, vec![left.expr, right.expr]));
        }
        if numerics::needs_ours(arithmetic, l, r) {
            let function = numerics::function(arithmetic);
            return Ok(call(&function, vec![left.expr, right.expr]));
        }
        return Ok(native(left, operator, right));
    }
    if is_datetime(l) || is_datetime(r) {
        let function = datetimes::function(arithmetic);
        let types = [l.clone(), r.clone()];
        let known = function
            .as_ref()
            .and_then(|function| crate::kit::as_ours(function))
            .is_some_and(|ours| ours.resolve(&types, &[false, false]).is_some());
        return match function {
            Some(function) if known => Ok(call(&function, vec![left.expr, right.expr])),
            _ => Err(undefined(&left, arithmetic.symbol(), &right).into()),
        };
    }
    if left.data_type.is_string() || right.data_type.is_string() || *l == DataType::Boolean {
        return Err(undefined(&left, arithmetic.symbol(), &right).into());
    }
    Ok(native(left, operator, right))
}

fn unknown_beside(unknown: Operand, other: &DataType, arithmetic: Arithmetic) -> Result<Operand> {
    let to = beside(other, arithmetic);
    if to.is_string() || to.is_nested() {
        return Ok(unknown);
    }
    if to.is_decimal()
        && let Some(text) = unknown_text(&unknown.expr)
    {
        // Keeps the digits the literal was written with.
        if let Some(value) = crate::numeric::from_text(text) {
            let value = crate::numeric::literal(value);
            return Ok(Operand {
                data_type: value.data_type(),
                expr: Expr::Literal(value, None),
            });
        }
    }
    unknown.cast(&to)
}

pub(crate) fn comparison(left: Operand, operator: Operator, right: Operand) -> Result<Expr> {
    let symbol = match operator {
        Operator::NotEq => "<>".to_owned(),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => "=".to_owned(),
        other => other.to_string(),
    };
    let orders = !matches!(
        operator,
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
    );
    if orders && numeric::outgrow(&left.data_type, &right.data_type) {
        let order = call(&numerics::comparison(), vec![left.expr, right.expr]);
        return Ok(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(order),
            operator,
            Box::new(lit(0_i32)),
        )));
    }
    let (left, right) = comparable(left, &symbol, right)?;
    Ok(native(left, operator, right))
}

/// Both operands in types whose native comparison is PostgreSQL's.
pub(crate) fn comparable(
    mut left: Operand,
    symbol: &str,
    mut right: Operand,
) -> Result<(Operand, Operand)> {
    match (left.is_unknown(), right.is_unknown()) {
        (true, false) => left = unknown_like(left, &right.data_type)?,
        (false, true) => right = unknown_like(right, &left.data_type)?,
        _ => {}
    }
    let (l, r) = (&left.data_type, &right.data_type);
    if l == r && !matches!(l, DataType::Interval(_)) || l.is_null() || r.is_null() {
        return Ok((left, right));
    }
    let is_number = |t: &DataType| t.is_integer() || t.is_floating() || t.is_decimal();
    if is_number(l) && is_number(r) {
        // Inexact beside exact compares as float8, not as the exact type.
        if (l.is_floating() && is_numeric(r)) || (is_numeric(l) && r.is_floating()) {
            return Ok((
                left.cast(&DataType::Float64)?,
                right.cast(&DataType::Float64)?,
            ));
        }
        // DataFusion would have them meet in 38 digits, and refuse values that need more.
        if let Some(common @ DataType::Decimal256(_, _)) = common_type(l, r) {
            return Ok((left.cast(&common)?, right.cast(&common)?));
        }
        return Ok((left, right));
    }
    match (l, r) {
        (DataType::Interval(_), DataType::Interval(_)) => {
            let key = datetimes::interval_key();
            let data_type = DataType::Decimal128(38, 0);
            Ok((
                Operand {
                    expr: call(&key, vec![left.expr]),
                    data_type: data_type.clone(),
                },
                Operand {
                    expr: call(&key, vec![right.expr]),
                    data_type,
                },
            ))
        }
        (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None) | DataType::Date32) => {
            Ok((left, right.cast(&TIMESTAMPTZ)?))
        }
        (DataType::Timestamp(_, None) | DataType::Date32, DataType::Timestamp(_, Some(_))) => {
            Ok((left.cast(&TIMESTAMPTZ)?, right))
        }
        // A date beside a timestamp is left to the rule, which may keep it a date.
        (DataType::Timestamp(_, None), DataType::Date32 | DataType::Date64)
        | (DataType::Date32 | DataType::Date64, DataType::Timestamp(_, None)) => Ok((left, right)),
        _ => {
            let mismatch =
                (left.is_text() && !r.is_string() && !r.is_nested() && !r.is_binary_like())
                    || (right.is_text() && !l.is_string() && !l.is_nested() && !l.is_binary_like())
                    || (*l == DataType::Boolean) != (*r == DataType::Boolean)
                    || (is_datetime(l) && is_number(r))
                    || (is_number(l) && is_datetime(r));
            if mismatch {
                return Err(undefined(&left, symbol, &right).into());
            }
            Ok((left, right))
        }
    }
}

trait BinaryLike {
    fn is_binary_like(&self) -> bool;
}

impl BinaryLike for DataType {
    /// Bytes beside text compare as DataFusion does it.
    fn is_binary_like(&self) -> bool {
        matches!(self, DataType::Dictionary(_, _))
    }
}

/// An untyped literal as the type of what it is compared with.
pub(crate) fn unknown_like(unknown: Operand, other: &DataType) -> Result<Operand> {
    if other.is_string() || other.is_null() || matches!(other, DataType::Dictionary(_, _)) {
        return Ok(unknown);
    }
    if is_null(&unknown.expr) {
        return Ok(unknown);
    }
    if other.is_decimal()
        && let Some(text) = unknown_text(&unknown.expr)
        && let Some(value) = crate::numeric::from_text(text)
    {
        let value = crate::numeric::literal(value);
        return Ok(Operand {
            data_type: value.data_type(),
            expr: Expr::Literal(value, None),
        });
    }
    // Text beside a timestamp of nanoseconds is read as one of microseconds.
    let to = match other {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => return Ok(unknown),
        other => other.clone(),
    };
    unknown.cast(&to)
}

fn concatenation(left: Operand, right: Operand) -> Result<Expr> {
    let is_list = |t: &DataType| {
        matches!(
            t,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
        )
    };
    let is_bytes = |t: &DataType| {
        matches!(
            t,
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary
        )
    };
    if is_list(&left.data_type) || is_list(&right.data_type) {
        return Ok(native(left, Operator::StringConcat, right));
    }
    if is_bytes(&left.data_type) || is_bytes(&right.data_type) {
        let (left, right) = (
            left.cast(&DataType::Binary)?,
            right.cast(&DataType::Binary)?,
        );
        return Ok(call(&cast::bytea_concat(), vec![left.expr, right.expr]));
    }
    if !left.data_type.is_string()
        && !right.data_type.is_string()
        && !left.data_type.is_null()
        && !right.data_type.is_null()
    {
        return Err(undefined(&left, "||", &right).into());
    }
    let text = |operand: Operand| -> Result<Operand> {
        if operand.data_type.is_string() {
            return Ok(operand);
        }
        operand.cast(&DataType::Utf8)
    };
    Ok(native(text(left)?, Operator::StringConcat, text(right)?))
}

fn shift(left: Operand, operator: Operator, right: Operand) -> Result<Expr> {
    let function = match operator {
        Operator::BitwiseShiftLeft => math::shift_left(),
        _ => math::shift_right(),
    };
    Ok(call(&function, vec![left.expr, right.expr]))
}
