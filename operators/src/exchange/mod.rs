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
use job::{InputLocations, MapOutput};

pub use partitioner::{Dealt, Partitioner};
pub use source::{ExchangeSourceExec, Segments};

/// Reads stored segments; implemented by the executor.
pub trait ExchangeReader: Send + Sync {
    /// The batches of one segment of one map output, in the order they were stored. A segment
    /// that got no rows yields no batches; a map output that is gone is an error item.
    fn read_segment(
        &self,
        output: MapOutput,
        segment: u32,
        schema: SchemaRef,
    ) -> SendableRecordBatchStream;
}

/// What a task's exchange sources read, found in the `SessionConfig`'s extensions by type:
/// `config.with_extension(Arc::new(TaskInputs { .. }))`.
pub struct TaskInputs {
    pub reader: Arc<dyn ExchangeReader>,
    /// One entry per stage that the task's stage reads.
    pub inputs: Vec<Arc<InputLocations>>,
}
