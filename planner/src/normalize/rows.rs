//! Comparisons of rows, column by column: DataFusion has no rows.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator};

use crate::error::{PlanError, Result};

/// `(a, b) = (c, d)`, `(a, b) < (c, d)` and `(a, b) IN ((c, d), …)`, spelled out.
pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    let whole = match expr {
        Expr::BinaryOp { left, right, op } => match (row(left), row(right)) {
            (Some(left), Some(right)) => compare(left, op, right)?,
            _ => None,
        },
        Expr::InList {
            expr: left,
            list,
            negated,
        } => match row(left) {
            Some(left) => in_list(left, list, *negated)?,
            None => None,
        },
        _ => None,
    };
    if let Some(whole) = whole {
        *expr = Expr::Nested(Box::new(whole));
    }
    Ok(())
}

fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(members) => Some(members),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

fn in_list(left: &[Expr], list: &[Expr], negated: bool) -> Result<Option<Expr>> {
    let mut alternatives = Vec::with_capacity(list.len());
    for member in list {
        let Some(right) = row(member) else {
            return Ok(None);
        };
        match compare(left, &BinaryOperator::Eq, right)? {
            Some(equal) => alternatives.push(equal),
            None => return Ok(None),
        }
    }
    let any = chain(alternatives, &BinaryOperator::Or);
    Ok(any.map(|any| {
        if negated {
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr: Box::new(Expr::Nested(Box::new(any))),
            }
        } else {
            any
        }
    }))
}

fn compare(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Option<Expr>> {
    let junction = match op {
        BinaryOperator::Eq => Some(BinaryOperator::And),
        BinaryOperator::NotEq => Some(BinaryOperator::Or),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            None
        }
        _ => return Ok(None),
    };
    if left.len() != right.len() {
        return Err(PlanError::syntax(
            "unequal number of entries in row expressions",
        ));
    }
    let Some(junction) = junction else {
        return Ok(ordered(left, op, right));
    };
    let pairs = left
        .iter()
        .zip(right)
        .map(|(left, right)| binary(left.clone(), op.clone(), right.clone()))
        .collect();
    Ok(chain(pairs, &junction))
}

/// `(a, b) < (c, d)` is `a < c OR (a = c AND b < d)`.
fn ordered(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let (first_left, rest_left) = left.split_first()?;
    let (first_right, rest_right) = right.split_first()?;
    if rest_left.is_empty() {
        return Some(binary(first_left.clone(), op.clone(), first_right.clone()));
    }
    let strict = match op {
        BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::Gt,
        other => other.clone(),
    };
    let rest = ordered(rest_left, op, rest_right)?;
    let tied = binary(
        binary(first_left.clone(), BinaryOperator::Eq, first_right.clone()),
        BinaryOperator::And,
        Expr::Nested(Box::new(rest)),
    );
    Some(binary(
        binary(first_left.clone(), strict, first_right.clone()),
        BinaryOperator::Or,
        Expr::Nested(Box::new(tied)),
    ))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// Joined by an operator into a balanced tree.
fn chain(mut operands: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    match operands.len() {
        0 => None,
        1 => operands.pop(),
        length => {
            let right = operands.split_off(length / 2);
            Some(binary(
                chain(operands, op).unwrap_or_else(empty),
                op.clone(),
                chain(right, op).unwrap_or_else(empty),
            ))
        }
    }
}

fn empty() -> Expr {
    Expr::Identifier(Ident::new(""))
}
