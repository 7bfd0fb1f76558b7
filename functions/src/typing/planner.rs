//! Operators as SQL is planned.
//!
//! What is chosen here may be chosen again by the rule, when types are final; what matters is
//! that nothing is refused or typed wrongly before that.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::operators::{self, Operand};
use super::{literals, unknown};
use crate::kit::call;
use crate::numeric::{common_type, is_unconstrained};
use crate::pg_type::{PgType, pg_type_of};
use crate::{datetime, json, math};

/// DataFusion's hook for operators in SQL.
#[derive(Debug)]
pub struct OperatorPlanner;

impl ExprPlanner for OperatorPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (left, right) = (literals::narrow(left), literals::narrow(right));
        let (left, right) = untyped_beside_array(left, right, schema)?;
        let is_json = is_jsonb(&left, schema)? || is_jsonb(&right, schema)?;
        if let Some(function) = json::operator(&op, is_json) {
            return Ok(PlannerResult::Planned(call(&function, vec![left, right])));
        }
        let Some(operator) = operator(&op) else {
            return Ok(match op {
                BinaryOperator::PGExp => {
                    PlannerResult::Planned(call(&math::power(), vec![left, right]))
                }
                op => PlannerResult::Original(RawBinaryExpr { op, left, right }),
            });
        };
        let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
        let left = typed_placeholder(left, &right_type);
        let right = typed_placeholder(right, &left_type);
        let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
        // Arrays, maps and structs have planners of their own behind this one.
        if left_type.is_nested() || right_type.is_nested() {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        if is_comparison(operator)
            && let Some(DataType::Decimal256(_, _)) = common_type(&left_type, &right_type)
            && (is_unsettled(&left_type, &right_type)
                || !matches!(left_type, DataType::Decimal256(_, _))
                    && !matches!(right_type, DataType::Decimal256(_, _)))
        {
            // The final types may have fewer digits; a cast to more would stay.
            return Ok(PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left),
                operator,
                Box::new(right),
            ))));
        }
        let resolved = operators::resolve(
            Operand {
                expr: left,
                data_type: left_type,
            },
            operator,
            Operand {
                expr: right,
                data_type: right_type,
            },
        )?;
        Ok(PlannerResult::Planned(resolved))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(&datetime::extract(), args)))
    }
}

/// `'{1,2}' = ARRAY[1, 2]`: the literal is an array, which the rule will read.
fn untyped_beside_array(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let is_array =
        |expr: &Expr| -> Result<bool> { Ok(matches!(expr.get_type(schema)?, DataType::List(_))) };
    Ok(
        if literals::unknown_text(&left).is_some() && is_array(&right)? {
            (unknown::placed(left, &right), right)
        } else if literals::unknown_text(&right).is_some() && is_array(&left)? {
            let right = unknown::placed(right, &left);
            (left, right)
        } else {
            (left, right)
        },
    )
}

fn is_jsonb(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    // Most operands are of types that no JSON is, and asking for a field costs more.
    if !expr.get_type(schema)?.is_string() {
        return Ok(false);
    }
    Ok(pg_type_of(&expr.to_field(schema)?.1) == PgType::JSONB)
}

/// A numeric without precision and scale may turn out to have those of a constant.
fn is_unsettled(left: &DataType, right: &DataType) -> bool {
    is_unconstrained(left) || is_unconstrained(right)
}

fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

/// A parameter of unknown type takes the type of what stands beside it.
fn typed_placeholder(expr: Expr, other: &DataType) -> Expr {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) if !other.is_null() => {
            let field = datafusion::arrow::datatypes::Field::new("", other.clone(), true);
            Expr::Placeholder(Placeholder::new_with_field(id, Some(field.into())))
        }
        other => other,
    }
}

/// The operators whose meaning depends on us.
fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
        BinaryOperator::StringConcat => Operator::StringConcat,
        BinaryOperator::PGBitwiseShiftLeft => Operator::BitwiseShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => Operator::BitwiseShiftRight,
        _ => return None,
    })
}
