//! Windows computed as rows come (`row_number() OVER (ORDER BY …)`), of the columns they look at.
//!
//! DataFusion's `BoundedWindowAggExec` puts each batch, with all its columns, behind the rows that it still
//! needs, and it needs the last one of a partition always. Of text that keeps all there ever was, since
//! a concatenation of views holds the texts of both sides, for ever. So here it is fed the columns that
//! its functions look at, the rows pass it by as they came, and its results are put beside them.
//!
//! Text that a function returns (`lag(text)`) is fed as it is, and kept: so that operator is made anew
//! now and then, where a partition begins. Of one partition it keeps all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::windows::BoundedWindowAggExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode, WindowExpr};
use futures::StreamExt;

use super::feed::FeedExec;
use super::{LeanWindowsExec, WindowedRows};

/// Results of rows that still pass.
#[derive(Default)]
struct Pending {
    results: VecDeque<RecordBatch>,
    rows: usize,
}

impl Pending {
    fn push(&mut self, results: RecordBatch) {
        self.rows += results.num_rows();
        self.results.push_back(results);
    }

    /// The first `rows` of them, of which there are so many.
    fn take(&mut self, rows: usize) -> Result<RecordBatch> {
        let (mut taken, mut left) = (Vec::new(), rows);
        while left > 0 {
            let first = self.results.pop_front();
            let first = first.ok_or_else(|| internal_datafusion_err!("rows without a window"))?;
            let here = left.min(first.num_rows());
            if here < first.num_rows() {
                let rest = first.slice(here, first.num_rows() - here);
                self.results.push_front(rest);
            }
            taken.push(first.slice(0, here));
            left -= here;
        }
        self.rows -= rows;
        match &taken[..] {
            [one] => Ok(one.clone()),
            [first, ..] => Ok(concat_batches(&first.schema(), &taken)?),
            [] => internal_err!("a batch without rows was kept"),
        }
    }
}

/// The rows of one partition, and their windows beside them.
pub(super) struct Beside {
    windows: Vec<Arc<dyn WindowExpr>>,
    mode: InputOrderMode,
    feed: FeedExec,
    context: Arc<TaskContext>,
    operator: Option<Operator>,
    pending: Pending,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

/// DataFusion's operator, over what it is fed.
struct Operator {
    plan: BoundedWindowAggExec,
    results: SendableRecordBatchStream,
    /// So much of its time is in our metrics.
    counted_ns: usize,
}

impl Beside {
    pub(super) fn new(
        exec: &LeanWindowsExec,
        mode: &InputOrderMode,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<Self> {
        let consumer = MemoryConsumer::new(format!("BoundedWindowAggExec[{partition}]"));
        let mut beside = Self {
            windows: exec.windows.clone(),
            mode: mode.clone(),
            feed: FeedExec::new(
                &exec.windows,
                mode,
                &exec.input,
                exec.input.execute(partition, Arc::clone(&context))?,
                consumer.register(context.memory_pool()),
            ),
            context,
            operator: None,
            pending: Pending::default(),
            schema: Arc::clone(&exec.schema),
            metrics: BaselineMetrics::new(&exec.metrics, partition),
        };
        beside.begin()?;
        Ok(beside)
    }

    /// The operator has ended: another one goes on, if there are more rows.
    fn go_on(&mut self) -> Result<()> {
        self.operator = None;
        let (goes_on, none_waits) = {
            let feeding = self.feed.feeding.lock();
            (feeding.goes_on(), feeding.passing.is_empty())
        };
        if !none_waits || self.pending.rows > 0 {
            return internal_err!("windows of other rows than were read");
        }
        if goes_on { self.begin() } else { Ok(()) }
    }

    fn begin(&mut self) -> Result<()> {
        self.feed.feeding.lock().begin();
        let (windows, feed) = (self.windows.clone(), Arc::new(self.feed.clone()));
        let plan = BoundedWindowAggExec::try_new(windows, feed, self.mode.clone(), false)?;
        self.operator = Some(Operator {
            results: plan.execute(0, Arc::clone(&self.context))?,
            plan,
            counted_ns: 0,
        });
        Ok(())
    }
}

impl Operator {
    async fn next(&mut self, metrics: &BaselineMetrics) -> Result<Option<RecordBatch>> {
        let computed = self.results.next().await.transpose();
        let total = self
            .plan
            .metrics()
            .and_then(|metrics| metrics.elapsed_compute());
        let total = total.unwrap_or(self.counted_ns);
        let more = Duration::from_nanos((total - self.counted_ns) as u64);
        metrics.elapsed_compute().add_duration(more);
        self.counted_ns = total;
        computed
    }
}

impl WindowedRows for Beside {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let passed = self.feed.feeding.lock().passing.pop(self.pending.rows);
            if let Some(batch) = passed {
                let results = self.pending.take(batch.num_rows())?;
                let columns = batch.columns().iter().chain(results.columns());
                let columns = columns.map(Arc::clone).collect();
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(RecordBatch::try_new(
                    Arc::clone(&self.schema),
                    columns,
                )?));
            }
            let Some(operator) = &mut self.operator else {
                return Ok(None);
            };
            match operator.next(&self.metrics).await? {
                Some(computed) => {
                    let all = computed.num_columns();
                    let results: Vec<usize> = (all - self.windows.len()..all).collect();
                    self.pending.push(computed.project(&results)?);
                }
                None => self.go_on()?,
            }
        }
    }
}
