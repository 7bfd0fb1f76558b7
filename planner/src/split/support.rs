//! Which plans can be cut.
//!
//! A stage plan has to survive three things: being copied for a slice, being sent to another
//! process, and running beside other copies of itself. Nodes that DataFusion cannot encode
//! (recursive queries and their work tables, streaming tables, piecewise merge joins, partial
//! sorts, partitioned TopK) or that we do not know do not; a plan that has one runs uncut, in one
//! task, where they work as they always did.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::repartition::RepartitionExec;

/// Nodes that may be part of any stage, whatever its slices. Leaves and repartitions are looked
/// at more closely.
const CUTTABLE: &[&str] = &[
    "AggregateExec",
    "AsyncFuncExec",
    "BoundedWindowAggExec",
    "BufferExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "CrossJoinExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "InterleaveExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "ScalarSubqueryExec",
    "SortExec",
    // The name a sort with a LIMIT goes by.
    "SortExec(TopK)",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// `Err` names the node that keeps the plan in one task.
pub(super) fn cuttable(plan: &Arc<dyn ExecutionPlan>) -> Result<(), String> {
    let mut offender = None;
    let walked = plan.apply(|node| {
        if is_cuttable(node) {
            return Ok(TreeNodeRecursion::Continue);
        }
        offender = Some(node.name().to_owned());
        Ok(TreeNodeRecursion::Stop)
    });
    match (offender, walked) {
        (Some(node), _) => Err(node),
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(_)) => Ok(()),
    }
}

fn is_cuttable(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(scan) = node.downcast_ref::<DataSourceExec>() {
        return match scan.data_source().downcast_ref::<FileScanConfig>() {
            // Files grouped by value are a promise about partitions that exchanges do not keep.
            Some(files) => files.output_partitioning.is_none(),
            None => scan.data_source().is::<MemorySourceConfig>(),
        };
    }
    if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
        return match repartition.partitioning() {
            Partitioning::Hash(_, _)
            | Partitioning::RoundRobinBatch(_)
            | Partitioning::UnknownPartitioning(_) => true,
            _ => false,
        };
    }
    CUTTABLE.contains(&node.name())
}
