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
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use operators::restrict::emits_build_rows;

use super::estimate;

/// Below this, one task with all slots beats two more exchanges.
const PROBE_BYTES_MIN: u64 = 32 << 20;

pub(super) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

const PARTITION_JOINS: &str = "partition_joins";

/// The session's rules with ours added.
pub(super) fn with_rule(rules: &[Rule]) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    let after = joins_are_chosen(&rules);
    rules.insert(after, Arc::new(PartitionJoins));
    rules
}

/// The place in a list of rules where joins have their modes, and their inputs are as they were.
pub(super) fn joins_are_chosen(rules: &[Rule]) -> usize {
    let chosen = |rule: &Rule| ["join_selection", PARTITION_JOINS].contains(&rule.name());
    rules.iter().rposition(chosen).map_or(0, |at| at + 1)
}

#[derive(Debug)]
struct PartitionJoins;

impl PhysicalOptimizerRule for PartitionJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let shared = *join.partition_mode() == PartitionMode::CollectLeft;
            if !shared
                || join.null_aware
                || !emits_build_rows(*join.join_type())
                || estimate::scan_bytes(join.right()) < PROBE_BYTES_MIN
            {
                return Ok(Transformed::no(node));
            }
            let join = join
                .builder()
                .with_partition_mode(PartitionMode::Partitioned)
                .build()?;
            Ok(Transformed::yes(Arc::new(join) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        PARTITION_JOINS
    }

    fn schema_check(&self) -> bool {
        true
    }
}
