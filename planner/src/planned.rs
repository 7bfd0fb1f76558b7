//! What planning a statement yields.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionConfig;
use job::JobGraph;
use operators::StagePlan;

/// One statement's execution, ready for the scheduler (`graph`) and the executors (`plans`).
#[derive(Debug, Clone)]
pub struct PlannedJob {
    pub graph: JobGraph,
    /// `plans[i]` belongs to `graph.stages[i]`.
    pub plans: Vec<Arc<StagePlan>>,
    pub placement: Placement,
    /// Columns of the result, with `firesteel.pg_type` metadata where Arrow has no such type.
    pub schema: SchemaRef,
    /// Session configuration the tasks run under: batch size, time zone, session facts.
    pub session_config: SessionConfig,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Reads no table data (constants, catalog tables): one stage, run in the driver at once,
    /// outside admission.
    Driver,
    /// Goes through the scheduler.
    Executors,
}

/// A planned statement.
#[derive(Debug)]
pub enum Planned {
    /// Rows for the client.
    Query(PlannedJob),
    /// Rows the driver has already: EXPLAIN, SHOW TABLES.
    Rows {
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    },
    /// Run with the rows dropped, then print the plan with what was measured.
    ExplainAnalyze { job: PlannedJob },
}
