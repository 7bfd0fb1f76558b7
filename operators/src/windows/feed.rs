//! What DataFusion's operator is fed of its input, while the rows pass it by.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties, WindowExpr,
};
use futures::StreamExt;
use parking_lot::Mutex;

use super::keys::Keys;
use crate::compact::{compact, compact_array};

/// A new operator takes over with the next partition when so many bytes of texts are kept.
const KEPT_TEXT_MAX: usize = if cfg!(test) { 1 << 8 } else { 1 << 20 };
/// So many batches may wait for their results as they came, like any between two operators. Those
/// behind them wait for as long as a frame reaches: they are compacted, and charged.
const FREE_BATCHES: usize = 4;

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

fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

/// Below DataFusion's operator, for one execution of one partition.
#[derive(Clone)]
pub(super) struct FeedExec {
    /// Orders and partitions are the input's: by columns that are fed.
    properties: Arc<PlanProperties>,
    schema: SchemaRef,
    pub(super) feeding: Arc<Mutex<Feeding>>,
}

impl FeedExec {
    /// For windows over `input`, whose rows `rows` are.
    pub(super) fn new(
        windows: &[Arc<dyn WindowExpr>],
        mode: &InputOrderMode,
        input: &Arc<dyn ExecutionPlan>,
        rows: SendableRecordBatchStream,
        reservation: MemoryReservation,
    ) -> Self {
        let columns = fed_columns(windows, &input.schema());
        let fields = input.schema();
        let fields = fields.fields().iter().zip(&columns);
        let fields: Vec<Field> = fields.map(|(field, fed)| fed.field(field)).collect();
        let keeps_texts = fields.iter().any(|field| is_view(field.data_type()));
        let schema = Arc::new(Schema::new(fields));
        let keys = keeps_texts && *mode == InputOrderMode::Sorted;
        Self {
            properties: Arc::clone(input.properties()),
            schema: Arc::clone(&schema),
            feeding: Arc::new(Mutex::new(Feeding {
                input: rows,
                columns,
                schema,
                keys: keys.then(|| Keys::of_partitions(windows)),
                first: None,
                next: None,
                kept_text: 0,
                passing: Passing {
                    batches: VecDeque::new(),
                    reservation,
                },
            })),
        }
    }
}

impl fmt::Debug for FeedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedExec")
    }
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

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
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
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let feeding = Arc::clone(&self.feeding);
        let fed = futures::stream::poll_fn(move |cx| feeding.lock().poll_next(cx));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), fed)))
    }
}

/// The input on its way into one operator after the other.
pub(super) struct Feeding {
    input: SendableRecordBatchStream,
    /// One for each column of the input.
    columns: Vec<Fed>,
    schema: SchemaRef,
    /// Of the partitions between which the operator may be made anew, if it keeps texts.
    keys: Option<Keys>,
    /// What this operator gets first.
    first: Option<RecordBatch>,
    /// What the next one gets first, which is not there yet.
    next: Option<RecordBatch>,
    /// About what the operator keeps of texts.
    kept_text: usize,
    pub(super) passing: Passing,
}

impl Feeding {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            let own = match self.first.take() {
                Some(first) => Some(first),
                None if self.next.is_some() => return Poll::Ready(None),
                None => match ready!(self.input.poll_next_unpin(cx)) {
                    Some(Ok(batch)) if batch.num_rows() == 0 => None,
                    Some(Ok(batch)) => self.split(batch)?,
                    end => return Poll::Ready(end),
                },
            };
            if let Some(batch) = own {
                return Poll::Ready(Some(self.feed(batch)));
            }
        }
    }

    /// Is there more, for another operator?
    pub(super) fn goes_on(&self) -> bool {
        self.next.is_some()
    }

    /// For a new operator.
    pub(super) fn begin(&mut self) {
        self.first = self.next.take();
        self.kept_text = 0;
    }

    /// What of a batch is for this operator.
    fn split(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(keys) = &mut self.keys else {
            return Ok(Some(batch));
        };
        let beginnings = keys.beginnings(&batch)?;
        let Some(first) = beginnings
            .first()
            .filter(|_| self.kept_text >= KEPT_TEXT_MAX)
        else {
            return Ok(Some(batch));
        };
        self.next = Some(batch.slice(*first, batch.num_rows() - first));
        Ok((*first > 0).then(|| batch.slice(0, *first)))
    }

    fn feed(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = self.passing.push(batch)?;
        let fed = self.columns.iter().zip(batch.columns());
        let fed = fed.map(|(fed, column)| fed.column(column));
        let fed = fed.collect::<Result<Vec<_>>>()?;
        if self.keys.is_some() {
            let texts = fed.iter().filter(|column| is_view(column.data_type()));
            self.kept_text += texts
                .map(|text| text.get_buffer_memory_size())
                .sum::<usize>();
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            fed,
            &rows,
        )?)
    }
}

/// Batches whose results are still to come, in order.
pub(super) struct Passing {
    /// With the bytes that are charged for each.
    batches: VecDeque<(RecordBatch, usize)>,
    reservation: MemoryReservation,
}

impl Passing {
    /// The batch, as it is kept.
    fn push(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let (mut batch, mut charged) = (batch, 0);
        if self.batches.len() >= FREE_BATCHES {
            batch = compact(batch)?;
            charged = get_record_batch_memory_size(&batch);
            self.reservation.try_grow(charged)?;
        }
        self.batches.push_back((batch.clone(), charged));
        Ok(batch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The first batch, if it has no more than so many rows.
    pub(super) fn pop(&mut self, rows: usize) -> Option<RecordBatch> {
        let (batch, charged) = self
            .batches
            .pop_front_if(|(batch, _)| batch.num_rows() <= rows)?;
        self.reservation.shrink(charged);
        Some(batch)
    }
}
