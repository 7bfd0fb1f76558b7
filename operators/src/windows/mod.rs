//! Windows that keep no more of their input than their functions need.
//!
//! DataFusion has two operators. `WindowAggExec`, for frames that reach to a partition's end, keeps all
//! of its input; [`partitions`] keeps a few partitions of it. `BoundedWindowAggExec`, for all other
//! frames, keeps rows with all their columns; [`running`] keeps the columns that are looked at.

mod feed;
mod keys;
mod partitions;
mod running;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

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
use futures::stream::try_unfold;

use partitions::Windows;
use running::Beside;

/// The plan with windows that keep little of their input. Positions of nodes stay as they are.
pub fn lean_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let (input, windows, frames) = if let Some(whole) = node.downcast_ref::<WindowAggExec>() {
            (whole.input(), whole.window_expr(), Frames::Whole)
        } else if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
            let mode = bounded.input_order_mode.clone();
            (
                bounded.input(),
                bounded.window_expr(),
                Frames::Running(mode),
            )
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

/// Which of DataFusion's operators it stands for.
#[derive(Debug, Clone)]
enum Frames {
    /// To the end of a partition.
    Whole,
    /// Known as rows come, which lie in this order.
    Running(InputOrderMode),
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
            Frames::Whole => {
                let windows = Windows::new(self, partition, &context)?;
                try_unfold(windows, |mut windows| async move {
                    Ok(windows.next().await?.map(|batch| (batch, windows)))
                })
                .boxed()
            }
            Frames::Running(mode) => {
                let beside = Beside::new(self, mode, partition, context)?;
                try_unfold(beside, |mut beside| async move {
                    Ok(beside.next().await?.map(|batch| (batch, beside)))
                })
                .boxed()
            }
        };
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
