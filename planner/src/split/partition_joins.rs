//! A physical optimizer rule for staged plans: joins whose shared build side puts out rows itself
//! are partitioned on both sides instead.
//!
//! A `CollectLeft` left, full, left semi, left anti or left mark join knows only at the end of
//! the *whole* probe side which build rows had no match, so its stage is one task. Partitioned,
//! the same join runs in as many tasks as there are partitions. The rule runs right after
//! DataFusion has chosen modes, and before it adds the repartitioning that they need. Null-aware
//! anti joins (`NOT IN`) stay: they need to know of a null anywhere on the probe side.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use operators::restrict::emits_build_rows;

use super::estimate;
use super::rules::{Rule, insert_after, replacing};

/// Below this, one task with all slots beats two more exchanges.
const PROBE_BYTES_MIN: u64 = 32 << 20;

const PARTITION_JOINS: &str = "partition_joins";

/// After the last of these joins have their modes, and their inputs are as they were.
pub(super) const JOINS_ARE_CHOSEN: [&str; 2] = ["join_selection", PARTITION_JOINS];

/// Adds the rule.
pub(super) fn add_rule(rules: &mut Vec<Rule>) {
    insert_after(
        rules,
        &JOINS_ARE_CHOSEN,
        replacing(PARTITION_JOINS, partitioned),
    );
}

fn partitioned(node: &dyn ExecutionPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else {
        return Ok(None);
    };
    let shared = *join.partition_mode() == PartitionMode::CollectLeft;
    if !shared
        || join.null_aware
        || !emits_build_rows(*join.join_type())
        || estimate::scan_bytes(join.right()) < PROBE_BYTES_MIN
    {
        return Ok(None);
    }
    let join = join
        .builder()
        .with_partition_mode(PartitionMode::Partitioned)
        .build()?;
    Ok(Some(Arc::new(join)))
}
