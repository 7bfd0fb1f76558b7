//! What is counted, sorted and grouped: rows, and intervals by their lengths, as they compare.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::utils::COUNT_STAR_EXPANSION;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, Projection};

use crate::arithmetic::datetimes;
use crate::kit::call;

pub(super) fn settled(mut function: AggregateFunction, schema: &DFSchema) -> Result<Expr> {
    let params = &mut function.params;
    params.order_by = in_order(std::mem::take(&mut params.order_by), schema)?;
    if let [argument] = params.args.as_mut_slice() {
        match function.func.name() {
            "count" if params.distinct => *argument = key(argument.clone(), schema)?,
            // `count(*)` came as the count of a number, which has the type of one by now. As
            // DataFusion spells it, statistics may answer it.
            "count" if matches!(argument, Expr::Literal(value, _) if !value.is_null()) => {
                *argument = Expr::Literal(COUNT_STAR_EXPANSION, None);
            }
            name @ ("min" | "max") if is_interval(argument, schema)? => {
                let by_length = key(argument.clone(), schema)?.sort(name == "min", false);
                params.order_by = vec![by_length];
                params.distinct = false;
                function.func = first_value_udaf();
            }
            _ => {}
        }
    }
    Ok(Expr::AggregateFunction(function))
}

/// What is sorted by an interval is sorted by its length, as intervals compare.
pub(super) fn in_order(items: Vec<Sort>, schema: &DFSchema) -> Result<Vec<Sort>> {
    let by_length = |item: Sort| {
        Ok(Sort {
            expr: key(item.expr, schema)?,
            ..item
        })
    };
    items.into_iter().map(by_length).collect()
}

/// What tells values apart: of an interval, its length.
pub(super) fn key(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(if is_interval(&expr, schema)? {
        call(&datetimes::interval_key(), vec![expr])
    } else {
        expr
    })
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(matches!(expr.get_type(schema)?, DataType::Interval(_)))
}

/// DISTINCT rows with intervals are groups of them.
pub(super) fn distinct(rows: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let has_intervals = rows
        .schema()
        .fields()
        .iter()
        .any(|field| matches!(field.data_type(), DataType::Interval(_)));
    if !has_intervals {
        return Ok(LogicalPlan::Distinct(Distinct::All(rows)));
    }
    let columns = rows.schema().iter().map(Expr::from).collect();
    groups(Aggregate::try_new(rows, columns, Vec::new())?)
}

/// Intervals of one length are one group; which of them stands for it is open, as in PostgreSQL.
pub(super) fn groups(aggregate: Aggregate) -> Result<LogicalPlan> {
    let input = aggregate.input.schema();
    let mut intervals = Vec::new();
    for (index, group) in aggregate.group_expr.iter().enumerate() {
        if !matches!(group, Expr::GroupingSet(_)) && is_interval(group, input)? {
            intervals.push(index);
        }
    }
    if intervals.is_empty() {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let mut by = aggregate.group_expr.clone();
    let mut results = aggregate.aggr_expr.clone();
    for &index in &intervals {
        let value = by[index].clone().unalias();
        by[index] = key(value.clone(), input)?;
        let one = first_value_udaf().call(vec![value]);
        results.push(one.alias(format!("interval_{index}")));
    }
    let ones = by.len() + aggregate.aggr_expr.len();
    let grouped = Aggregate::try_new(Arc::clone(&aggregate.input), by, results)?;
    let columns = aggregate.schema.iter().enumerate().map(|(index, named)| {
        let one = intervals.iter().position(|interval| *interval == index);
        let from = one.map_or(index, |one| ones + one);
        let column = Expr::from(grouped.schema.qualified_field(from));
        match one {
            Some(_) => column.alias_qualified(named.0.cloned(), named.1.name()),
            None => column,
        }
    });
    let columns = columns.collect();
    let grouped = Arc::new(LogicalPlan::Aggregate(grouped));
    Ok(LogicalPlan::Projection(Projection::try_new(
        columns, grouped,
    )?))
}
