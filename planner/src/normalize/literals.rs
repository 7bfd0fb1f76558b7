//! Numbers: which type a literal has, and which numbers are not literals but counts.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, UnaryOperator, Value,
    ValueWithSpan, WindowFrame, WindowFrameBound, WindowSpec,
};

/// An integer literal is int4 if it fits, else int8, else numeric; DataFusion reads int8, an
/// unsigned type and a float.
pub(super) fn typed(digits: &str, negative: bool) -> Option<Expr> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        // With a point or an exponent it is a numeric, which DataFusion is told to make of it.
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
        Err(_) => {
            let precision = digits.trim_start_matches('0').len() as u64;
            (
                Expr::Value(Value::SingleQuotedString(format!("{sign}{digits}")).into()),
                DataType::Numeric(ExactNumberInfo::PrecisionAndScale(precision, 0)),
            )
        }
    };
    Some(Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(literal),
        data_type,
        array: false,
        format: None,
    })
}

/// Keeps a number that is an ordinal or a count from being rewritten: the parser's flag for a
/// trailing `L`, which PostgreSQL does not have, marks those that are done.
pub(super) fn protect(expr: &mut Expr) {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(_, done),
            ..
        }) => *done = true,
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => protect(expr),
        _ => {}
    }
}

/// DataFusion's table functions want plain literals.
pub(super) fn protect_argument(argument: &mut FunctionArg) {
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
        protect(expr);
    }
}

/// DataFusion reads the offsets of a frame from the tree.
pub(super) fn protect_frame(spec: &mut WindowSpec) {
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
            | WindowFrameBound::Following(Some(offset)) => protect(offset),
            WindowFrameBound::CurrentRow
            | WindowFrameBound::Preceding(None)
            | WindowFrameBound::Following(None) => {}
        }
    }
}
