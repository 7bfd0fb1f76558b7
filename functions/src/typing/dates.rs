//! Comparisons of dates with timestamps, as comparisons of dates.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::operators::Operand;
use crate::cast::times::MICROS_PER_DAY;
use crate::kit::TIMESTAMP;

/// `date op timestamp literal` as `date op date literal`, so that the comparison stays on the
/// column as it is stored and can prune files: `l_shipdate <= date '1998-12-01' - interval '90
/// day'` compares dates although the right side is a timestamp.
pub(super) fn date_comparison(left: &Operand, op: Operator, right: &Operand) -> Option<Expr> {
    let is_date = |operand: &Operand| operand.data_type == DataType::Date32;
    if is_date(left)
        && let Some(micros) = timestamp_literal(&right.expr)
    {
        let (op, days) = as_date(op, micros)?;
        return Some(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(left.expr.clone()),
            op,
            Box::new(date_literal(days)),
        )));
    }
    if is_date(right)
        && let Some(micros) = timestamp_literal(&left.expr)
    {
        let (op, days) = as_date(op.swap()?, micros)?;
        return Some(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(right.expr.clone()),
            op,
            Box::new(date_literal(days)),
        )));
    }
    None
}

fn date_literal(days: i32) -> Expr {
    Expr::Literal(ScalarValue::Date32(Some(days)), None)
}

fn timestamp_literal(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), None), _) => Some(*micros),
        Expr::Cast(cast) if *cast.field.data_type() == TIMESTAMP => timestamp_literal(&cast.expr),
        _ => None,
    }
}

/// The comparison with a day that says the same as one with a timestamp.
fn as_date(op: Operator, micros: i64) -> Option<(Operator, i32)> {
    let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()?;
    let is_midnight = micros.rem_euclid(MICROS_PER_DAY) == 0;
    match op {
        Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
            is_midnight.then_some((op, days))
        }
        Operator::Lt | Operator::GtEq if is_midnight => Some((op, days)),
        // Before noon of a day is up to that day's midnight.
        Operator::Lt => Some((Operator::LtEq, days)),
        Operator::GtEq => Some((Operator::Gt, days)),
        Operator::LtEq | Operator::Gt => Some((op, days)),
        _ => None,
    }
}

/// A midnight among dates is a date.
pub(super) fn as_date_item(subject: &DataType, item: Expr) -> Expr {
    match timestamp_literal(&item) {
        Some(micros) if *subject == DataType::Date32 && micros.rem_euclid(MICROS_PER_DAY) == 0 => {
            i32::try_from(micros.div_euclid(MICROS_PER_DAY)).map_or(item, date_literal)
        }
        _ => item,
    }
}
