//! DISTINCT as GROUP BY of all columns, always.
//!
//! DataFusion leaves it out where it takes the input for unique, by functional dependencies that
//! it gets wrong above joins: `SELECT DISTINCT z FROM (SELECT DISTINCT b, z FROM t CROSS JOIN
//! (SELECT DISTINCT z FROM s))` kept every row.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};

/// In place of DataFusion's rule of this name.
const NAME: &str = "replace_distinct_aggregate";

#[derive(Debug)]
pub(crate) struct AlwaysDistinct {
    /// For DISTINCT ON.
    inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl AlwaysDistinct {
    /// Takes the place of DataFusion's rule.
    pub(crate) fn install(optimizer: &mut Optimizer) {
        for rule in &mut optimizer.rules {
            if rule.name() == NAME {
                *rule = Arc::new(Self {
                    inner: Arc::clone(rule),
                });
            }
        }
    }
}

impl OptimizerRule for AlwaysDistinct {
    fn name(&self) -> &str {
        NAME
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Distinct(Distinct::All(input)) if !input.schema().fields().is_empty() => {
                let columns = input.schema().columns();
                let groups = columns.into_iter().map(Expr::Column).collect();
                let plan = Aggregate::try_new(input, groups, Vec::new())?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(plan)))
            }
            other => self.inner.rewrite(other, config),
        }
    }
}
