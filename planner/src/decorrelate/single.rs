//! A scalar subquery's value: NULL where it has no row, 21000 where it has several.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery};
use functions::checks;

/// `value` where `rows` is at most one. It fails only for rows it is computed for, as PostgreSQL
/// runs a subquery only where it needs it.
pub(super) fn single(value: Expr, rows: Expr) -> Expr {
    checks::single(value, rows)
}

/// DataFusion takes a scalar subquery's column for NOT NULL where the subquery's is, although a
/// subquery without rows is NULL.
pub(super) fn nullable_scalar(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else {
        return Ok(Transformed::no(expr));
    };
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    if field.is_nullable()
        || !subquery.outer_ref_columns.is_empty()
        || has_a_row(&subquery.subquery)
    {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let name = field.name().clone();
    let value = Expr::Column(Column::from((qualifier, field)));
    let value = checks::nullable(value).alias(name);
    let plan = Projection::try_new(vec![value], Arc::clone(&subquery.subquery))?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(LogicalPlan::Projection(plan)),
        ..subquery
    })))
}

fn has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_a_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_a_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}
