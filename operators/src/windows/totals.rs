//! Aggregates of whole partitions: `sum(x) OVER (PARTITION BY k)`, `count(*) OVER ()`.
//!
//! All rows of a partition have the same results, and to be aggregated they are not needed together. So each row is
//! aggregated as it comes and then waits for the end of its partition: on disk, in order, where there is no memory
//! for those that wait.
//!
//! FILTER is an argument by now (`functions::FilterIsArgument`): nothing could read it from a window.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::window::PlainAggregateWindowExpr;
use datafusion::physical_plan::WindowExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, SpillMetrics};
use datafusion::physical_plan::spill::spill_pool::{SpillPoolSink, spsc_channel};
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use super::keys::Keys;
use super::{LeanWindowsExec, WindowedRows};
use crate::compact::compact;

/// Whether all rows of a partition have the same results, and those of aggregates.
pub(super) fn are_totals(windows: &[Arc<dyn WindowExpr>]) -> bool {
    windows.iter().all(|window| {
        let frame = window.get_window_frame();
        window.as_any().is::<PlainAggregateWindowExpr>()
            && frame.start_bound.is_unbounded()
            && frame.end_bound.is_unbounded()
    })
}

/// The rows of one input partition on their way.
pub(super) struct Totals {
    /// Gone once it has ended.
    input: Option<SendableRecordBatchStream>,
    windows: Vec<Arc<dyn WindowExpr>>,
    keys: Keys,
    open: Open,
    ended: VecDeque<Ended>,
    /// Rows of `ended`.
    ended_rows: usize,
    disk: Disk,
    /// Behind those on disk.
    waiting: VecDeque<RecordBatch>,
    waiting_bytes: usize,
    schema: SchemaRef,
    spills: Arc<SpillManager>,
    /// Of each of the files that are read and let go of one after the other.
    file_bytes: usize,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

/// The partition that goes on.
struct Open {
    rows: usize,
    accumulators: Vec<Box<dyn Accumulator>>,
}

impl Open {
    fn new(windows: &[Arc<dyn WindowExpr>]) -> Result<Self> {
        let accumulator = |window: &Arc<dyn WindowExpr>| match aggregate(window) {
            Some(window) => window.get_aggregate_expr().create_accumulator(),
            None => internal_err!("{} is not an aggregate", window.name()),
        };
        Ok(Self {
            rows: 0,
            accumulators: windows.iter().map(accumulator).collect::<Result<_>>()?,
        })
    }

    fn bytes(&self) -> usize {
        self.accumulators.iter().map(|one| one.size()).sum()
    }
}

/// A partition that has ended.
struct Ended {
    /// Of those that are still to be handed out.
    rows: usize,
    /// For each window.
    results: Vec<ScalarValue>,
}

/// Rows that found no memory.
enum Disk {
    Unused,
    /// The partition that goes on, and what is before it in its first batch.
    Writing(SpillPoolSink, SendableRecordBatchStream),
    /// It has ended.
    Reading(SendableRecordBatchStream),
}

fn aggregate(window: &Arc<dyn WindowExpr>) -> Option<&PlainAggregateWindowExpr> {
    window.as_any().downcast_ref()
}

impl Totals {
    pub(super) fn new(
        exec: &LeanWindowsExec,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let input = exec.input.execute(partition, Arc::clone(context))?;
        let spilled = SpillMetrics::new(&exec.metrics, partition);
        let spills = SpillManager::new(context.runtime_env(), spilled, input.schema());
        let config = context.session_config();
        let spills = spills.with_compression_type(config.spill_compression());
        let consumer = MemoryConsumer::new(format!("WindowAggExec[{partition}]"));
        Ok(Self {
            input: Some(input),
            windows: exec.windows.clone(),
            keys: Keys::of_partitions(&exec.windows),
            open: Open::new(&exec.windows)?,
            ended: VecDeque::new(),
            ended_rows: 0,
            disk: Disk::Unused,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            schema: Arc::clone(&exec.schema),
            spills: Arc::new(spills),
            file_bytes: config.options().execution.max_spill_file_size_bytes.into(),
            reservation: consumer
                .with_can_spill(true)
                .register(context.memory_pool()),
            metrics: BaselineMetrics::new(&exec.metrics, partition),
        })
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        // A merge's views point into everything that it has merged.
        let batch = compact(batch)?;
        let arguments = self
            .windows
            .iter()
            .map(|window| window.evaluate_args(&batch))
            .collect::<Result<Vec<_>>>()?;
        let mut start = 0;
        for beginning in self.keys.beginnings(&batch)? {
            self.aggregate(&arguments, start, beginning)?;
            self.end_partition()?;
            start = beginning;
        }
        self.aggregate(&arguments, start, rows)?;
        self.wait(batch)
    }

