//! Conditions that may not be booleans: `WHERE x` becomes `WHERE pg_condition(x, 'WHERE')`.
//!
//! DataFusion takes a number for a CASE's condition, and refuses it elsewhere before its type is
//! final. The call stands until the typing rule sees `x` with its type. What is a condition by its
//! form, a comparison or a conjunction, is left alone: that is nearly all of them.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Select, SetExpr, TableFactor,
    TableWithJoins, UnaryOperator, Value,
};

use super::forms::{call, string};
use crate::typing::condition;

/// The conditions of a query's own level.
pub(super) fn place_in_query(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => place_in_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            place_in_query(left);
            place_in_query(right);
        }
        _ => {}
    }
}

fn place_in_select(select: &mut Select) {
    if let Some(condition) = &mut select.selection {
        place(condition, "WHERE");
    }
    if let Some(condition) = &mut select.having {
        place(condition, "HAVING");
    }
    for table in &mut select.from {
        place_in_joins(table);
    }
}

fn place_in_joins(table: &mut TableWithJoins) {
    if let TableFactor::NestedJoin {
        table_with_joins, ..
    } = &mut table.relation
    {
        place_in_joins(table_with_joins);
    }
    for join in &mut table.joins {
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => constraint,
            _ => continue,
        };
        if let JoinConstraint::On(condition) = constraint {
            place(condition, "JOIN/ON");
        }
    }
}

/// The conditions within an expression.
pub(super) fn place_in_expr(expr: &mut Expr) {
    match expr {
        Expr::Case {
            operand: None,
            conditions,
            ..
        } => {
            for when in conditions {
                place(&mut when.condition, "CASE/WHEN");
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: operand,
        } => place(operand, "NOT"),
        Expr::Function(function) => {
            if let Some(condition) = &mut function.filter {
                place(condition, "FILTER");
            }
        }
        _ => {}
    }
}

fn place(condition: &mut Expr, construct: &str) {
    if is_condition(condition) {
        return;
    }
    let taken = std::mem::replace(condition, Expr::Value(Value::Null.into()));
    *condition = call(condition::NAME, vec![taken, string(construct.to_owned())]);
}

/// Whether an expression is a boolean, or refused as something else, by its form.
fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_condition(inner),
        // A parameter becomes a boolean where one is wanted.
        Expr::Value(value) => matches!(
            value.value,
            Value::Boolean(_) | Value::Null | Value::Placeholder(_)
        ),
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
                | BinaryOperator::And
                | BinaryOperator::Or
                | BinaryOperator::PGRegexMatch
                | BinaryOperator::PGRegexIMatch
                | BinaryOperator::PGRegexNotMatch
                | BinaryOperator::PGRegexNotIMatch
        ),
        Expr::UnaryOp { op, .. } => *op == UnaryOperator::Not,
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(_, _)
        | Expr::IsNotDistinctFrom(_, _)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::SimilarTo { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::Exists { .. } => true,
        _ => false,
    }
}
