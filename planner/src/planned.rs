//! What planning a statement yields.

use std::sync::Arc;

use catalog::TempWrite;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionConfig;
use job::JobGraph;
use operators::StagePlan;
use operators::rows::copy::CopyOptions;

use crate::bind::reads::Reads;
use crate::plan_cache::ResultSlot;
use crate::replan::Replan;
use crate::statement::ExplainOptions;

/// One statement's execution, ready for the scheduler (`graph`) and the executors (`plans`).
#[derive(Debug, Clone)]
pub struct PlannedJob {
    pub graph: JobGraph,
    /// `plans[i]` belongs to `graph.stages[i]`.
    pub plans: Vec<Arc<StagePlan>>,
    pub placement: Placement,
    /// Memory that its hash tables are expected to take on all executors together; `None` where
    /// that is little.
    pub memory_bytes: Option<u64>,
    /// Columns of the result, with `firesteel.pg_type` metadata where Arrow has no such type.
    pub schema: SchemaRef,
    /// Session configuration the tasks run under: batch size, time zone, session facts.
    pub session_config: SessionConfig,
    /// How to plan it again if it runs out of memory before its first row is out; `None` where
    /// that would change nothing.
    pub replan: Option<Box<Replan>>,
    /// What it was planned for, if it could be used again.
    pub(crate) reads: Option<Arc<Reads>>,
    /// Where its rows are kept; `None` where they are not.
    pub results: Option<ResultSlot>,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Reads no table data (constants, what statistics know, catalog tables): one stage, run in the
    /// driver at once, outside admission.
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
    /// Rows for the client as COPY data.
    CopyOut {
        job: PlannedJob,
        options: CopyOptions,
    },
    /// Run with the rows dropped, then print the plan with what was measured.
    ExplainAnalyze {
        job: PlannedJob,
        options: ExplainOptions,
    },
    /// Run, then commit the files its tasks report: INSERT, and CREATE TABLE AS into a table the
    /// server has just created. Dropping it without a commit leaves nothing behind.
    Write(PlannedWrite),
}

/// A job that writes into a temporary table.
#[derive(Debug)]
pub struct PlannedWrite {
    pub job: PlannedJob,
    /// Takes the [`job::WrittenFile`]s of the accepted attempts.
    pub write: TempWrite,
}
