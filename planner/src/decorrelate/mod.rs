//! Subqueries and LATERAL, made into joins.
//!
//! DataFusion's own rules turn a correlated subquery into a join where it is correlated by
//! equality in the places they know; everything else they refuse or answer wrongly (three-valued
//! IN and ANY/ALL inside expressions). This rule takes those away before they get there, the way
//! of Neumann and Kemper, *Unnesting Arbitrary Queries*: the distinct values that the subquery
//! sees of its outer query (its [`domain`]) are joined into the subquery and pushed down
//! ([`dependent`]) until nothing in it is correlated; its result, now one per value of the domain,
//! is joined back to the outer query ([`forms`]).
//!
//! ```text
//!   Filter: (SELECT count(*) FROM s WHERE s.x < t.a) > 1      Filter: value > 1
//!     t                                                         LeftJoin: t.a = d.a
//!                                                                 t
//!                                                                 one value per d.a
//!                                                                   s joined with d on s.x < d.a
//!                                                                     d: SELECT DISTINCT a FROM t
//! ```
//!
//! It works from the outside in: once an outer query's columns are in its subquery's plan as the
//! domain's, a subquery inside that refers to both finds both one level up. What stays with
//! DataFusion is told in [`references`].

mod dependent;
mod domain;
mod forms;
mod grouping_sets;
mod references;
mod single;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, JoinType, LogicalPlan, Projection, Sort, Subquery, Window,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use functions::error::PgError;

use domain::Names;
use forms::{Joiner, join_lateral};
pub(crate) use references::as_subquery;
use references::{Site, is_ours, subquery_of};

use crate::expressions::{any_part, go_on_unless};

/// The last analyzer rule: types are settled, and DataFusion's checks of subqueries come after.
#[derive(Debug)]
pub(crate) struct Decorrelate;

impl AnalyzerRule for Decorrelate {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_subqueries(&plan)? {
            return Ok(plan);
        }
        check_aggregates(&plan)?;
        let mut rewriter = Rewriter {
            names: Names::after(&plan)?,
        };
        Ok(rewriter.rewrite(plan)?.data)
    }

    fn name(&self) -> &str {
        "decorrelate"
    }
}

fn has_subqueries(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        found = matches!(node, LogicalPlan::Subquery(_))
            || any_part(node, |part| subquery_of(part).is_some())?;
        Ok(go_on_unless(found))
    })?;
    Ok(found)
}

