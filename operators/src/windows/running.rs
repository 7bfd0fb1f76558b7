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
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::BoundedWindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties, WindowExpr,
};
use futures::StreamExt;

use super::feed::FeedExec;

#[derive(Debug)]
pub(super) struct RunningWindowsExec {
    input: Arc<dyn ExecutionPlan>,
    /// All with the same partitions and order.
    windows: Vec<Arc<dyn WindowExpr>>,
    mode: InputOrderMode,
    properties: Arc<PlanProperties>,
    schema: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl RunningWindowsExec {
    /// In the place of `bounded`.
    pub(super) fn of(bounded: &BoundedWindowAggExec) -> Self {
        Self {
            input: Arc::clone(bounded.input()),
            windows: bounded.window_expr().to_vec(),
            mode: bounded.input_order_mode.clone(),
            properties: Arc::clone(bounded.properties()),
            schema: bounded.schema(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for RunningWindowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows: Vec<&str> = self.windows.iter().map(|window| window.name()).collect();
        write!(f, "RunningWindowsExec: {}", windows.join(", "))
    }
}

impl ExecutionPlan for RunningWindowsExec {
    fn name(&self) -> &str {
        "RunningWindowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // Put in when a plan is about to run: nobody looks for its expressions any more.
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            input: children.swap_remove(0),
            windows: self.windows.clone(),
            mode: self.mode.clone(),
            properties: Arc::clone(&self.properties),
            schema: Arc::clone(&self.schema),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("BoundedWindowAggExec[{partition}]"));
        let mut beside = Beside {
            windows: self.windows.clone(),
            mode: self.mode.clone(),
            feed: FeedExec::new(
                &self.windows,
                &self.mode,
                &self.input,
                self.input.execute(partition, Arc::clone(&context))?,
                consumer.register(context.memory_pool()),
            ),
            context,
            operator: None,
            pending: Pending::default(),
            schema: Arc::clone(&self.schema),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        beside.begin()?;
        let batches = futures::stream::try_unfold(beside, |mut beside| async move {
            Ok(beside.next().await?.map(|batch| (batch, beside)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }
}

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
struct Beside {
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
