//! Comparisons of rows, column by column: DataFusion has no rows.
//!
//! A comparison with the rows of a subquery becomes a call that [`crate::bind::row_comparisons`]
//! spells out when both sides are bound: the names on the left mean the outer query's columns, and
//! an aggregate there is the outer query's too.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, UnaryOperator, Value,
};

use super::build::{empty_query, empty_select};
use super::names;
use crate::bind::row_comparisons::{ROW, ROW_COMPARISON};
use crate::error::{PlanError, Result};
use functions::syntax::call;

/// Comparisons of rows, IN a list or a subquery, IS [NOT] NULL, IS [NOT] DISTINCT FROM, spelled
/// out.
pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    let whole = match expr {
        Expr::BinaryOp { left, right, op } => match (row(left), row(right), subquery(right)) {
            (Some(left), Some(right), _) => compare(&left, op, &right)?,
            (Some(left), None, Some(query)) => with_subquery(left, op, "", query),
            _ => None,
        },
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => match (row(left), subquery(right)) {
            (Some(left), Some(query)) => with_subquery(left, compare_op, "ANY", query),
            _ => None,
        },
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => match (row(left), subquery(right)) {
            (Some(left), Some(query)) => with_subquery(left, compare_op, "ALL", query),
            _ => None,
        },
        Expr::InList {
            expr: left,
            list,
            negated,
        } => match row(left) {
            Some(left) => in_list(&left, list, *negated)?,
            None => None,
        },
        Expr::InSubquery {
            expr: left,
            subquery,
            negated,
        } => row(left)
            .and_then(|left| with_subquery(left, &BinaryOperator::Eq, "ANY", subquery))
            .map(|found| negated_if(*negated, found)),
        // Of a row both ask for all of its columns, so that neither may hold.
        Expr::IsNull(inner) => row(inner).and_then(|members| {
            let each = |member| Expr::IsNull(Box::new(member));
            chain(
                members.into_iter().map(each).collect(),
                &BinaryOperator::And,
            )
        }),
        Expr::IsNotNull(inner) => row(inner).and_then(|members| {
            let each = |member| Expr::IsNotNull(Box::new(member));
            chain(
                members.into_iter().map(each).collect(),
                &BinaryOperator::And,
            )
        }),
        Expr::IsDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => distinct(left, right, true)?,
            _ => None,
        },
        Expr::IsNotDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => distinct(left, right, false)?,
            _ => None,
        },
        _ => None,
    };
    if let Some(whole) = whole {
        *expr = Expr::Nested(Box::new(whole));
    }
    Ok(())
}

/// The members of `(a, b)` or `ROW(a, b)`.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(members) => Some(members.clone()),
        Expr::Nested(inner) => row(inner),
        Expr::Function(function)
            if names::last_part(&function.name).as_deref() == Some("row")
                && function.name.0.len() == 1 =>
        {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            list.args
                .iter()
                .map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                })
                .collect()
        }
        _ => None,
    }
}

fn distinct(left: Vec<Expr>, right: Vec<Expr>, is_distinct: bool) -> Result<Option<Expr>> {
    check_lengths(left.len(), right.len())?;
    let pairs = left
        .into_iter()
        .zip(right)
        .map(|(left, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            if is_distinct {
                Expr::IsDistinctFrom(left, right)
            } else {
                Expr::IsNotDistinctFrom(left, right)
            }
        })
        .collect();
    let junction = if is_distinct {
        BinaryOperator::Or
    } else {
        BinaryOperator::And
    };
    Ok(chain(pairs, &junction))
}

fn check_lengths(left: usize, right: usize) -> Result<()> {
    if left == right {
        return Ok(());
    }
    Err(PlanError::syntax(
        "unequal number of entries in row expressions",
    ))
}

/// The query of `(SELECT …)`.
fn subquery(expr: &mut Expr) -> Option<&mut Query> {
    match expr {
        Expr::Subquery(query) => Some(query),
        Expr::Nested(inner) => subquery(inner),
        _ => None,
    }
}

/// `comparison('=', 'ANY', a, b, (SELECT row() FROM (subquery)))`: the operator, the quantifier if
/// there is one, the left side's members, the subquery under a call that stands for its columns.
fn with_subquery(
    left: Vec<Expr>,
    op: &BinaryOperator,
    quantifier: &str,
    subquery: &mut Query,
) -> Option<Expr> {
    if !matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    ) {
        return None;
    }
    let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).into());
    let mut select = empty_select();
    select.projection = vec![SelectItem::UnnamedExpr(call(ROW, Vec::new()))];
    select.from = vec![TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(std::mem::replace(subquery, empty_query())),
            // A name that no statement has, so that it hides none of the left side's.
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', " rows"),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }];
    let mut rows = empty_query();
    rows.body = Box::new(SetExpr::Select(Box::new(select)));
    let mut args = vec![text(&op.to_string()), text(quantifier)];
    args.extend(left);
    args.push(Expr::Subquery(Box::new(rows)));
    Some(call(ROW_COMPARISON, args))
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(expr))),
        }
    } else {
        expr
    }
}

fn in_list(left: &[Expr], list: &[Expr], negated: bool) -> Result<Option<Expr>> {
    let mut alternatives = Vec::with_capacity(list.len());
    for member in list {
        let Some(right) = row(member) else {
            return Ok(None);
        };
        match compare(left, &BinaryOperator::Eq, &right)? {
            Some(equal) => alternatives.push(equal),
            None => return Ok(None),
        }
    }
    let any = chain(alternatives, &BinaryOperator::Or);
    Ok(any.map(|any| negated_if(negated, any)))
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
    check_lengths(left.len(), right.len())?;
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
