//! A physical optimizer rule: sorts that have to keep more rows than fit sort all of them instead.
//!
//! `ORDER BY … LIMIT n OFFSET m` keeps the first n + m rows in memory and cannot spill them. A sort of everything
//! spills, and its rows are counted off where they come out. So does PostgreSQL when the rows that it
//! would keep exceed `work_mem`.
//!
//! The rule runs where limits have found their sorts, and before sorts tell scans what they need no
//! more.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::estimate;
use super::partition_joins::Rule;

/// `rules` with ours added: a sort keeps rows of so many bytes at most.
pub(super) fn with_rule(rules: &[Rule], bytes_max: u64) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    let pushed = rules
        .iter()
        .rposition(|rule| rule.name() == "LimitPushdown");
    rules.insert(
        pushed.map_or(rules.len(), |at| at + 1),
        Arc::new(LargeTops { bytes_max }),
    );
    rules
}

#[derive(Debug)]
struct LargeTops {
    bytes_max: u64,
}

impl PhysicalOptimizerRule for LargeTops {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            match sort.fetch() {
                Some(rows) if estimate::top_bytes(sort, rows) > self.bytes_max => {
                    let all = Arc::new(sort.with_fetch(None));
                    Ok(Transformed::yes(
                        Arc::new(LocalLimitExec::new(all, rows)) as _
                    ))
                }
                Some(_) | None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "large_tops"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
