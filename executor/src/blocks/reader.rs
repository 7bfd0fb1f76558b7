//! The reading end: the segments of this executor's map outputs, as DataFusion streams for its
//! own tasks and as frames for other executors.
//!
//! A part in memory is handed out as it is, shared with the block. A part on disk is read in a
//! blocking thread and checked against its checksum; one part is read ahead. Whatever is wrong
//! with a map output (dropped, truncated, damaged, never here) is `LostInput` of that output, so
//! that its producer runs again.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};
use job::AttemptId;
use tokio::task::JoinHandle;

use super::BlockManager;
use super::frame;
use super::map_output::{MapOutput, PartRead};
use crate::error::ExecutorError;

/// Reads what this executor holds.
#[derive(Clone)]
pub(crate) struct LocalReader {
    blocks: Arc<BlockManager>,
}

/// A batch as it is kept.
pub(crate) enum StoredPart {
    Memory(RecordBatch),
    /// The checked bytes of a frame.
    Disk(Vec<u8>),
}

impl LocalReader {
    pub(crate) fn new(blocks: Arc<BlockManager>) -> Self {
        Self { blocks }
    }

    pub(crate) fn blocks(&self) -> &Arc<BlockManager> {
        &self.blocks
    }

    /// A segment's batches. Opened at the first poll.
    pub(crate) fn batches(
        &self,
        output: AttemptId,
        segment: u32,
        schema: &SchemaRef,
    ) -> SendableRecordBatchStream {
        let batches = self.parts(output, segment).map(move |part| {
            let batch = match part? {
                StoredPart::Memory(batch) => batch,
                StoredPart::Disk(bytes) => {
                    frame::decode(bytes).map_err(|error| lost(output, error))?
                }
            };
            Ok(batch)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches))
    }

    /// A segment's batches as they are kept. Opened at the first poll.
    pub(crate) fn parts(
        &self,
        output: AttemptId,
        segment: u32,
    ) -> impl Stream<Item = Result<StoredPart, ExecutorError>> + Send + use<> {
        let reader = self.clone();
        futures::stream::once(async move { reader.open(output, segment) })
            .map_ok(Cursor::into_stream)
            .try_flatten()
    }

    fn open(&self, attempt: AttemptId, segment: u32) -> Result<Cursor, ExecutorError> {
        let output = self
            .blocks
            .sealed_output(attempt)
            .ok_or_else(|| lost(attempt, "it is not here"))?;
        if segment >= output.segments() {
            return Err(lost(
                attempt,
                format!("it has no segment {segment}, only {}", output.segments()),
            ));
        }
        Ok(Cursor {
            blocks: Arc::clone(&self.blocks),
            output,
            segment,
            next: 0,
            ahead: None,
        })
    }
}

pub(crate) fn lost(output: AttemptId, reason: impl ToString) -> ExecutorError {
    ExecutorError::LostInput {
        output,
        reason: reason.to_string(),
    }
}

/// A position in a segment.
struct Cursor {
    blocks: Arc<BlockManager>,
    output: Arc<MapOutput>,
    segment: u32,
    next: usize,
    /// The part at `next`, being read.
    ahead: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Cursor {
    fn into_stream(self) -> impl Stream<Item = Result<StoredPart, ExecutorError>> + Send {
        futures::stream::try_unfold(self, |mut cursor| async move {
            Ok(cursor.advance().await?.map(|part| (part, cursor)))
        })
    }

    async fn advance(&mut self) -> Result<Option<StoredPart>, ExecutorError> {
        let reading = match self.ahead.take() {
            Some(reading) => reading,
            None => match self.output.part(self.segment, self.next) {
                PartRead::Batch(batch) => {
                    self.next += 1;
                    return Ok(Some(StoredPart::Memory(batch)));
                }
                PartRead::Frame(file, frame) => {
                    tokio::task::spawn_blocking(move || frame::read(&file, frame))
                }
                PartRead::End => {
                    let bytes = self.output.mark_read(self.segment);
                    self.blocks.ledger().mark_read(self.output.attempt(), bytes);
                    return Ok(None);
                }
                PartRead::Gone => return Err(lost(self.output.attempt(), "it was dropped")),
            },
        };
        let bytes = reading
            .await
            .map_err(|error| ExecutorError::Panic(format!("a disk read panicked: {error}")))?
            .map_err(|error| lost(self.output.attempt(), error))?;
        self.next += 1;
        if let PartRead::Frame(file, frame) = self.output.part(self.segment, self.next) {
            self.ahead = Some(tokio::task::spawn_blocking(move || {
                frame::read(&file, frame)
            }));
        }
        Ok(Some(StoredPart::Disk(bytes)))
    }
}
