//! `GROUP BY ()` and grouping sets that are all without columns.
//!
//! DataFusion's bytes have one flag for each column of each set, so that of sets without columns
//! nothing is left. Such an aggregate travels without groups below a node that counts its sets.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// More are a mistake.
const SETS_MAX: u32 = 4096;

/// Only for the way: never part of a plan that runs.
#[derive(Debug)]
pub(super) struct EmptySetsExec {
    sets: u32,
    /// Without its groups.
    aggregate: Arc<dyn ExecutionPlan>,
    /// Of what it stands for.
    properties: Arc<PlanProperties>,
}

impl EmptySetsExec {
    pub(super) fn sets(&self) -> u32 {
        self.sets
    }
}

pub(super) fn to_stock(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        let groups = aggregate.group_expr();
        let sets = groups.groups().len();
        if !groups.is_empty() || !groups.has_grouping_set() || sets == 0 {
            return Ok(Transformed::no(node));
        }
        let sets = u32::try_from(sets)
            .map_err(|_| internal_datafusion_err!("{sets} grouping sets without columns"))?;
        let stand_in = EmptySetsExec {
            sets,
            aggregate: Arc::new(grouped(aggregate, PhysicalGroupBy::default())?),
            properties: Arc::clone(node.properties()),
        };
        Ok(Transformed::yes(
            Arc::new(stand_in) as Arc<dyn ExecutionPlan>
        ))
    })
    .data()
}

/// The other end of [`to_stock`], for one node.
pub(super) fn decode(
    sets: u32,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let [input] = inputs else {
        return internal_err!("grouping sets of {} aggregates", inputs.len());
    };
    let Some(aggregate) = input.downcast_ref::<AggregateExec>() else {
        return internal_err!("grouping sets of {}", input.name());
    };
    if sets == 0 || sets > SETS_MAX {
        return internal_err!("{sets} grouping sets without columns");
    }
    let groups = vec![Vec::new(); sets as usize];
    let groups = PhysicalGroupBy::new(Vec::new(), Vec::new(), groups, true);
    Ok(Arc::new(grouped(aggregate, groups)?))
}

fn grouped(aggregate: &AggregateExec, groups: PhysicalGroupBy) -> Result<AggregateExec> {
    Ok(AggregateExec::try_new(
        *aggregate.mode(),
        groups,
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )?
    .with_limit_options(aggregate.limit_options()))
}

impl DisplayAs for EmptySetsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmptySetsExec: {}", self.sets)
    }
}

impl ExecutionPlan for EmptySetsExec {
    fn name(&self) -> &str {
        "EmptySetsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.aggregate]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [aggregate] = children.as_slice() else {
            return internal_err!("grouping sets of {} aggregates", children.len());
        };
        Ok(Arc::new(Self {
            sets: self.sets,
            aggregate: Arc::clone(aggregate),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("grouping sets were not decoded")
    }
}
