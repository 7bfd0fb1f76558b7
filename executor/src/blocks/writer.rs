//! The writing end of a map output.
//!
//! A task holds one [`MapOutputHandle`]; each of its partitions writes through its own
//! [`SegmentWriter`]. Batches stay in memory while there is room. When the ledger finds none,
//! even after moving other blocks, the writer puts its whole map output on disk and goes on: a
//! producer never waits for a consumer. An output whose handle is dropped before it was sealed
//! is freed: the attempt failed or was cancelled.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use job::AttemptId;

use super::BlockManager;
use super::compact::{compact, memory_bytes};
use super::map_output::{Dropped, MapOutput, SegmentSizes};
use crate::error::ExecutorError;

pub(crate) struct MapOutputHandle {
    blocks: Arc<BlockManager>,
    output: Arc<MapOutput>,
    sealed: bool,
}

impl MapOutputHandle {
    pub(super) fn new(blocks: Arc<BlockManager>, output: Arc<MapOutput>) -> Self {
        Self {
            blocks,
            output,
            sealed: false,
        }
    }

    pub(crate) fn writer(&self) -> SegmentWriter {
        SegmentWriter {
            blocks: Arc::clone(&self.blocks),
            output: Arc::clone(&self.output),
            held: 0,
        }
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        self.output.attempt()
    }

    /// It is a copy of what is no longer there: those who wait for it need not try.
    pub(crate) fn lose(self, reason: String) {
        self.output.set_lost(reason);
    }

    /// All writers are done: readers may come, until the job is dropped.
    pub(crate) fn seal(mut self) -> Result<SegmentSizes> {
        let attempt = self.output.attempt();
        let sizes = self
            .output
            .seal()
            .map_err(|Dropped| ExecutorError::Dropped(attempt))?;
        self.sealed = true;
        Ok(sizes)
    }
}

impl Drop for MapOutputHandle {
    fn drop(&mut self) {
        if !self.sealed {
            self.blocks.drop_output(&self.output);
        }
    }
}

pub(crate) struct SegmentWriter {
    blocks: Arc<BlockManager>,
    output: Arc<MapOutput>,
    /// Charged for rows that the partitioner holds back.
    held: u64,
}

impl SegmentWriter {
    /// Appends a batch to a segment. May write to disk.
    pub(crate) fn append(&mut self, segment: u32, batch: RecordBatch) -> Result<()> {
        let batch = compact(batch)?;
        let bytes = memory_bytes(&batch);
        let attempt = self.output.attempt();
        let fits = self.charge(bytes);
        let pushed = self.output.push(segment, batch, bytes, || {
            self.blocks.ledger().unpin(attempt, bytes, bytes);
        });
        if let Err(Dropped) = pushed {
            self.blocks
                .release(|ledger| ledger.unpin(attempt, bytes, 0));
            return Err(ExecutorError::Dropped(attempt).into());
        }
        if fits { Ok(()) } else { self.move_out() }
    }

    /// Charges for `bytes` that the partitioner holds, in place of what was charged before.
    pub(crate) fn hold(&mut self, bytes: u64) -> Result<()> {
        let attempt = self.output.attempt();
        if bytes < self.held {
            let less = self.held - bytes;
            self.blocks.release(|ledger| ledger.unpin(attempt, less, 0));
            self.held = bytes;
            return Ok(());
        }
        let fits = self.charge(bytes - self.held);
        self.held = bytes;
        if fits { Ok(()) } else { self.move_out() }
    }

    /// Charges in any case; `false` asks the caller to move the block out next.
    fn charge(&self, bytes: u64) -> bool {
        let attempt = self.output.attempt();
        if bytes == 0 {
            return true;
        }
        let granted = self
            .blocks
            .acquire(|ledger| ledger.try_store(attempt, bytes))
            .is_ok();
        if !granted {
            self.blocks.ledger().store(attempt, bytes);
        }
        granted
    }

    fn move_out(&self) -> Result<()> {
        self.blocks
            .move_whole(self.output.attempt())
            .map_err(|error| DataFusionError::from(ExecutorError::from_disk(error)))
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if self.held > 0 {
            let (attempt, held) = (self.output.attempt(), self.held);
            self.blocks.release(|ledger| ledger.unpin(attempt, held, 0));
        }
    }
}
