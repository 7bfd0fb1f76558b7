//! A statement planned once more because its first plan did not fit in memory.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use operators::Sink;

use crate::error::{PlanError, Result};
use crate::planned::{Placement, PlannedJob};
use crate::planner::on_deep_stack;
use crate::split::{Joins, SplitOptions, plan_stages};

/// What a job was planned from: the optimised statement over its snapshot of the tables.
#[derive(Clone)]
pub struct Replan {
    pub(crate) state: Arc<SessionState>,
    pub(crate) optimized: LogicalPlan,
    pub(crate) split: SplitOptions,
    pub(crate) sink: Sink,
    pub(crate) schema: SchemaRef,
    pub(crate) session_config: SessionConfig,
}

impl Replan {
    /// The job for the same rows that holds the least in memory: cut into more pieces, and with
    /// joins that spill. It has no further plan: what does not fit now does not fit.
    pub async fn with_less_memory(&self) -> Result<PlannedJob> {
        let options = SplitOptions {
            joins: Joins::Spilling,
            ..self.split.clone()
        };
        let split = plan_stages(&self.state, &self.optimized, &options, self.sink.clone());
        let split = on_deep_stack(split)
            .await
            .map_err(|error| PlanError::internal(error.to_string()))?;
        Ok(PlannedJob {
            graph: split.graph,
            plans: split.plans,
            placement: Placement::Executors,
            memory_bytes: split.memory_bytes,
            schema: Arc::clone(&self.schema),
            session_config: self.session_config.clone(),
            replan: None,
            reads: None,
            results: None,
        })
    }
}

impl fmt::Debug for Replan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replan").field(&self.optimized).finish()
    }
}