/// An aggregate of nothing but an outer query's columns is the outer query's, not the subquery's.
fn check_aggregates(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node
            && aggregate
                .aggr_expr
                .iter()
                .any(|expr| expr.contains_outer() && !expr.any_column_refs())
        {
            return Err(PgError::not_supported(
                "an aggregate of an outer query's columns in a subquery is not supported",
            )
            .into());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

struct Rewriter {
    names: Names,
}

impl Rewriter {
    /// This node, then what is below it and in the subqueries it keeps.
    fn rewrite(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Subquery(subquery) = plan {
            let spans = subquery.spans.clone();
            let plan = self.rewrite(plan_of(subquery))?.data;
            return Ok(Transformed::yes(LogicalPlan::Subquery(as_subquery(
                plan, spans,
            ))));
        }
        let node = self.node(plan)?;
        let node = node.transform_data(|plan| {
            plan.map_expressions(|expr| expr.transform_up(single::nullable_scalar))
        })?;
        let node = node
            .transform_data(|plan| plan.map_subqueries(|subquery| self.rewrite(subquery)))?
            .transform_data(|plan| plan.map_children(|child| self.rewrite(child)))?;
        if node.transformed {
            return node.map_data(LogicalPlan::recompute_schema);
        }
        Ok(node)
    }

    fn node(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let site = Site::of(&plan);
        let mut ours = false;
        plan.apply_expressions(|expr| {
            ours = ours || self.has_ours(expr, site)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        match plan {
            LogicalPlan::Join(join) if references::is_lateral(&join) => {
                Ok(Transformed::yes(join_lateral(&mut self.names, join)?))
            }
            plan if !ours => Ok(Transformed::no(plan)),
            LogicalPlan::Filter(filter) => Ok(Transformed::yes(self.filter(filter)?)),
            LogicalPlan::Projection(projection) => {
                Ok(Transformed::yes(self.projection(projection)?))
            }
            LogicalPlan::Aggregate(aggregate) => Ok(Transformed::yes(self.aggregate(aggregate)?)),
            LogicalPlan::Window(window) => Ok(Transformed::yes(self.window(window)?)),
            LogicalPlan::Sort(sort) => Ok(Transformed::yes(self.sort(sort)?)),
            LogicalPlan::Join(join) => Ok(Transformed::yes(self.join(join)?)),
            // DataFusion says what it can't do there.
            other => Ok(Transformed::no(other)),
        }
    }

    fn has_ours(&self, expr: &Expr, site: Site) -> Result<bool> {
        if site == Site::Filter {
            return Ok(split_conjunction_owned(expr.clone())
                .iter()
                .any(|part| is_ours(part, site)));
        }
        Ok(is_ours(expr, site))
    }

    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let (ours, theirs): (Vec<_>, Vec<_>) = split_conjunction_owned(filter.predicate)
            .into_iter()
            .partition(|part| is_ours(part, Site::Filter));
        let mut input = Arc::unwrap_or_clone(filter.input);
        // First what leaves fewer values to look at.
        if let Some(predicate) = conjunction(theirs) {
            input = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
        }
        let columns = input.schema().columns();
        let mut joiner = Joiner::new(input);
        let mut left = Vec::new();
        for part in ours {
            if let Some(part) = joiner.condition(&mut self.names, part)? {
                left.push(joiner.value(&mut self.names, part)?);
            }
        }
        let mut plan = joiner.finish();
        if let Some(predicate) = conjunction(left) {
            plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        }
        only(plan, columns)
    }

    fn projection(&mut self, projection: Projection) -> Result<LogicalPlan> {
        let mut joiner = Joiner::new(Arc::unwrap_or_clone(projection.input));
        let exprs = named(projection.expr, |expr| joiner.value(&mut self.names, expr))?;
        Ok(LogicalPlan::Projection(Projection::try_new(
            exprs,
            Arc::new(joiner.finish()),
        )?))
    }

    fn aggregate(&mut self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let mut joiner = Joiner::new(Arc::unwrap_or_clone(aggregate.input));
        let groups = named(aggregate.group_expr, |expr| {
            joiner.value(&mut self.names, expr)
        })?;
        let aggregates = named(aggregate.aggr_expr, |expr| {
            joiner.value(&mut self.names, expr)
        })?;
        Ok(LogicalPlan::Aggregate(Aggregate::try_new(
            Arc::new(joiner.finish()),
            groups,
            aggregates,
        )?))
    }

    fn window(&mut self, window: Window) -> Result<LogicalPlan> {
        let columns = window.schema.columns();
        let mut joiner = Joiner::new(Arc::unwrap_or_clone(window.input));
        let exprs = named(window.window_expr, |expr| {
            joiner.value(&mut self.names, expr)
        })?;
        let plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(joiner.finish()))?);
        only(plan, columns)
    }

    fn sort(&mut self, sort: Sort) -> Result<LogicalPlan> {
        let mut input = Arc::unwrap_or_clone(sort.input);
        let columns = input.schema().columns();
        // The subquery may refer to columns that are not selected.
        if let LogicalPlan::Projection(projection) = &input {
            let mut exprs = projection.expr.clone();
            for column in sort
                .expr
                .iter()
                .flat_map(|key| references::outer_columns_of(&key.expr))
            {
                let selected = Expr::Column(column.clone());
                if !input.schema().has_column(&column)
                    && projection.input.schema().has_column(&column)
                    && !exprs.contains(&selected)
                {
                    exprs.push(selected);
                }
            }
            if exprs.len() > columns.len() {
                input = LogicalPlan::Projection(Projection::try_new(
                    exprs,
                    Arc::clone(&projection.input),
                )?);
            }
        }
        let mut joiner = Joiner::new(input);
        let expr = sort
            .expr
            .into_iter()
            .map(|key| {
                let expr = joiner.value(&mut self.names, key.expr.clone())?;
                Ok(key.with_expr(expr))
            })
            .collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlan::Sort(Sort {
            expr,
            input: Arc::new(joiner.finish()),
            fetch: sort.fetch,
        });
        only(plan, columns)
    }

    /// A subquery in ON: of an inner join it may as well be in WHERE; of an outer join it is
    /// computed on the one side whose columns it sees.
    fn join(&mut self, join: Join) -> Result<LogicalPlan> {
        let Some(condition) = join.filter.clone() else {
            return Ok(LogicalPlan::Join(join));
        };
        let (ours, theirs): (Vec<_>, Vec<_>) = split_conjunction_owned(condition)
            .into_iter()
            .partition(|part| is_ours(part, Site::Other));
        if join.join_type == JoinType::Inner {
            let plain = Join {
                filter: conjunction(theirs),
                ..join
            };
            let predicate =
                conjunction(ours).unwrap_or_else(|| datafusion::logical_expr::lit(true));
            return self.filter(Filter::try_new(
                predicate,
                Arc::new(LogicalPlan::Join(plain)),
            )?);
        }
        let columns = join.schema.columns();
        let mut filters = theirs;
        let mut sides = [
            Joiner::new(join.left.as_ref().clone()),
            Joiner::new(join.right.as_ref().clone()),
        ];
        for part in ours {
            let seen = references::outer_columns_of(&part);
            let side = sides
                .iter_mut()
                .find(|side| seen.iter().all(|column| side.sees(column)))
                .ok_or_else(|| {
                    PgError::not_supported(
                        "a subquery in the ON of an outer join that refers to both sides is not supported",
                    )
                })?;
            filters.push(side.value(&mut self.names, part)?);
        }
        let [left, right] = sides.map(Joiner::finish);
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(left),
            Arc::new(right),
            join.on,
            conjunction(filters),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?);
        only(plan, columns)
    }
}

/// Expressions rewritten, under the names they had.
fn named(exprs: Vec<Expr>, mut rewrite: impl FnMut(Expr) -> Result<Expr>) -> Result<Vec<Expr>> {
    exprs
        .into_iter()
        .map(|expr| {
            let name = expr.schema_name().to_string();
            let rewritten = rewrite(expr)?;
            Ok(if rewritten.schema_name().to_string() == name {
                rewritten
            } else {
                rewritten.alias(name)
            })
        })
        .collect()
}

/// Just these columns.
fn only(plan: LogicalPlan, columns: Vec<datafusion::common::Column>) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    let exprs = columns.into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(plan),
    )?))
}

/// The plan of a subquery.
fn plan_of(subquery: Subquery) -> LogicalPlan {
    Arc::unwrap_or_clone(subquery.subquery)
}
