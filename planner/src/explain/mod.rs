//! EXPLAIN: a split plan as the rows of PostgreSQL's `QUERY PLAN` column.
//!
//! ```text
//! Stage 1: 16 partitions, sliced into tasks -> hash exchange on [k@0], 16 segments  (tasks=8 rows=120 ...)
//!   ->  AggregateExec: mode=Partial, ...  (rows=120 bytes=9kB time=1.234 ms)
//! ```
//!
//! The last stage, whose rows the client gets, comes first, and each stage before its producers.
//! What tasks have measured is added up per operator ([`merge`]); this module reads it and runs
//! nothing. The options of EXPLAIN are parsed with the statement.

mod json;
mod merge;
mod text;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use job::{JobGraph, TaskStats};
use operators::StagePlan;

use crate::error::{PlanError, Result};
use crate::statement::{ExplainFormat, ExplainOptions};

/// What EXPLAIN ANALYZE adds to the plan.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// `stages[i]` belongs to `graph.stages[i]`: the statistics of its accepted attempts.
    pub stages: Vec<Vec<TaskStats>>,
    pub planning_ms: Option<f64>,
    pub execution_ms: Option<f64>,
    /// The first plan ran out of memory; this is the second.
    pub replanned: bool,
}

/// The `QUERY PLAN` column: a row per line of text, or one row of JSON. `measured` makes it
/// EXPLAIN ANALYZE.
pub fn query_plan(
    graph: &JobGraph,
    plans: &[Arc<StagePlan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> Result<RecordBatch> {
    let lines = lines(graph, plans, options, measured);
    let column: ArrayRef = Arc::new(lines.into_iter().map(Some).collect::<StringArray>());
    let field = Field::new("QUERY PLAN", DataType::Utf8, false);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])
        .map_err(|error| PlanError::internal(error.to_string()))
}

/// The rows of [`query_plan`] as strings.
pub fn lines(
    graph: &JobGraph,
    plans: &[Arc<StagePlan>],
    options: ExplainOptions,
    measured: Option<&Measured>,
) -> Vec<String> {
    match options.format {
        ExplainFormat::Text => text::lines(graph, plans, options, measured),
        ExplainFormat::Json => vec![json::document(graph, plans, options, measured)],
    }
}
