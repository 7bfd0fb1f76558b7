//! The two ends of an exchange inside a task: the leaf that reads segments, and the dealer that
//! cuts a task's output into segments.
//!
//! ```text
//!   producer task: plan -> Partitioner -> segments ... block manager ... ExchangeSourceExec -> plan
//! ```
//!
//! How segments are kept, spilled and fetched belongs to the executor, which hands its reader to
//! a task as [`TaskInputs`] in the session configuration's extensions.

mod partitioner;
mod source;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use job::{ExchangeKind, InputLocations, MapOutput};

pub use partitioner::{Dealt, Partitioner};
pub use source::{ExchangeSourceExec, Segments};

/// One segment of one map output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentId {
    pub output: MapOutput,
    pub segment: u32,
}

/// Reads stored segments; implemented by the executor.
pub trait ExchangeReader: Send + Sync {
    /// Streams that together give the batches of all `wanted` segments. A stream carries one
    /// segment or several, in the order wanted and stored; the streams come in that order too,
    /// but for segments that are fetched together. Nothing is opened before the first poll. A
    /// segment that got no rows yields no batches; a map output that is gone is an error item.
    /// Batches on their way from elsewhere are charged to `memory`. What is broadcast is wanted by
    /// other tasks here as well.
    fn read_segments(
        &self,
        wanted: Vec<SegmentId>,
        kind: ExchangeKind,
        schema: &SchemaRef,
        memory: &Arc<dyn MemoryPool>,
    ) -> Vec<SendableRecordBatchStream>;
}

/// What a task's exchange sources read, found in the `SessionConfig`'s extensions by type:
/// `config.with_extension(Arc::new(TaskInputs { .. }))`.
pub struct TaskInputs {
    pub reader: Arc<dyn ExchangeReader>,
    /// One entry per stage that the task's stage reads.
    pub inputs: Vec<Arc<InputLocations>>,
}
