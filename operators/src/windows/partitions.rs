//! Windows over whole partitions (`PARTITION BY`), a few partitions at a time.
//!
//! DataFusion's `WindowAggExec`, for frames that reach to a partition's end, keeps all of its input, copies it
//! into one batch, and tells no memory pool. Its input is sorted by the partitions' keys, so a
//! partition is complete when the next one begins: the operator here computes and lets go of what is
//! complete, and asks for the memory of what it keeps. A partition that does not fit ends with an
//! error, as its rows are needed at once.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, concat_batches};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::WindowExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::StreamExt;

use super::keys::Keys;
use super::{LeanWindowsExec, WindowedRows};
use crate::compact::compact;

/// The rows of one input partition on their way.
pub(super) struct Windows {
    /// Gone once it has ended.
    input: Option<SendableRecordBatchStream>,
    windows: Vec<Arc<dyn WindowExpr>>,
    schema: SchemaRef,
    batch_size: usize,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    kept_bytes: usize,
    /// So many of the rows that are kept, the first ones, are of partitions that have ended.
    complete: usize,
    keys: Keys,
    computed: VecDeque<RecordBatch>,
    computed_bytes: usize,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

impl Windows {
    pub(super) fn new(
        exec: &LeanWindowsExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let consumer = MemoryConsumer::new(format!("WindowAggExec[{partition}]"));
        Ok(Self {
            input: Some(exec.input.execute(partition, Arc::clone(context))?),
            windows: exec.windows.clone(),
            schema: Arc::clone(&exec.schema),
            batch_size: context.session_config().batch_size(),
            kept: Vec::new(),
            kept_rows: 0,
            kept_bytes: 0,
            complete: 0,
            keys: Keys::of_partitions(&exec.windows),
            computed: VecDeque::new(),
            computed_bytes: 0,
            reservation: consumer.register(context.memory_pool()),
            metrics: BaselineMetrics::new(&exec.metrics, partition),
        })
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // A merge's views point into everything that it has merged.
        let batch = compact(batch)?;
        // Where the last partition begins, everything before it is complete.
        if let Some(last) = self.keys.beginnings(&batch)?.last() {
            self.complete = self.kept_rows + last;
        }
        self.keep(batch);
        self.reserve(0)?;
        if self.complete >= self.batch_size {
            self.compute()?;
        }
        Ok(())
    }

    fn keep(&mut self, batch: RecordBatch) {
        self.kept_rows += batch.num_rows();
        self.kept_bytes += get_record_batch_memory_size(&batch);
        self.kept.push(batch);
    }

    /// Takes the complete partitions off what is kept.
    fn split_off(&mut self) -> Vec<RecordBatch> {
        let (mut left, mut complete) = (std::mem::take(&mut self.complete), Vec::new());
        (self.kept_rows, self.kept_bytes) = (0, 0);
        for batch in std::mem::take(&mut self.kept) {
            let rows = left.min(batch.num_rows());
            left -= rows;
            if rows > 0 {
                complete.push(batch.slice(0, rows));
            }
            if rows < batch.num_rows() {
                self.keep(batch.slice(rows, batch.num_rows() - rows));
            }
        }
        complete
    }

    /// Computes the windows of the partitions that are complete.
    fn compute(&mut self) -> Result<()> {
        let complete = self.split_off();
        let Some(first) = complete.first() else {
            return self.reserve(0);
        };
        // The copy, beside what it is made of.
        let bytes: usize = complete.iter().map(get_record_batch_memory_size).sum();
        self.reserve(2 * bytes)?;
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let batch = concat_batches(&first.schema(), &complete)?;
        drop(complete);
        let beginnings = self.keys.anew().beginnings(&batch)?;
        let ends = beginnings.iter().copied().skip(1).chain([batch.num_rows()]);
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.windows.len()];
        for (start, end) in beginnings.iter().zip(ends) {
            let partition = batch.slice(*start, end - start);
            for (window, results) in self.windows.iter().zip(&mut results) {
                results.push(window.evaluate(&partition)?);
            }
        }
        let mut columns = batch.columns().to_vec();
        for results in results {
            let results: Vec<_> = results.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&results)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.computed_bytes = get_record_batch_memory_size(&batch);
        let rows = batch.num_rows();
        self.computed = (0..rows)
            .step_by(self.batch_size)
            .map(|start| batch.slice(start, self.batch_size.min(rows - start)))
            .collect();
        self.reserve(0)
    }

    /// Asks for the memory of what is kept and computed, and some beside.
    fn reserve(&mut self, beside: usize) -> Result<()> {
        if self.computed.is_empty() {
            self.computed_bytes = 0;
        }
        self.reservation
            .try_resize(self.kept_bytes + self.computed_bytes + beside)
    }
}

impl WindowedRows for Windows {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.computed.pop_front() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            let Some(input) = &mut self.input else {
                return Ok(None);
            };
            match input.next().await {
                Some(batch) => self.take(batch?)?,
                None => {
                    self.input = None;
                    self.complete = self.kept_rows;
                    self.compute()?;
                }
            }
        }
    }
}
