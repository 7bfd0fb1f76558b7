//! What our physical optimizer rules have in common: a frame, and a place among DataFusion's.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

pub(super) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule that goes through a plan, inputs first, and puts what `replace` gives in a node's place; `None`
/// leaves the node. Schemas stay as they are.
pub(super) fn replacing(
    name: &'static str,
    replace: impl Fn(&dyn ExecutionPlan) -> Result<Option<Arc<dyn ExecutionPlan>>>
    + Send
    + Sync
    + 'static,
) -> Rule {
    Arc::new(Replacing { name, replace })
}

/// Puts `rule` right after the last of those named. Before all where there is none: what a rule looks
/// for is not there yet, so it does nothing.
pub(super) fn insert_after(rules: &mut Vec<Rule>, names: &[&str], rule: Rule) {
    let last = rules.iter().rposition(|rule| names.contains(&rule.name()));
    rules.insert(last.map_or(0, |at| at + 1), rule);
}

struct Replacing<F> {
    name: &'static str,
    replace: F,
}

impl<F> fmt::Debug for Replacing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F> PhysicalOptimizerRule for Replacing<F>
where
    F: Fn(&dyn ExecutionPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> + Send + Sync + 'static,
{
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let other = (self.replace)(node.as_ref())?;
            Ok(other.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}
