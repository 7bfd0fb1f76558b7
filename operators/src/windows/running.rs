//! Windows computed as rows come (`row_number() OVER (ORDER BY …)`), of the columns they look at.
//!
//! DataFusion's `BoundedWindowAggExec` puts each batch, with all its columns, behind the rows that it still
//! needs, and it needs the last one of a partition always. Of text that keeps all there ever was, since
//! a concatenation of views holds the texts of both sides, for ever. So here it is fed the columns that
//! its functions look at, the rows pass it by as they came, and its results are put beside them.
//!
//! Text that a function returns (`lag(text)`) is fed as it is, and still kept while its partition lasts.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::BoundedWindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties, WindowExpr,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::compact::{compact, compact_array};

/// So many batches may wait for their results as they came, like any between two operators. Those
/// behind them wait for as long as a frame reaches: they are compacted, and charged.
const FREE_BATCHES: usize = 4;

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

    /// What DataFusion's operator is fed, and the rows that pass it by.
    fn feed(&self) -> FeedExec {
        let fields = self.input.schema();
        let columns = fed_columns(&self.windows, &fields);
        let fields = fields.fields().iter().zip(&columns);
        let fields: Vec<Field> = fields.map(|(field, fed)| fed.field(field)).collect();
        FeedExec {
            input: Arc::clone(&self.input),
            columns: columns.into(),
            schema: Arc::new(Schema::new(fields)),
            passing: Arc::default(),
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
        let feed = self.feed();
        let passing = Arc::clone(&feed.passing);
        let inner = BoundedWindowAggExec::try_new(
            self.windows.clone(),
            Arc::new(feed),
            self.mode.clone(),
            false,
        )?;
        let beside = Beside {
            results: inner.execute(partition, context)?,
            inner,
            passing,
            windows: self.windows.len(),
            pending: Pending::default(),
            schema: Arc::clone(&self.schema),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            counted_ns: 0,
        };
        let batches = futures::stream::try_unfold(beside, |mut beside| async move {
            Ok(beside.next().await?.map(|batch| (batch, beside)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }
}

/// What becomes of an input column on its way into DataFusion's operator.
#[derive(Clone, Debug, PartialEq)]
enum Fed {
    /// Nothing looks at it: nulls without a type keep its place.
    Not,
    /// Partitions or rows are told apart by it, and nothing else is done: views as plain text.
    As(DataType),
    Same,
}

impl Fed {
    fn field(&self, field: &Field) -> Field {
        match self {
            Self::Not => Field::new(field.name(), DataType::Null, true),
            Self::As(data_type) => field.clone().with_data_type(data_type.clone()),
            Self::Same => field.clone(),
        }
    }

    fn column(&self, column: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Not => Arc::new(NullArray::new(column.len())),
            Self::As(data_type) => cast(column, data_type)?,
            Self::Same => compact_array(column)?.unwrap_or_else(|| Arc::clone(column)),
        })
    }
}

/// For each column of the input. Conditions (`FILTER`) are arguments by now (`functions::filtered`).
fn fed_columns(windows: &[Arc<dyn WindowExpr>], schema: &Schema) -> Vec<Fed> {
    let (mut used, mut told_apart_by) = (BTreeSet::new(), BTreeSet::new());
    for window in windows {
        let expressions = window.all_expressions();
        let keys = expressions.partition_by_exprs.iter();
        for key in keys.chain(&expressions.order_by_exprs) {
            match key.downcast_ref::<Column>() {
                Some(column) => drop(told_apart_by.insert(column.index())),
                None => used.extend(indices(key)),
            }
        }
        used.extend(expressions.args.iter().flat_map(indices));
    }
    let fields = schema.fields().iter().enumerate();
    let fed = fields.map(|(index, field)| {
        if used.contains(&index) {
            return Fed::Same;
        }
        if !told_apart_by.contains(&index) {
            return Fed::Not;
        }
        match field.data_type() {
            DataType::Utf8View => Fed::As(DataType::LargeUtf8),
            DataType::BinaryView => Fed::As(DataType::LargeBinary),
            _ => Fed::Same,
        }
    });
    fed.collect()
}

fn indices(expr: &Arc<dyn PhysicalExpr>) -> impl Iterator<Item = usize> + use<> {
    collect_columns(expr)
        .into_iter()
        .map(|column| column.index())
}

/// Below DataFusion's operator, for one execution of one partition.
#[derive(Debug)]
struct FeedExec {
    input: Arc<dyn ExecutionPlan>,
    /// One for each column of the input.
    columns: Arc<[Fed]>,
    schema: SchemaRef,
    passing: Arc<Mutex<Passing>>,
}

impl DisplayAs for FeedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedExec")
    }
}

