//! Where a partition's rows go: one function per sink, each a loop over the stream.
//!
//! A sink returns what its partition adds to the task's statistics. It is cancelled by being
//! dropped, at any `await`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::StreamExt;
use job::{AttemptId, SqlError, WrittenFile};
use operators::compact::shown_bytes;
use operators::exchange::Partitioner;
use operators::files::FileWriter;
use operators::rows::{ResultEncoder, RowChunk};
use operators::{ExchangeSpec, FileSpec, RowSpec};

use crate::blocks::SegmentWriter;
use crate::results::{ReaderGone, ResultWriter};

/// Batches are encoded in slices of about this size, so that wide rows don't pile up encoded.
const ENCODE_BYTES: usize = 4 << 20;

/// A row group ends early where memory is short, but no file is cut into crumbs.
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;

/// What one partition of a task did.
#[derive(Debug, Default)]
pub(crate) struct PartitionDone {
    pub(crate) rows: u64,
    pub(crate) file: Option<FinishedFile>,
}

/// Why a partition stopped early.
#[derive(Debug)]
pub(crate) enum Stopped {
    Failed(DataFusionError),
    /// Nobody reads the rows any more.
    ReaderGone,
}

impl From<DataFusionError> for Stopped {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// Into the segments of a map output.
pub(crate) async fn exchange(
    mut stream: SendableRecordBatchStream,
    spec: &ExchangeSpec,
    partition: u32,
    batch_size: usize,
    mut writer: SegmentWriter,
) -> Result<PartitionDone, Stopped> {
    let mut partitioner = Partitioner::try_new(spec, stream.schema(), partition, batch_size)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        for (segment, dealt) in partitioner.partition(batch)? {
            writer.append(segment, dealt)?;
        }
        writer.hold(partitioner.held_bytes() as u64)?;
        tokio::task::consume_budget().await;
    }
    for (segment, dealt) in partitioner.finish()? {
        writer.append(segment, dealt)?;
    }
    Ok(PartitionDone { rows, file: None })
}

/// Encoded, to whoever reads the result.
pub(crate) async fn rows(
    mut stream: SendableRecordBatchStream,
    spec: &RowSpec,
    writer: ResultWriter,
) -> Result<PartitionDone, Stopped> {
    let mut encoder = Encoder::new(&stream, spec)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        for slice in slices(batch) {
            for chunk in encoder.encode(&slice)? {
                writer
                    .send(chunk)
                    .await
                    .map_err(|ReaderGone| Stopped::ReaderGone)?;
            }
        }
        tokio::task::consume_budget().await;
    }
    Ok(PartitionDone { rows, file: None })
}

/// The row encoder, with its errors as DataFusion's.
pub(crate) struct Encoder(ResultEncoder);

impl Encoder {
    pub(crate) fn new(stream: &SendableRecordBatchStream, spec: &RowSpec) -> Result<Self> {
        ResultEncoder::new(&stream.schema(), spec)
            .map(Self)
            .map_err(|error| DataFusionError::External(Box::new(error.report())))
    }

    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<RowChunk>> {
        self.0
            .encode(batch)
            .map_err(|error| DataFusionError::External(Box::new(error.report())))
    }
}

/// `batch` in slices that are encoded at once.
pub(crate) fn slices(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let bytes = if rows > 1 { shown_bytes(&batch) } else { 0 };
    let at_once = if bytes <= ENCODE_BYTES {
        rows
    } else {
        rows / bytes.div_ceil(ENCODE_BYTES)
    }
    .max(1);
    (0..rows)
        .step_by(at_once)
        .map(move |start| batch.slice(start, at_once.min(rows - start)))
}

/// Into a new file of a table.
pub(crate) async fn file(
    mut stream: SendableRecordBatchStream,
    spec: &FileSpec,
    attempt: AttemptId,
    partition: u32,
    pool: &Arc<dyn MemoryPool>,
) -> Result<PartitionDone, Stopped> {
    let buffered = MemoryConsumer::new(format!("FileWriter[{partition}]"))
        .with_can_spill(true)
        .register(pool);
    let mut writer = FileWriter::create(spec, attempt, partition, stream.schema())?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        // Encoding is computation, so it has its place on a slot's thread.
        writer.write(&batch)?;
        if let Err(full) = buffered.try_resize(writer.buffered_bytes()) {
            if writer.buffered_bytes() < ROW_GROUP_BYTES_MIN {
                return Err(full.into());
            }
            writer.end_row_group()?;
            buffered.try_resize(writer.buffered_bytes())?;
        }
        tokio::task::consume_budget().await;
    }
    let file = writer.finish()?;
    Ok(PartitionDone {
        rows,
        file: Some(FinishedFile(Some(file))),
    })
}

/// Counted and dropped.
pub(crate) async fn discard(
    mut stream: SendableRecordBatchStream,
) -> Result<PartitionDone, Stopped> {
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch?.num_rows() as u64;
        tokio::task::consume_budget().await;
    }
    Ok(PartitionDone { rows, file: None })
}

/// A written file that is removed again unless its attempt finishes as a whole.
#[derive(Debug)]
pub(crate) struct FinishedFile(Option<WrittenFile>);

impl FinishedFile {
    pub(crate) fn keep(mut self) -> Option<WrittenFile> {
        self.0.take()
    }
}

impl Drop for FinishedFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            let path = PathBuf::from(file.path);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "could not remove a file of a failed attempt");
            }
        }
    }
}
