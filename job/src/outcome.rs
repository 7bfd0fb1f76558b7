//! What became of a task attempt, and what a failure means for its job.

use crate::{AttemptId, ErrorReport, ExecutorId, StageId};

/// A map output that the scheduler has accepted: whose it is and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapOutput {
    pub attempt: AttemptId,
    pub executor: ExecutorId,
}

/// The accepted map outputs of one producer stage, one per producer task, in task order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLocations {
    pub stage: StageId,
    pub outputs: Vec<MapOutput>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskOutcome {
    Finished(TaskStats),
    Failed(TaskFailure),
    /// It stopped because it was told to; nothing of it remains.
    Cancelled,
}

/// Sizes only: rows never enter the scheduler.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskStats {
    /// Rows the task put out.
    pub rows: u64,
    /// In-memory bytes per exchange segment; empty for result tasks.
    pub segment_bytes: Vec<u64>,
    /// Rows per exchange segment; empty for result tasks.
    pub segment_rows: Vec<u64>,
    /// Bytes written to disk by operators and exchange under memory pressure.
    pub spilled_bytes: u64,
    /// Files written by a table-writing task.
    pub files: Vec<WrittenFile>,
    /// Per operator of the stage plan, in depth-first preorder; for EXPLAIN ANALYZE.
    pub operators: Vec<OperatorMetrics>,
}

/// A file that a table-writing task finished and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Absolute path or object-store URL.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// Counters of one operator in one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorMetrics {
    /// Operator name and arguments on one line, as EXPLAIN prints it.
    pub label: String,
    /// Distance from the stage plan's root.
    pub depth: u32,
    pub output_rows: u64,
    pub output_bytes: u64,
    /// CPU time summed over partitions.
    pub elapsed_compute_ns: u64,
    pub spilled_bytes: u64,
    pub spill_count: u64,
    /// Columns of tables that a scan found in memory.
    pub cached_bytes: u64,
    /// Pieces of these, thousands of rows each, that statistics ruled out.
    pub pruned_pieces: u64,
    /// Rows of these that the scan dropped before all of their columns were decoded.
    pub filtered_rows: u64,
}

/// A failed attempt: the policy reads `kind`, the client sees `error`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFailure {
    pub kind: FailureKind,
    pub error: ErrorReport,
}

/// What a failure means. Retry policy reads this and never the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The statement is at fault (division by zero, bad cast, missing file): it would fail
    /// again anywhere, so the job fails at once.
    Statement,
    /// Memory or disk ran out on this executor; another try elsewhere or later may fit.
    Resources,
    /// I/O failed in a way that may pass: retry.
    Transient,
    /// Map outputs of this producer could not be read: rerun their producers, then this task.
    LostInput {
        stage: StageId,
        outputs: Vec<AttemptId>,
    },
    /// Our bug: a panic or an impossible state. Not retried.
    Internal,
}
