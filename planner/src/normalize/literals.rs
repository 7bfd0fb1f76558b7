//! Numbers: which type a literal has, and which numbers are not literals but counts.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, UnaryOperator, Value,
    ValueWithSpan, WindowFrame, WindowFrameBound, WindowSpec,
};
use functions::syntax::is_long_series;
use job::SqlState;

use crate::error::{PlanError, Result};

/// Digits of our numerics.
const DIGITS_MAX: usize = 76;

/// An integer literal is int4 if it fits, else int8, else numeric; DataFusion reads int8, an
/// unsigned type and a float.
pub(super) fn typed(digits: &str, negative: bool) -> Option<Expr> {
    if digits.contains(['e', 'E']) {
        let plain = without_exponent(digits)?;
        if let Some(whole) = plain.strip_suffix('.') {
            return Some(whole_numeric(whole, negative));
        }
        let literal = Expr::Value(Value::Number(plain, true).into());
        return Some(if negative {
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(literal),
            }
        } else {
            literal
        });
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        // With a point it is a numeric, which DataFusion is told to make of it.
        return None;
    }
    let sign = if negative { "-" } else { "" };
    let literal = Expr::Value(Value::Number(digits.to_owned(), true).into());
    let literal = if negative {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(literal),
        }
    } else {
        literal
    };
    let (literal, data_type) = match format!("{sign}{digits}").parse::<i64>() {
        Ok(value) if i32::try_from(value).is_ok() => (literal, DataType::Int4(None)),
        Ok(_) => return Some(literal),
        Err(_) => return Some(whole_numeric(digits, negative)),
    };
    Some(Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(literal),
        data_type,
        array: false,
        format: None,
    })
}

/// A numeric without a fraction.
fn whole_numeric(digits: &str, negative: bool) -> Expr {
    let sign = if negative { "-" } else { "" };
    let precision = digits.trim_start_matches('0').len().max(1);
    let modifiers = if precision > DIGITS_MAX {
        // Refused when it is read, as a value and not as a type.
        ExactNumberInfo::None
    } else {
        ExactNumberInfo::PrecisionAndScale(precision as u64, 0)
    };
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Value(
            Value::SingleQuotedString(format!("{sign}{digits}")).into(),
        )),
        data_type: DataType::Numeric(modifiers),
        array: false,
        format: None,
    }
}

/// `1.5e3` as `1500.`: the numeric PostgreSQL makes of it, which has no negative scale. `None`
/// where it would have more digits than our numerics hold.
fn without_exponent(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // Where the point goes, counted from the first digit.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    if point < 0 {
        let zeros = point.unsigned_abs() as usize;
        return (zeros + digits.len() <= DIGITS_MAX)
            .then(|| format!("0.{}{digits}", "0".repeat(zeros)));
    }
    let point = usize::try_from(point).ok()?;
    if point > DIGITS_MAX {
        return None;
    }
    if point >= digits.len() {
        return Some(format!("{digits}{}.", "0".repeat(point - digits.len())));
    }
    let (whole, fraction) = digits.split_at(point);
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(format!("{whole}.{fraction}"))
}

pub(super) fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(..),
            ..
        }) => true,
        Expr::UnaryOp {
            op: UnaryOperator::Plus | UnaryOperator::Minus,
            expr,
        }
        | Expr::Nested(expr) => is_number(expr),
        _ => false,
    }
}

/// Keeps a number that is an ordinal or a count from being rewritten: the parser's flag for a
/// trailing `L`, which PostgreSQL does not have, marks those that are done.
pub(super) fn protect(expr: &mut Expr) {
    mark(expr, true);
}

/// The count of LIMIT or OFFSET, which an untyped literal may give as well.
pub(super) fn count(expr: &mut Expr) -> Result<()> {
    if let Expr::Value(ValueWithSpan {
        value: value @ Value::SingleQuotedString(_),
        ..
    }) = expr
        && let Value::SingleQuotedString(text) = &*value
    {
        let count: i64 = text.trim().parse().map_err(|_| {
            PlanError::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type bigint: \"{text}\""),
            )
        })?;
        *value = Value::Number(count.to_string(), true);
    }
    protect(expr);
    Ok(())
}

fn mark(expr: &mut Expr, is_done: bool) {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(_, done),
            ..
        }) => *done = is_done,
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => mark(expr, is_done),
        _ => {}
    }
}

/// Bounds of a series that DataFusion streams stay plain: it wants nothing but literals.
pub(super) fn protect_long_series(arguments: &mut [FunctionArg]) {
    if is_long_series(arguments) {
        for argument in arguments {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                protect(expr);
            }
        }
    }
}

/// DataFusion reads the offsets of a frame from the tree, and only unmarked ones: the mark is put
/// on before the children of a call are visited and taken off after.
pub(super) fn protect_frame(spec: &mut WindowSpec, done: bool) {
    let Some(WindowFrame {
        start_bound,
        end_bound,
        ..
    }) = &mut spec.window_frame
    else {
        return;
    };
    for bound in std::iter::once(start_bound).chain(end_bound) {
        match bound {
            WindowFrameBound::Preceding(Some(offset))
            | WindowFrameBound::Following(Some(offset)) => mark(offset, done),
            WindowFrameBound::CurrentRow
            | WindowFrameBound::Preceding(None)
            | WindowFrameBound::Following(None) => {}
        }
    }
}
