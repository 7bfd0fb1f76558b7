//! The domain of a subquery: the distinct values that it sees of its outer query's row.

use std::sync::Arc;

use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, NullEquality};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{
    Distinct, Expr, Join, JoinConstraint, JoinType, LogicalPlan, Projection, SubqueryAlias, lit,
    when,
};
use datafusion::scalar::ScalarValue;
use functions::error::PgError;

/// What the relations made here are called; the number makes it unique in a statement.
const PREFIX: &str = "__outer_";

/// Numbers for names.
#[derive(Debug)]
pub(super) struct Names {
    next: usize,
}

impl Names {
    /// Past all numbers of a plan, which may hold plans of views that came this way before.
    pub(super) fn after(plan: &LogicalPlan) -> Result<Self> {
        let mut next = 1;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::SubqueryAlias(alias) = node
                && let Some(number) = alias.alias.table().strip_prefix(PREFIX)
                && let Ok(number) = number.parse::<usize>()
            {
                next = next.max(number + 1);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self { next })
    }

    pub(super) fn next(&mut self) -> String {
        let name = format!("{PREFIX}{}", self.next);
        self.next += 1;
        name
    }
}

/// A plan with columns that hold values of the domain: one result per value.
pub(super) struct Dependent {
    pub(super) plan: LogicalPlan,
    /// In the order of [`Domain::columns`].
    pub(super) columns: Vec<Column>,
}

/// The values of some columns of an outer query. Never without columns.
pub(super) struct Domain {
    source: LogicalPlan,
    pub(super) columns: Vec<Column>,
}

impl Domain {
    pub(super) fn new(outer: &LogicalPlan, columns: Vec<Column>) -> Result<Self> {
        check_repeatable(outer)?;
        Ok(Self {
            source: without_limits(outer.clone())?,
            columns,
        })
    }

    /// The domain as a relation with names of its own.
    pub(super) fn instance(&self, names: &mut Names) -> Result<Dependent> {
        let alias = names.next();
        let name = |index: usize| format!("{alias}_{index}");
        let exprs = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| Expr::Column(column.clone()).alias(name(index)))
            .collect();
        let values = Projection::try_new(exprs, Arc::new(self.source.clone()))?;
        let distinct = Distinct::All(Arc::new(LogicalPlan::Projection(values)));
        let columns = (0..self.columns.len())
            .map(|index| Column::new(Some(alias.clone()), name(index)))
            .collect();
        let plan = SubqueryAlias::try_new(Arc::new(LogicalPlan::Distinct(distinct)), alias)?;
        Ok(Dependent {
            plan: LogicalPlan::SubqueryAlias(plan),
            columns,
        })
    }
}

/// The outer query is computed once more for its domain: its rows must come out the same.
fn check_repeatable(plan: &LogicalPlan) -> Result<()> {
    let refuse = |what: &str| {
        PgError::not_supported(format!(
            "a subquery that refers to {what} of its outer query is not supported"
        ))
    };
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && source_as_provider(&scan.source)
                .is_ok_and(|provider| provider.as_ref().is::<CteWorkTable>())
        {
            return Err(refuse("the recursive term").into());
        }
        node.apply_expressions(|expr| {
            // What this rule has made itself gives the same again.
            let is_volatile = expr.exists(|part| {
                Ok(part.is_volatile_node()
                    && !matches!(part, Expr::ScalarFunction(call) if call.name().starts_with("firesteel_")))
            })?;
            if is_volatile {
                return Err(refuse("a volatile function").into());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// A domain may hold more values than needed, and which rows a LIMIT keeps may differ from one
/// time to the next: so without it, where that only adds rows.
fn without_limits(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Limit(limit) => without_limits(Arc::unwrap_or_clone(limit.input))?,
        LogicalPlan::Sort(sort) => without_limits(Arc::unwrap_or_clone(sort.input))?,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Join(Join {
            join_type: JoinType::Inner,
            ..
        }) => {
            plan.map_children(|child| Ok(Transformed::yes(without_limits(child)?)))?
                .data
        }
        other => other,
    })
}

/// Equality of columns in which NULL equals NULL, as join keys that are plain equalities: unlike
/// a join in which all NULLs are equal, they stay right whatever joins DataFusion merges.
pub(super) fn keys(
    left: &[Column],
    left_schema: &DFSchema,
    right: &[Column],
    right_schema: &DFSchema,
) -> Result<Vec<(Expr, Expr)>> {
    let mut keys = Vec::with_capacity(left.len());
    for (left, right) in left.iter().zip(right) {
        let left_field = left_schema.field_from_column(left)?;
        let right_field = right_schema.field_from_column(right)?;
        let (left, right) = (Expr::Column(left.clone()), Expr::Column(right.clone()));
        if !left_field.is_nullable() && !right_field.is_nullable() {
            keys.push((left, right));
            continue;
        }
        keys.push((left.clone().is_null(), right.clone().is_null()));
        if left_field.data_type().is_null() {
            continue;
        }
        let default = ScalarValue::new_default(left_field.data_type())?;
        let filled =
            |expr: Expr| when(expr.clone().is_null(), lit(default.clone())).otherwise(expr);
        keys.push((filled(left)?, filled(right)?));
    }
    Ok(keys)
}

/// A join on keys for which NULL equals nothing.
pub(super) fn join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?))
}

/// A plan's columns.
pub(super) fn outputs(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(Expr::Column).collect()
}

pub(super) fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(plan),
    )?))
}
