//! Plans that would lose their meaning in DataFusion's bytes, silently. A clear error is better.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, WindowExpr,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

/// Aggregates whose WITHIN GROUP (ORDER BY …) DataFusion takes for a hint, and leaves out.
const ORDERED_SETS: &[&str] = &["mode", "percentile_cont", "percentile_disc"];

/// Refuses what datafusion-proto 55 leaves out.
pub(super) fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            check_aggregate(aggregate)?;
        }
        let windows = if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            window.window_expr()
        } else if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
            window.window_expr()
        } else {
            &[]
        };
        if windows.iter().any(has_filter) {
            return not_impl_err!("FILTER before OVER on executors of other processes");
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn check_aggregate(aggregate: &AggregateExec) -> Result<()> {
    let groups = aggregate.group_expr();
    if groups.expr().is_empty() && !groups.groups().is_empty() {
        return not_impl_err!("GROUP BY () on executors of other processes");
    }
    let functions = aggregate.aggr_expr().iter().map(|expr| expr.fun());
    let is_ordered_set = |function: &AggregateUDF| ORDERED_SETS.contains(&function.name());
    match functions
        .into_iter()
        .find(|function| is_ordered_set(function))
    {
        Some(function) => {
            not_impl_err!("{} on executors of other processes", function.name())
        }
        None => Ok(()),
    }
}

fn has_filter(window: &Arc<dyn WindowExpr>) -> bool {
    let expr = window.as_any();
    let aggregates =
        expr.is::<PlainAggregateWindowExpr>() || expr.is::<SlidingAggregateWindowExpr>();
    // The trait that tells is private to DataFusion.
    aggregates && format!("{window:?}").contains("filter: Some(")
}
