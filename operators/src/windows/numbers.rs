//! `row_number`, `rank` and `dense_rank` of rows that come sorted: they are counted, and nothing is kept.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::windows::WindowUDFExpr;
use datafusion::physical_plan::{InputOrderMode, WindowExpr};
use futures::StreamExt;

use super::keys::Keys;
use super::{LeanWindowsExec, WindowedRows};

/// What is counted for a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Rows of the partition, to this one.
    Row,
    /// Rows of the partition, to the first one that is this one's equal in order.
    Rank,
    /// Groups of equals.
    DenseRank,
}

impl Number {
    fn of(window: &Arc<dyn WindowExpr>) -> Option<Self> {
        let window = window.as_any().downcast_ref::<StandardWindowExpr>()?;
        let function = window.get_standard_func_expr().as_any();
        let function = function.downcast_ref::<WindowUDFExpr>()?;
        match function.fun().name() {
            "row_number" => Some(Self::Row),
            "rank" => Some(Self::Rank),
            "dense_rank" => Some(Self::DenseRank),
            _ => None,
        }
    }
}

/// What is counted for each of some windows, if all of them can be counted.
pub(super) fn numbers(
    windows: &[Arc<dyn WindowExpr>],
    mode: &InputOrderMode,
) -> Option<Vec<Number>> {
    let numbers: Option<_> = windows.iter().map(Number::of).collect();
    numbers.filter(|_| *mode == InputOrderMode::Sorted)
}

/// The rows of one input partition on their way.
pub(super) struct Counting {
    input: SendableRecordBatchStream,
    numbers: Vec<Number>,
    partitions: Keys,
    /// Of rows that are equal in order, in a partition; unless only rows are counted.
    equals: Option<Keys>,
    /// Of the last row.
    last: Counted,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    row: i64,
    rank: i64,
    dense_rank: i64,
}

impl Counting {
    pub(super) fn new(
        exec: &LeanWindowsExec,
        numbers: &[Number],
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<Self> {
        let ranked = numbers.iter().any(|number| *number != Number::Row);
        Ok(Self {
            input: exec.input.execute(partition, context)?,
            numbers: numbers.to_vec(),
            partitions: Keys::of_partitions(&exec.windows),
            equals: ranked.then(|| Keys::of_equals(&exec.windows)),
            last: Counted::default(),
            schema: Arc::clone(&exec.schema),
            metrics: BaselineMetrics::new(&exec.metrics, partition),
        })
    }

    /// The numbers of a batch's rows, for each window.
    fn count(&mut self, batch: &RecordBatch) -> Result<Vec<Vec<i64>>> {
        let rows = batch.num_rows();
        let partitions = self.partitions.beginnings(batch)?;
        // A partition's first row is nobody's equal before it.
        let begins = match &mut self.equals {
            Some(equals) => equals.beginnings(batch)?,
            None => partitions.clone(),
        };
        let counted = self.numbers.iter().map(|_| Vec::with_capacity(rows));
        let mut counted: Vec<Vec<i64>> = counted.collect();
        let mut partitions = partitions.into_iter().peekable();
        let ends = begins.iter().copied().chain([rows]);
        // Rows that go on with the last one's equals, and then those of each group.
        let starts = [None].into_iter().chain(begins.iter().copied().map(Some));
        for (start, end) in starts.zip(ends) {
            if let Some(start) = start {
                if partitions.next_if_eq(&start).is_some() {
                    self.last = Counted::default();
                }
                self.last.rank = self.last.row + 1;
                self.last.dense_rank += 1;
            }
            let here = end - start.unwrap_or_default();
            let first = self.last.row + 1;
            self.last.row += here as i64;
            for (number, counted) in self.numbers.iter().zip(&mut counted) {
                match number {
                    Number::Row => counted.extend(first..=self.last.row),
                    Number::Rank => counted.resize(end, self.last.rank),
                    Number::DenseRank => counted.resize(end, self.last.dense_rank),
                }
            }
        }
        Ok(counted)
    }
}

fn typed(numbers: Vec<i64>, field: &Field) -> Result<ArrayRef> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
    Ok(if field.data_type() == numbers.data_type() {
        numbers
    } else {
        cast(&numbers, field.data_type())?
    })
}

impl WindowedRows for Counting {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = loop {
            match self.input.next().await.transpose()? {
                None => return Ok(None),
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => break batch,
            }
        };
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let counted = self.count(&batch)?;
        let mut columns = batch.columns().to_vec();
        let fields = &self.schema.fields()[columns.len()..];
        for (numbers, field) in counted.into_iter().zip(fields) {
            columns.push(typed(numbers, field)?);
        }
        self.metrics.record_output(batch.num_rows());
        let schema = Arc::clone(&self.schema);
        Ok(Some(RecordBatch::try_new(schema, columns)?))
    }
}