    /// Rows from `start` to `end` of a batch are of the partition that goes on.
    fn aggregate(&mut self, arguments: &[Vec<ArrayRef>], start: usize, end: usize) -> Result<()> {
        if end == start {
            return Ok(());
        }
        for (accumulator, arguments) in self.open.accumulators.iter_mut().zip(arguments) {
            let these = arguments.iter().map(|all| all.slice(start, end - start));
            accumulator.update_batch(&these.collect::<Vec<_>>())?;
        }
        self.open.rows += end - start;
        Ok(())
    }

    fn end_partition(&mut self) -> Result<()> {
        if self.open.rows == 0 {
            return Ok(());
        }
        let next = Open::new(&self.windows)?;
        let mut open = std::mem::replace(&mut self.open, next);
        let results = open.accumulators.iter_mut().map(|one| one.evaluate());
        self.ended.push_back(Ended {
            rows: open.rows,
            results: results.collect::<Result<_>>()?,
        });
        self.ended_rows += open.rows;
        self.disk = match std::mem::replace(&mut self.disk, Disk::Unused) {
            Disk::Writing(_, written) => Disk::Reading(written),
            other => other,
        };
        Ok(())
    }

    /// Keeps a batch until its last partition ends.
    fn wait(&mut self, batch: RecordBatch) -> Result<()> {
        if let Disk::Writing(file, _) = &self.disk {
            file.push_batch(&batch)?;
            return self.reserve();
        }
        self.waiting_bytes += get_record_batch_memory_size(&batch);
        self.waiting.push_back(batch);
        match self.reserve() {
            Err(error) if is_refusal(&error) => {
                // What can be handed out goes before others do.
                if self.front_has_ended() || matches!(self.disk, Disk::Reading(_)) {
                    return Ok(());
                }
                let (file, written) = spsc_channel(self.file_bytes, Arc::clone(&self.spills));
                for batch in self.waiting.drain(..) {
                    file.push_batch(&batch)?;
                }
                self.waiting_bytes = 0;
                self.disk = Disk::Writing(file, written);
                self.reserve()
            }
            reserved => reserved,
        }
    }

    fn reserve(&mut self) -> Result<()> {
        self.reservation
            .try_resize(self.waiting_bytes + self.open.bytes())
    }

    /// Whether all partitions of the first batch in memory have ended.
    fn front_has_ended(&self) -> bool {
        let front = self.waiting.front();
        front.is_some_and(|batch| batch.num_rows() <= self.ended_rows)
    }

    /// The next batch of which all partitions have ended.
    async fn ended(&mut self) -> Result<Option<RecordBatch>> {
        if let Disk::Reading(batches) = &mut self.disk {
            if let Some(batch) = batches.next().await.transpose()? {
                return Ok(Some(batch));
            }
            self.disk = Disk::Unused;
        }
        if matches!(self.disk, Disk::Writing(..)) || !self.front_has_ended() {
            return Ok(None);
        }
        let front = self.waiting.pop_front();
        let bytes = front.as_ref().map_or(0, get_record_batch_memory_size);
        self.waiting_bytes -= bytes;
        let held = self.waiting_bytes + self.open.bytes();
        self.reservation
            .shrink(self.reservation.size().saturating_sub(held));
        Ok(front)
    }

    /// A batch with its partitions' results.
    fn with_results(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut results: Vec<Vec<ScalarValue>> = vec![Vec::new(); self.windows.len()];
        // For each row, whose result it has of these.
        let mut places: Vec<u32> = Vec::with_capacity(rows);
        for partition in 0.. {
            let Some(ended) = self.ended.front_mut().filter(|_| places.len() < rows) else {
                break;
            };
            let here = ended.rows.min(rows - places.len());
            places.resize(places.len() + here, partition);
            for (results, result) in results.iter_mut().zip(&ended.results) {
                results.push(result.clone());
            }
            ended.rows -= here;
            if ended.rows == 0 {
                self.ended.pop_front();
            }
        }
        if places.len() < rows {
            return exec_err!("{} of {rows} rows have no partition", rows - places.len());
        }
        self.ended_rows -= rows;
        let places = UInt32Array::from(places);
        let mut columns = batch.columns().to_vec();
        for results in results {
            columns.push(match &results[..] {
                [one] => one.to_array_of_size(rows)?,
                _ => take(&ScalarValue::iter_to_array(results)?, &places, None)?,
            });
        }
        self.metrics.record_output(rows);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

fn is_refusal(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

impl WindowedRows for Totals {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let elapsed = self.metrics.elapsed_compute().clone();
        loop {
            if let Some(batch) = self.ended().await? {
                let _timer = elapsed.timer();
                return Ok(Some(self.with_results(&batch)?));
            }
            let Some(input) = &mut self.input else {
                return match self.ended_rows {
                    0 => Ok(None),
                    lost => exec_err!("{lost} rows did not come back from disk"),
                };
            };
            let next = input.next().await.transpose()?;
            let _timer = elapsed.timer();
            match next {
                Some(batch) => self.take(batch)?,
                None => {
                    self.input = None;
                    self.end_partition()?;
                }
            }
        }
    }
}
