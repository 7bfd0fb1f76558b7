//! Hands batches to a join in pieces, each so small that the join is back for the next one soon.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::{Stream, StreamExt};

/// Rows of the first piece: nobody knows yet what a row costs.
const FIRST_ROWS: usize = 16;
/// A piece that takes longer is followed by one of half as many rows; one that takes less than an
/// eighth of it by one of twice as many.
const PIECE_MAX: Duration = Duration::from_millis(16);

/// Passes its input on in pieces, in order, and lets go of the thread after each slow one.
#[derive(Debug)]
pub(crate) struct PacedExec {
    input: Arc<dyn ExecutionPlan>,
}

impl PacedExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }
}

impl DisplayAs for PacedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PacedExec")
    }
}

impl ExecutionPlan for PacedExec {
    fn name(&self) -> &str {
        "PacedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
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
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0))))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(PacedStream {
            input: self.input.execute(partition, context)?,
            rest: None,
            rows: FIRST_ROWS,
            given: None,
        }))
    }
}

struct PacedStream {
    input: SendableRecordBatchStream,
    /// What is left of the last batch.
    rest: Option<RecordBatch>,
    /// Of the next piece, at most.
    rows: usize,
    /// When the last piece was handed out. Whatever happened since is taken for its cost: too much
    /// where the consumer of the join was slow, and then small pieces cost nothing that matters.
    given: Option<Instant>,
}

impl PacedStream {
    /// Learns from the last piece. Returns whether it was a slow one.
    fn learn(&mut self) -> bool {
        let Some(took) = self.given.take().map(|given| given.elapsed()) else {
            return false;
        };
        if took > PIECE_MAX {
            self.rows = (self.rows / 2).max(1);
        } else if took < PIECE_MAX / 8 {
            self.rows = self.rows.saturating_mul(2);
        }
        took > PIECE_MAX / 2
    }

    fn piece(&mut self, batch: RecordBatch) -> RecordBatch {
        self.given = Some(Instant::now());
        if batch.num_rows() <= self.rows {
            return batch;
        }
        self.rest = Some(batch.slice(self.rows, batch.num_rows() - self.rows));
        batch.slice(0, self.rows)
    }
}

impl Stream for PacedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.learn() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) => batch,
                other => return Poll::Ready(other),
            },
        };
        Poll::Ready(Some(Ok(self.piece(batch))))
    }
}

impl RecordBatchStream for PacedStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    fn paced(batches: Vec<RecordBatch>) -> PacedStream {
        let schema = batches[0].schema();
        let batches = futures::stream::iter(batches.into_iter().map(Ok));
        PacedStream {
            input: Box::pin(RecordBatchStreamAdapter::new(schema, batches)),
            rest: None,
            rows: FIRST_ROWS,
            given: None,
        }
    }

    fn batch(values: std::ops::Range<i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("v", DataType::Int64, false)]);
        let values = Int64Array::from_iter_values(values);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap()
    }

    #[tokio::test]
    async fn every_row_passes_once_and_in_order_while_pieces_grow() {
        let mut stream = paced(vec![
            batch(0..5_000),
            batch(5_000..5_000),
            batch(5_000..9_000),
        ]);
        let (mut values, mut pieces) = (Vec::new(), Vec::new());
        while let Some(piece) = stream.next().await {
            let piece = piece.unwrap();
            let column = piece.column(0).as_primitive::<Int64Type>();
            assert_eq!(column.null_count(), 0);
            values.extend_from_slice(column.values());
            pieces.push(piece.num_rows());
        }
        assert_eq!(values, (0..9_000).collect::<Vec<_>>());
        assert_eq!(pieces[0], FIRST_ROWS);
        assert!(pieces.len() > 3, "{pieces:?}");
    }

    #[tokio::test]
    async fn a_slow_join_gets_smaller_pieces_and_gives_way() {
        let mut stream = paced(vec![batch(0..1_000)]);
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), FIRST_ROWS);
        // Time can't be told what to be, so the stream is told when it began.
        let long_ago = Instant::now().checked_sub(PIECE_MAX * 2).unwrap();
        stream.given = Some(long_ago);
        let waker = futures::task::noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(stream.poll_next_unpin(&mut cx).is_pending());
        let next = stream.next().await.unwrap().unwrap();
        assert_eq!(next.num_rows(), FIRST_ROWS / 2);
    }
}
