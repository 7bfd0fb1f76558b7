//! Windows that keep no more of their input than their functions need.
//!
//! DataFusion has two operators. `WindowAggExec`, for frames that reach to a partition's end, keeps all
//! of its input; [`partitions`] keeps a few partitions of it. `BoundedWindowAggExec`, for all other
//! frames, keeps rows with all their columns; [`running`] keeps the columns that are looked at.

mod feed;
mod keys;
mod partitions;
mod running;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use partitions::WindowPartitionsExec;
use running::RunningWindowsExec;

/// The plan with windows that keep little of their input. Positions of nodes stay as they are.
pub fn lean_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let lean: Arc<dyn ExecutionPlan> = if let Some(whole) = node.downcast_ref::<WindowAggExec>()
        {
            Arc::new(WindowPartitionsExec::of(whole))
        } else if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
            Arc::new(RunningWindowsExec::of(bounded))
        } else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(lean))
    })
    .data()
}
