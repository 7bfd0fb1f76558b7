//! A physical optimizer rule: sorts that have to keep more rows than fit sort all of them instead.
//!
//! `ORDER BY … LIMIT n OFFSET m` keeps the first n + m rows in memory and cannot spill them. A sort of everything
//! spills, and its rows are counted off where they come out. So does PostgreSQL when the rows that it
//! would keep exceed `work_mem`.
//!
//! The rule runs where limits have found their sorts, and before sorts tell scans what they need no
//! more.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::estimate;
use super::rules::{Rule, insert_after, replacing};

/// Adds the rule: a sort keeps rows of so many bytes at most.
pub(super) fn add_rule(rules: &mut Vec<Rule>, bytes_max: u64) {
    let rule = replacing("large_tops", move |node| Ok(sort_all(node, bytes_max)));
    insert_after(rules, &["LimitPushdown"], rule);
}

fn sort_all(node: &dyn ExecutionPlan, bytes_max: u64) -> Option<Arc<dyn ExecutionPlan>> {
    let sort = node.downcast_ref::<SortExec>()?;
    let rows = sort.fetch()?;
    (estimate::top_bytes(sort, rows) > bytes_max).then(|| {
        let all = Arc::new(sort.with_fetch(None));
        Arc::new(LocalLimitExec::new(all, rows)) as _
    })
}
