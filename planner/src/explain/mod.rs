//! EXPLAIN: a split plan as the rows of PostgreSQL's `QUERY PLAN` column.
//!
//! ```text
//! Stage 1: 16 partitions, sliced -> hash exchange, 16 segments
//!   ->  AggregateExec: mode=Partial, ...  (rows=120 bytes=9 kB time=1.234 ms)
//! ```
//!
//! The last stage, whose rows the client gets, comes first, then each stage before its producers.
//! What tasks have measured is added up per operator ([`merge`]); this module reads it and runs
//! nothing. The options of EXPLAIN are parsed with the statement.

mod merge;
mod text;

use job::TaskStats;

pub use text::explain;

/// What the tasks of one stage measured: one entry per accepted attempt.
#[derive(Debug, Clone, Default)]
pub struct StageMeasured {
    pub tasks: Vec<TaskStats>,
}

/// What EXPLAIN ANALYZE adds to the plan.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// `stages[i]` belongs to `graph.stages[i]`; missing ones are printed without numbers.
    pub stages: Vec<StageMeasured>,
    pub planning_ms: Option<f64>,
    pub execution_ms: Option<f64>,
}

/// What is printed beyond the plan itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainOptions {
    /// `VERBOSE`: the output columns of every operator.
    pub verbose: bool,
    /// `COSTS`: the planner's estimates (bytes read per stage).
    pub costs: bool,
    /// `TIMING`: times of operators and of the statement.
    pub timing: bool,
    /// `SUMMARY`: planning and execution time.
    pub summary: bool,
    pub format: ExplainFormat,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self {
            verbose: false,
            costs: true,
            timing: true,
            summary: true,
            format: ExplainFormat::Text,
        }
    }
}

/// Formats that EXPLAIN can print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    Text,
}
