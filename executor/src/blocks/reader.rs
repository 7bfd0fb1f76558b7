//! The reading end: the segments of this executor's map outputs, as DataFusion streams.
//!
//! A part in memory is handed out as it is, shared with the block. A part on disk is read in a
//! blocking thread, checked against its checksum and decoded; one part is read ahead. Whatever
//! is wrong with a map output (dropped, truncated, damaged, never here) is `LostInput` of that
//! output, so that its producer runs again; an output of another executor is refused.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::Stream;
use job::{ExecutorId, MapOutput as OutputLocation};
use operators::exchange::ExchangeReader;
use tokio::task::JoinHandle;

use super::BlockManager;
use super::frame;
use super::map_output::{MapOutput, PartRead};
use crate::error::ExecutorError;

/// Reads what this executor holds.
pub(crate) struct LocalReader {
    executor: ExecutorId,
    blocks: Arc<BlockManager>,
}

impl LocalReader {
    pub(crate) fn new(executor: ExecutorId, blocks: Arc<BlockManager>) -> Self {
        Self { executor, blocks }
    }

    fn open(&self, location: OutputLocation, segment: u32) -> Result<Cursor> {
        let OutputLocation { attempt, executor } = location;
        if executor != self.executor {
            return Err(ExecutorError::RemoteOutput {
                output: attempt,
                holder: executor,
            }
            .into());
        }
        let output = self
            .blocks
            .sealed_output(attempt)
            .ok_or_else(|| lost(attempt, "it is not here"))?;
        if segment >= output.segments() {
            return Err(DataFusionError::Internal(format!(
                "segment {segment} of {attempt}, which has {}",
                output.segments()
            )));
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

impl ExchangeReader for LocalReader {
    fn read_segment(
        &self,
        output: OutputLocation,
        segment: u32,
        schema: SchemaRef,
    ) -> SendableRecordBatchStream {
        match self.open(output, segment) {
            Ok(cursor) => Box::pin(RecordBatchStreamAdapter::new(schema, cursor.into_stream())),
            Err(error) => Box::pin(RecordBatchStreamAdapter::new(
                schema,
                futures::stream::iter([Err(error)]),
            )),
        }
    }
}

fn lost(output: job::AttemptId, reason: impl ToString) -> ExecutorError {
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
    fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        futures::stream::try_unfold(self, |mut cursor| async move {
            Ok(cursor.advance().await?.map(|batch| (batch, cursor)))
        })
    }

    async fn advance(&mut self) -> Result<Option<RecordBatch>> {
        let reading = match self.ahead.take() {
            Some(reading) => reading,
            None => match self.output.part(self.segment, self.next) {
                PartRead::Batch(batch) => {
                    self.next += 1;
                    return Ok(Some(batch));
                }
                PartRead::Frame(file, frame) => {
                    tokio::task::spawn_blocking(move || frame::read(&file, frame))
                }
                PartRead::End => {
                    let bytes = self.output.mark_read(self.segment);
                    self.blocks.ledger().mark_read(self.output.attempt(), bytes);
                    return Ok(None);
                }
                PartRead::Gone => {
                    return Err(lost(self.output.attempt(), "it was dropped").into());
                }
            },
        };
        let bytes = reading
            .await
            .map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?
            .map_err(|error| lost(self.output.attempt(), error))?;
        self.next += 1;
        if let PartRead::Frame(file, frame) = self.output.part(self.segment, self.next) {
            self.ahead = Some(tokio::task::spawn_blocking(move || {
                frame::read(&file, frame)
            }));
        }
        let batch = frame::decode(bytes).map_err(|error| lost(self.output.attempt(), error))?;
        Ok(Some(batch))
    }
}