impl ExecutionPlan for FeedExec {
    fn name(&self) -> &str {
        "FeedExec"
    }

    /// Orders and partitions are the input's: by columns that are fed.
    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("made for one execution, and never part of a plan")
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("BoundedWindowAggExec[{partition}]"));
        self.passing.lock().reservation = Some(consumer.register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        let (columns, passing) = (Arc::clone(&self.columns), Arc::clone(&self.passing));
        let schema = Arc::clone(&self.schema);
        let fed = input.try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        let fed = fed.map(move |batch| {
            let batch = passing.lock().push(batch?)?;
            let fed = columns.iter().zip(batch.columns());
            let fed = fed
                .map(|(fed, column)| fed.column(column))
                .collect::<Result<_>>()?;
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&schema),
                fed,
                &rows,
            )?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), fed)))
    }
}

/// Batches whose results are still to come, in order.
#[derive(Debug, Default)]
struct Passing {
    /// With the bytes that are charged for each.
    batches: VecDeque<(RecordBatch, usize)>,
    reservation: Option<MemoryReservation>,
}

impl Passing {
    /// The batch, as it is kept.
    fn push(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let (mut batch, mut charged) = (batch, 0);
        if self.batches.len() >= FREE_BATCHES
            && let Some(reservation) = &self.reservation
        {
            batch = compact(batch)?;
            charged = get_record_batch_memory_size(&batch);
            reservation.try_grow(charged)?;
        }
        self.batches.push_back((batch.clone(), charged));
        Ok(batch)
    }

    /// The first batch, if it has no more than so many rows.
    fn pop(&mut self, rows: usize) -> Option<RecordBatch> {
        let (batch, charged) = self
            .batches
            .pop_front_if(|(batch, _)| batch.num_rows() <= rows)?;
        if let Some(reservation) = &self.reservation {
            reservation.shrink(charged);
        }
        Some(batch)
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
    inner: BoundedWindowAggExec,
    results: SendableRecordBatchStream,
    passing: Arc<Mutex<Passing>>,
    /// How many columns, the last ones, of what the inner operator returns are results.
    windows: usize,
    pending: Pending,
    schema: SchemaRef,
    metrics: BaselineMetrics,
    /// So much of the inner operator's time is in the metrics.
    counted_ns: usize,
}

impl Beside {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let passed = self.passing.lock().pop(self.pending.rows);
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
            let computed = self.results.next().await.transpose();
            self.count_time();
            let Some(computed) = computed? else {
                return self.end();
            };
            let all = computed.num_columns();
            let results: Vec<usize> = (all - self.windows..all).collect();
            self.pending.push(computed.project(&results)?);
        }
    }

    fn end(&self) -> Result<Option<RecordBatch>> {
        if self.passing.lock().batches.is_empty() && self.pending.rows == 0 {
            Ok(None)
        } else {
            internal_err!("windows of other rows than were read")
        }
    }

    fn count_time(&mut self) {
        let total = self
            .inner
            .metrics()
            .and_then(|metrics| metrics.elapsed_compute());
        let total = total.unwrap_or(self.counted_ns);
        let more = std::time::Duration::from_nanos((total - self.counted_ns) as u64);
        self.metrics.elapsed_compute().add_duration(more);
        self.counted_ns = total;
    }
}
