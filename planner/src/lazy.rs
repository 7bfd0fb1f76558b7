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
use datafusion::logical_expr::utils::{
    conjunction, disjunction, merge_schema, split_binary, split_conjunction,
};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Filter, LogicalPlan, Operator, lit,
};

use crate::expressions::any_part;

/// The plan with right sides that can raise an error behind their left sides.
pub(crate) fn right_sides(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| {
        // A scan's own filters only skip row groups and files: the ones above it count.
        if matches!(node, LogicalPlan::TableScan(_)) || !has_choice(&node)? {
            return Ok(Transformed::no(node));
        }
        if let LogicalPlan::Filter(filter) = node {
            let predicate = filtering(&filter.predicate, filter.input.schema())?;
            let filter = Filter::try_new(predicate, filter.input)?;
            return Ok(Transformed::yes(LogicalPlan::Filter(filter)));
        }
        let names = NamePreserver::new(&node);
        let schema = merge_schema(&node.inputs());
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(valued(expr, &schema)?.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

/// Whether there is an AND or OR in an expression of the node.
fn has_choice(node: &LogicalPlan) -> Result<bool> {
    any_part(
        node,
        |part| matches!(part, Expr::BinaryExpr(part) if is_choice(part)),
    )
}

fn is_choice(expr: &BinaryExpr) -> bool {
    matches!(expr.op, Operator::And | Operator::Or)
}

/// Of a filter. Its first terms stay by themselves too where they cost little, since statistics
/// rule row groups out by them.
fn filtering(predicate: &Expr, schema: &DFSchema) -> Result<Expr> {
    let guarded = wanted(predicate, schema)?;
    let terms = split_conjunction(predicate);
    let Some(at) = first_fallible(&terms, schema)? else {
        return Ok(guarded);
    };
    let mut plain = Vec::new();
    for term in &terms[..at] {
        if !can_fail(term, schema)? && !is_computed_once(term)? {
            plain.push((*term).clone());
        }
    }
    Ok(match conjunction(plain) {
        Some(plain) => plain.and(guarded),
        None => guarded,
    })
}

/// Of a condition of which only counts whether it is true.
fn wanted(condition: &Expr, schema: &DFSchema) -> Result<Expr> {
    let terms = split_conjunction(condition);
    let parts = first_fallible(&terms, schema)?.and_then(|at| halves(&terms, at, conjunction));
    Ok(match parts {
        Some((before, rest)) => {
            let before = valued(before, schema)?.data;
            when(before, wanted(&rest, schema)?, lit(false))
        }
        None => valued(condition.clone(), schema)?.data,
    })
}

/// Terms before a place, and from there on.
fn halves(terms: &[&Expr], at: usize, join: fn(Vec<Expr>) -> Option<Expr>) -> Option<(Expr, Expr)> {
    let joined = |terms: &[&Expr]| join(terms.iter().copied().cloned().collect());
    let (before, rest) = terms.split_at(at);
    joined(before).zip(joined(rest))
}

/// Of a condition whose value counts, NULL among them.
fn valued(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|node| {
        let Expr::BinaryExpr(choice) = &node else {
            return Ok(Transformed::no(node));
        };
        if !is_choice(choice) {
            return Ok(Transformed::no(node));
        }
        let is_and = choice.op == Operator::And;
        let join = if is_and { conjunction } else { disjunction };
        let terms = split_binary(&node, choice.op);
        let parts = first_fallible(&terms, schema)?.and_then(|at| halves(&terms, at, join));
        let Some((before, rest)) = parts else {
            return Ok(Transformed::no(node));
        };
        if is_computed_once(&before)? {
            return Ok(Transformed::no(node));
        }
        let before = valued(before, schema)?.data;
        let rest = valued(rest, schema)?.data;
        let guarded = if is_and {
            when(before.clone().is_false(), lit(false), before.and(rest))
        } else {
            when(before.clone().is_true(), lit(true), before.or(rest))
        };
        Ok(Transformed::new(guarded, true, TreeNodeRecursion::Jump))
    })
}

fn when(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case::new(
        None,
        vec![(Box::new(condition), Box::new(then))],
        Some(Box::new(otherwise)),
    ))
}

/// The first of some terms, but for the very first, that can raise an error.
fn first_fallible(terms: &[&Expr], schema: &DFSchema) -> Result<Option<usize>> {
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
