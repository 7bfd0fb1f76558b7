//! Fills the values of a plan's scalar subqueries before the plan runs.
//!
//! DataFusion's `ScalarSubqueryExec` does the same, but it refuses to run twice over one set of
//! values, and its expressions hold that very set. In `local` mode one set is shared by every
//! stage and every attempt of a job, so this node takes its place everywhere: a value that is
//! there is used, a missing one is computed, and of two that raced the first stays. All are the
//! same value: a job reads one snapshot, and when it is cut the subquery is one stage whose
//! stored row everyone reads.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::{ScalarSubqueryResults, SubqueryIndex};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use job::{ErrorReport, SqlState};
use tokio::sync::OnceCell;

/// Passes its input's rows through, after it has run the subqueries.
#[derive(Debug)]
pub struct ScalarSubqueriesExec {
    input: Arc<dyn ExecutionPlan>,
    /// One partition each, of zero or one row.
    subqueries: Vec<(SubqueryIndex, Arc<dyn ExecutionPlan>)>,
    results: ScalarSubqueryResults,
    /// Shared by the partitions of this copy: the subqueries run once per task.
    filled: Arc<OnceCell<()>>,
    properties: Arc<PlanProperties>,
}

impl ScalarSubqueriesExec {
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        subqueries: Vec<(SubqueryIndex, Arc<dyn ExecutionPlan>)>,
        results: ScalarSubqueryResults,
    ) -> Result<Self> {
        for (_, plan) in &subqueries {
            let partitions = plan.properties().output_partitioning().partition_count();
            let columns = plan.schema().fields().len();
            if partitions != 1 || columns != 1 {
                return internal_err!(
                    "scalar subquery of {columns} columns in {partitions} partitions"
                );
            }
        }
        Ok(Self {
            properties: Arc::clone(input.properties()),
            input,
            subqueries,
            results,
            filled: Arc::default(),
        })
    }

    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub fn subqueries(&self) -> &[(SubqueryIndex, Arc<dyn ExecutionPlan>)] {
        &self.subqueries
    }

    pub fn results(&self) -> &ScalarSubqueryResults {
        &self.results
    }
}

impl DisplayAs for ScalarSubqueriesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "ScalarSubqueriesExec: subqueries={}",
            self.subqueries.len()
        )
    }
}

impl ExecutionPlan for ScalarSubqueriesExec {
    fn name(&self) -> &'static str {
        "ScalarSubqueriesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input)
            .chain(self.subqueries.iter().map(|(_, plan)| plan))
            .collect()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        let (Some(input), true) = (children.next(), children.len() == self.subqueries.len()) else {
            return internal_err!("ScalarSubqueriesExec got the wrong number of children");
        };
        let indexes = self.subqueries.iter().map(|(index, _)| *index);
        Ok(Arc::new(Self::try_new(
            input,
            indexes.zip(children).collect(),
            self.results.clone(),
        )?))
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        let mut kept = vec![false; 1 + self.subqueries.len()];
        kept[0] = true;
        kept
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 1 + self.subqueries.len()]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let filled = Arc::clone(&self.filled);
        let subqueries = self.subqueries.clone();
        let results = self.results.clone();
        let rows = futures::stream::once(async move {
            filled
                .get_or_try_init(|| fill(subqueries, results, Arc::clone(&context)))
                .await?;
            // The input is opened only now: opening a scan may already evaluate its predicate.
            input.execute(partition, context)
        })
        .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

async fn fill(
    subqueries: Vec<(SubqueryIndex, Arc<dyn ExecutionPlan>)>,
    results: ScalarSubqueryResults,
    context: Arc<TaskContext>,
) -> Result<()> {
    let missing = subqueries
        .into_iter()
        .filter(|(index, _)| results.get(*index).is_none());
    futures::future::try_join_all(missing.map(|(index, plan)| {
        let context = Arc::clone(&context);
        let results = results.clone();
        async move {
            let value = single_value(plan, context).await?;
            // The only way this fails with the slot filled is that another task of the job was
            // faster; its value is ours too.
            match results.set(index, value) {
                Err(_) if results.get(index).is_some() => Ok(()),
                other => other,
            }
        }
    }))
    .await?;
    Ok(())
}

/// The value of a subquery: its one row, or null when it has none.
async fn single_value(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Result<ScalarValue> {
    let mut rows = plan.execute(0, context)?;
    let mut value = None;
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        if value.is_some() || batch.num_rows() > 1 {
            return Err(DataFusionError::External(Box::new(ErrorReport::new(
                SqlState::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            ))));
        }
        value = Some(ScalarValue::try_from_array(batch.column(0), 0)?);
    }
    match value {
        Some(value) => Ok(value),
        None => ScalarValue::try_from(plan.schema().field(0).data_type()),
    }
}
