//! GROUPING SETS as a union of aggregates, one for each set: what a correlated subquery is grouped
//! by differs from value to value of its domain, and a set without columns has a row of its own for
//! each of them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Union, lit};
use datafusion::scalar::ScalarValue;
use functions::error::PgError;
use job::SqlState;

use super::domain::project;

/// 54011
const TOO_MANY_COLUMNS: SqlState = SqlState(*b"54011");

/// As in PostgreSQL.
const CUBE_MAX: usize = 12;

/// The same rows, with columns that a set lacks NULL and DataFusion's number of the set beside
/// them.
pub(super) fn as_union(aggregate: Aggregate) -> Result<LogicalPlan> {
    let columns = grouping_set_to_exprlist(&aggregate.group_expr)?;
    let inputs = sets(&aggregate.group_expr)?
        .into_iter()
        .map(|set| Ok(Arc::new(one(&aggregate, &columns, &set)?)))
        .collect::<Result<Vec<_>>>()?;
    let union = Union::try_new_with_loose_types(inputs)?;
    // A union knows no tables.
    let exprs = union
        .schema
        .columns()
        .into_iter()
        .zip(aggregate.schema.iter())
        .map(|(column, (qualifier, field))| {
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    project(LogicalPlan::Union(union), exprs)
}

fn one(aggregate: &Aggregate, columns: &[&Expr], set: &[Expr]) -> Result<LogicalPlan> {
    let mut groups: Vec<Expr> = Vec::with_capacity(set.len());
    for expr in set {
        if !groups.contains(expr) {
            groups.push(expr.clone());
        }
    }
    let plan = if groups.is_empty() && aggregate.aggr_expr.is_empty() {
        LogicalPlanBuilder::empty(true).build()?
    } else {
        LogicalPlan::Aggregate(Aggregate::try_new(
            Arc::clone(&aggregate.input),
            groups.clone(),
            aggregate.aggr_expr.clone(),
        )?)
    };
    let made: Vec<Column> = plan.schema().columns();
    let mut missing = 0_u64;
    let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
    for (index, field) in aggregate.schema.fields().iter().enumerate() {
        let expr = match columns.get(index) {
            Some(column) => {
                missing <<= 1;
                match groups.iter().position(|group| group == *column) {
                    Some(place) => Expr::Column(made[place].clone()),
                    None => {
                        missing |= 1;
                        lit(ScalarValue::try_from(field.data_type())?)
                    }
                }
            }
            None if index == columns.len() => {
                lit(ScalarValue::UInt64(Some(missing)).cast_to(field.data_type())?)
            }
            None => Expr::Column(made[groups.len() + index - columns.len() - 1].clone()),
        };
        exprs.push(expr.alias(format!("set_{index}")));
    }
    project(plan, exprs)
}

fn sets(group_expr: &[Expr]) -> Result<Vec<Vec<Expr>>> {
    let [Expr::GroupingSet(set)] = group_expr else {
        return Ok(vec![group_expr.to_vec()]);
    };
    Ok(match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len())
            .rev()
            .map(|length| exprs[..length].to_vec())
            .collect(),
        GroupingSet::Cube(exprs) if exprs.len() > CUBE_MAX => {
            return Err(PgError::new(
                TOO_MANY_COLUMNS,
                format!("CUBE is limited to {CUBE_MAX} elements"),
            )
            .into());
        }
        GroupingSet::Cube(exprs) => exprs.iter().fold(vec![Vec::new()], |sets, expr| {
            let with = sets.iter().map(|set| {
                let mut set = set.clone();
                set.push(expr.clone());
                set
            });
            sets.iter().cloned().chain(with).collect()
        }),
    })
}
