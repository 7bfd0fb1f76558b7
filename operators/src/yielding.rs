//! Plans that let go of their thread now and then, so that they can be stopped.
//!
//! DataFusion's leaves give way to other tasks after some batches. An operator that makes many rows
//! of few (a join, an unnest) may keep a consumer busy for hours between two batches of its leaves;
//! a task above it that is cancelled would never be dropped. Here each such operator gives way too.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Operators whose output may be far larger than what they read.
const MULTIPLYING: &[&str] = &[
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// The plan with a point to give way above each operator that multiplies rows. Positions of
/// metrics do not change: [`crate::metrics`] looks through what is put in here.
pub fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if is_multiplying(&node) {
            return Ok(Transformed::yes(
                Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>
            ));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

/// Whether [`yielding`] has put this node in.
pub(crate) fn is_yield_point(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<CooperativeExec>()
        .is_some_and(|point| is_multiplying(point.input()))
}

fn is_multiplying(plan: &Arc<dyn ExecutionPlan>) -> bool {
    MULTIPLYING.contains(&plan.name())
}
