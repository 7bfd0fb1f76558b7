//! A statement planned again because its plan did not fit in memory.
//!
//! ```text
//!   Auto --out of memory--> Spilling --one key has too many rows--> Spilling, the other side held
//!     \----one key has too many rows, in a join that sorted----------------^
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use operators::Sink;

use crate::error::{PlanError, Result};
use crate::planned::{Placement, PlannedJob};
use crate::planner::on_deep_stack;
use crate::split::{HeldSide, Joins, SplitOptions, plan_stages};

/// What a job was planned from: the optimised statement over its snapshot of the tables.
#[derive(Clone)]
pub struct Replan {
    pub(crate) state: Arc<SessionState>,
    pub(crate) optimized: LogicalPlan,
    pub(crate) split: SplitOptions,
    pub(crate) sink: Sink,
    pub(crate) schema: SchemaRef,
    pub(crate) session_config: SessionConfig,
    /// Of its sort-merge joins, whether one could hold the other side.
    pub(crate) could_hold_others: bool,
}

impl Replan {
    /// The job for the same rows that holds less in memory: cut into more pieces, and with joins that spill; `None` if
    /// there is none. `held_rows`: this job failed for rows that were needed at once.
    pub async fn with_less_memory(&self, held_rows: bool) -> Result<Option<PlannedJob>> {
        let held = if held_rows && self.could_hold_others {
            HeldSide::Larger
        } else if self.split.joins == Joins::Auto {
            HeldSide::Smaller
        } else {
            return Ok(None);
        };
        let options = SplitOptions {
            joins: Joins::Spilling,
            held,
            ..self.split.clone()
        };
        let split = plan_stages(&self.state, &self.optimized, &options, self.sink.clone());
        let internal = |error: DataFusionError| PlanError::internal(error.to_string());
        let split = on_deep_stack(split).await.map_err(internal)?;
        let could_hold_others = split.could_hold_others().map_err(internal)?;
        let replan = (held == HeldSide::Smaller && could_hold_others).then(|| {
            Box::new(Self {
                split: options,
                could_hold_others,
                ..self.clone()
            })
        });
        Ok(Some(PlannedJob {
            graph: split.graph,
            plans: split.plans,
            placement: Placement::Executors,
            memory_bytes: split.memory_bytes,
            schema: Arc::clone(&self.schema),
            session_config: self.session_config.clone(),
            replan,
            reads: None,
            results: None,
        }))
    }
}

impl fmt::Debug for Replan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replan").field(&self.optimized).finish()
    }
}
