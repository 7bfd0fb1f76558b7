//! Windows that keep no more of their input than their functions need.
//!
//! DataFusion has two operators. `WindowAggExec`, for frames that reach to a partition's end, keeps all
//! of its input; [`partitions`] keeps a few partitions of it, and [`totals`] of aggregates, whose rows it
//! may put on disk meanwhile, none. `BoundedWindowAggExec`, for all other
//! frames, keeps rows with all their columns; [`running`] keeps the columns that are looked at. What is
//! counted of rows in order, [`numbers`] counts, a batch at a time.

mod feed;
mod keys;
mod numbers;
mod partitions;
mod running;
#[cfg(test)]
mod tests;
mod totals;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties, WindowExpr,
};
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};

use numbers::{Counting, Number, numbers};
use partitions::Windows;
use running::Beside;
use totals::{Totals, are_totals};

/// The plan with windows that keep little of their input. Positions of nodes stay as they are.
pub fn lean_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let (input, windows, frames) = if let Some(whole) = node.downcast_ref::<WindowAggExec>() {
            let windows = whole.window_expr();
            let totals = are_totals(windows);
            let frames = if totals {
                Frames::Totals
            } else {
                Frames::Whole
            };
            (whole.input(), windows, frames)
        } else if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
            let (windows, mode) = (bounded.window_expr(), &bounded.input_order_mode);
            let frames = numbers(windows, mode)
                .map_or_else(|| Frames::Running(mode.clone()), Frames::Numbers);
            (bounded.input(), windows, frames)
        } else {
            return Ok(Transformed::no(node));
        };
        let lean = LeanWindowsExec {
            input: Arc::clone(input),
            windows: windows.to_vec(),
            frames,
            properties: Arc::clone(node.properties()),
            schema: node.schema(),
            metrics: ExecutionPlanMetricsSet::new(),
        };
        Ok(Transformed::yes(Arc::new(lean) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// How far they reach.
#[derive(Debug, Clone)]
enum Frames {
    /// To the end of a partition.
    Whole,
    /// All of a partition, for aggregates.
    Totals,
    /// Known as rows come, which lie in this order.
    Running(InputOrderMode),
    /// To the row itself, of which nothing is asked but its place.
    Numbers(Vec<Number>),
}

#[derive(Debug)]
struct LeanWindowsExec {
    input: Arc<dyn ExecutionPlan>,
    /// All with the same partitions and order.
    windows: Vec<Arc<dyn WindowExpr>>,
    frames: Frames,
    properties: Arc<PlanProperties>,
    schema: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl DisplayAs for LeanWindowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows: Vec<&str> = self.windows.iter().map(|window| window.name()).collect();
        write!(f, "LeanWindowsExec: {}", windows.join(", "))
    }
}

impl ExecutionPlan for LeanWindowsExec {
    fn name(&self) -> &str {
        "LeanWindowsExec"
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
            frames: self.frames.clone(),
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
        let batches = match &self.frames {
            Frames::Whole => batches(Windows::new(self, partition, &context)?),
            Frames::Totals => batches(Totals::new(self, partition, &context)?),
            Frames::Running(mode) => batches(Beside::new(self, mode, partition, context)?),
            Frames::Numbers(numbers) => batches(Counting::new(self, numbers, partition, context)?),
        };
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// The rows of one input partition on their way to the output, with their windows.
trait WindowedRows: Send + 'static {
    /// The next of them; `None` behind the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<RecordBatch>>> + Send;
}

fn batches(rows: impl WindowedRows) -> BoxStream<'static, Result<RecordBatch>> {
    try_unfold(rows, |mut rows| async move {
        Ok(rows.next().await?.map(|batch| (batch, rows)))
    })
    .boxed()
}
