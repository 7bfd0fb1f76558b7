//! Plans that let go of their thread now and then, so that they can be stopped.
//!
//! DataFusion's leaves give way to other tasks after some batches. An operator that makes many rows
//! of few (a join, an unnest) may keep a consumer busy for hours between two batches of its leaves;
//! a task above it that is cancelled would never be dropped. Here each such operator gives way too.
//! A join whose condition keeps little may even be busy for hours with one batch, and put out none:
//! so it gets its probe side in pieces, between which it gives way ([`paced`]).

mod paced;

use std::sync::Arc;

use datafusion::common::JoinSide;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::SortMergeJoinExec;

use paced::PacedExec;

/// Operators whose output may be far larger than what they read.
const MULTIPLYING: &[&str] = &[
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// Joins that compare each probe row with many build rows, and keep those that pass a condition.
const FILTERING: &[&str] = &["HashJoinExec", "NestedLoopJoinExec", "SortMergeJoinExec"];

/// The plan with a point to give way above each operator that multiplies rows, and one between a
/// filtering join and its probe side. Positions of metrics do not change: [`crate::metrics`] looks
/// through what is put in here.
pub fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !is_multiplying(&node) {
            return Ok(Transformed::no(node));
        }
        let node = if FILTERING.contains(&node.name()) {
            pace_probe(node)?
        } else {
            node
        };
        Ok(Transformed::yes(
            Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>
        ))
    })
    .data()
}

fn pace_probe(join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = join.children().into_iter().cloned().collect();
    let probe = match join.downcast_ref::<SortMergeJoinExec>() {
        Some(merge) => match SortMergeJoinExec::probe_side(&merge.join_type()) {
            JoinSide::Left => 0,
            JoinSide::Right | JoinSide::None => 1,
        },
        None => 1,
    };
    if let Some(probe) = children.get_mut(probe) {
        *probe = Arc::new(PacedExec::new(Arc::clone(probe)));
    }
    replace_children_if_necessary(join, children)
}

/// Whether [`yielding`] has put this node in.
pub(crate) fn is_yield_point(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<PacedExec>().is_some()
        || plan
            .downcast_ref::<CooperativeExec>()
            .is_some_and(|point| is_multiplying(point.input()))
}

fn is_multiplying(plan: &Arc<dyn ExecutionPlan>) -> bool {
    MULTIPLYING.contains(&plan.name())
}
