//! AND and OR whose right side can raise an error.
//!
//! PostgreSQL computes `b <> 0 AND a / b > 1` from left to right and divides only where the left
//! side leaves the question open. DataFusion computes both sides for all rows unless few pass the
//! first, and makes ANDs and ORs of CASEs with boolean results. A CASE of a physical plan, though,
//! computes its branches for the rows that get there only. So after the optimizer, which would turn
//! them back, such right sides become CASEs.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_binary, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Filter, LogicalPlan, Operator, lit,
};

/// The plan with right sides that can raise an error behind their left sides.
pub(crate) fn right_sides(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| match node {
        // Only to skip row groups and files by: the filters above them count.
        LogicalPlan::TableScan(_) => Ok(Transformed::no(node)),
        LogicalPlan::Filter(filter) => {
            let schema = filter.input.schema();
            let predicate = if has_choice(&filter.predicate)? {
                wanted(filter.predicate, schema)?
            } else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            let filter = Filter::try_new(predicate, filter.input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        node => {
            let names = NamePreserver::new(&node);
            let inputs = node.inputs();
            let schema = match inputs.as_slice() {
                [one] => one.schema().as_ref().clone(),
                many => {
                    let mut all = DFSchema::empty();
                    many.iter().for_each(|input| all.merge(input.schema()));
                    all
                }
            };
            node.map_expressions(|expr| {
                if !has_choice(&expr)? {
                    return Ok(Transformed::no(expr));
                }
                let name = names.save(&expr);
                let expr = valued(expr, &schema)?;
                Ok(Transformed::yes(name.restore(expr)))
            })
        }
    })?;
    Ok(plan.data)
}

/// Whether there is an AND or OR in it.
fn has_choice(expr: &Expr) -> Result<bool> {
    expr.exists(|node| {
        Ok(matches!(
            node,
            Expr::BinaryExpr(BinaryExpr {
                op: Operator::And | Operator::Or,
                ..
            })
        ))
    })
}

/// Of a condition of which only counts whether it is true.
fn wanted(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let conjuncts: Vec<Expr> = split_conjunction(&expr).into_iter().cloned().collect();
    let Some(at) = first_fallible(&conjuncts, schema)? else {
        return valued(expr, schema);
    };
    let rest = conjuncts[at..].to_vec();
    let before: Vec<Expr> = conjuncts[..at]
        .iter()
        .map(|conjunct| valued(conjunct.clone(), schema))
        .collect::<Result<_>>()?;
    let (Some(before), Some(rest)) = (conjunction(before), conjunction(rest)) else {
        return valued(expr, schema);
    };
    let once = is_computed_once(&before)?;
    let guarded = when(before.clone(), wanted(rest, schema)?, lit(false));
    // By itself too, where it can be looked at: statistics rule row groups out by it.
    Ok(if once { guarded } else { before.and(guarded) })
}

/// Of a condition whose value counts, NULL among them.
fn valued(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let expr = expr.transform_down(|node| {
        let Expr::BinaryExpr(BinaryExpr {
            op: op @ (Operator::And | Operator::Or),
            ..
        }) = &node
        else {
            return Ok(Transformed::no(node));
        };
        let op = *op;
        let terms: Vec<Expr> = split_binary(&node, op).into_iter().cloned().collect();
        let Some(at) = first_fallible(&terms, schema)? else {
            return Ok(Transformed::no(node));
        };
        let join = if op == Operator::And {
            conjunction
        } else {
            disjunction
        };
        let (Some(before), Some(rest)) = (join(terms[..at].to_vec()), join(terms[at..].to_vec()))
        else {
            return Ok(Transformed::no(node));
        };
        if is_computed_once(&before)? {
            return Ok(Transformed::no(node));
        }
        let before = valued(before, schema)?;
        let rest = valued(rest, schema)?;
        let guarded = match op {
            Operator::And => when(before.clone().is_false(), lit(false), before.and(rest)),
            _ => when(before.clone().is_true(), lit(true), before.or(rest)),
        };
        Ok(Transformed::new(guarded, true, TreeNodeRecursion::Jump))
    })?;
    Ok(expr.data)
}

fn when(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case::new(
        None,
        vec![(Box::new(condition), Box::new(then))],
        Some(Box::new(otherwise)),
    ))
}

/// The first of some terms, but for the very first, that can raise an error.
fn first_fallible(terms: &[Expr], schema: &DFSchema) -> Result<Option<usize>> {
    for (at, term) in terms.iter().enumerate().skip(1) {
        if can_fail(term, schema)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Whether it must not be computed twice: it would have another value, or cost a subquery.
fn is_computed_once(expr: &Expr) -> Result<bool> {
    let subquery = expr.exists(|node| {
        Ok(matches!(
            node,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
        ))
    })?;
    Ok(subquery || expr.is_volatile())
}

/// Whether it may raise an error for some row, as far as is known.
fn can_fail(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    expr.exists(|node| {
        Ok(match node {
            Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(
                op,
                Operator::Plus
                    | Operator::Minus
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Modulo
            ),
            Expr::ScalarFunction(_) | Expr::HigherOrderFunction(_) | Expr::Negative(_) => true,
            Expr::Cast(Cast { expr, field }) => {
                !is_wider(&expr.get_type(schema)?, field.data_type())
            }
            _ => false,
        })
    })
}

/// Whether every value of one type is one of the other.
fn is_wider(from: &DataType, to: &DataType) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Utf8, Utf8View};
    from == to
        || matches!(
            (from, to),
            (Int8 | Int16, Int16 | Int32 | Int64 | Float32 | Float64)
                | (Int32, Int64 | Float64)
                | (Int64, Float64)
                | (Float32, Float64)
                | (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        )
}
