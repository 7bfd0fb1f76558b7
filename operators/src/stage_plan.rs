//! A stage's immutable plan: a DataFusion plan from exchange sources or scans, and one sink.
//!
//! The plan is shared by all tasks of the stage and is never executed itself: each attempt runs
//! a restricted, fresh copy (`restrict`).

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use functions::pg_type::{Format, FormatSettings};
use job::{ExchangeKind, StageId};

use crate::rows::copy::CopyOptions;

/// What executors run for a stage.
#[derive(Debug, Clone)]
pub struct StagePlan {
    pub stage: StageId,
    /// Has exactly the stage's partition count.
    pub plan: Arc<dyn ExecutionPlan>,
    pub sink: Sink,
}

/// Where the rows of a stage go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Into the segments of a map output.
    Exchange(ExchangeSpec),
    /// Encoded for the client.
    Rows(RowSpec),
    /// Into new files of a table; reported as [`job::WrittenFile`].
    Files(FileSpec),
    /// Counted and dropped: EXPLAIN ANALYZE.
    Discard,
    /// Into the executors' caches of columns, as far as these want them: CACHE TABLE. Rows that scans find
    /// or put there are not produced, and others are dropped.
    Cache,
}

/// How rows are dealt to segments.
#[derive(Debug, Clone)]
pub struct ExchangeSpec {
    pub kind: ExchangeKind,
    /// Hash keys; empty for the other kinds. Null keys hash like any value.
    pub hash_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// For Gather and Broadcast this equals the stage's partitions: segment i is partition i.
    pub segments: u32,
}

/// How rows are encoded for the client: settled before they are computed, so that executors can
/// do it.
#[derive(Debug, Clone)]
pub struct RowSpec {
    pub form: RowForm,
    pub settings: FormatSettings,
}

/// What a row becomes.
#[derive(Debug, Clone)]
pub enum RowForm {
    /// A `DataRow`. Formats are as in a Bind message: none is text throughout, one is for all
    /// columns.
    Data(Vec<Format>),
    /// A `CopyData` of COPY TO. The columns' names are those the client knows.
    Copy {
        options: CopyOptions,
        names: Vec<String>,
    },
}

/// Files written by a table-writing task: each partition writes its own.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Directory that exists already; files are named by attempt and partition, so that no two
    /// attempts ever write the same file.
    pub directory: String,
}
