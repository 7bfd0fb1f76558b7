//! Nodes that DataFusion's bytes would change travel changed by ourselves, below a stand-in that
//! says what they were.
//!
//! `GROUP BY ()` and grouping sets that are all without columns: there is one flag for each column
//! of each set in the bytes, so that of sets without columns nothing is left. Long series: neither
//! their order nor that nobody wants their column.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};

use super::others::{decode_ordering, encode_ordering};
use crate::proto;
use crate::proto::plan_node::Node;

/// More are a mistake.
const SETS_MAX: u32 = 4096;

/// Only for the way: never part of a plan that runs.
#[derive(Debug)]
pub(super) struct StandInExec {
    node: Node,
    /// What DataFusion's bytes do not change.
    input: Arc<dyn ExecutionPlan>,
    /// Of what it stands for.
    properties: Arc<PlanProperties>,
}

impl StandInExec {
    pub(super) fn node(&self) -> &Node {
        &self.node
    }
}

pub(super) fn to_stock(
    plan: Arc<dyn ExecutionPlan>,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let changed = if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            without_groups(aggregate)?
        } else if let Some(series) = node.downcast_ref::<LazyMemoryExec>() {
            Some(without_order(series, codec, converter)?)
        } else {
            None
        };
        Ok(match changed {
            Some((stands_for, input)) => Transformed::yes(Arc::new(StandInExec {
                node: stands_for,
                input,
                properties: Arc::clone(node.properties()),
            }) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    })
    .data()
}

type StandIn = (Node, Arc<dyn ExecutionPlan>);

fn without_groups(aggregate: &AggregateExec) -> Result<Option<StandIn>> {
    let groups = aggregate.group_expr();
    let sets = groups.groups().len();
    if !groups.is_empty() || !groups.has_grouping_set() || sets == 0 {
        return Ok(None);
    }
    let sets = u32::try_from(sets)
        .map_err(|_| internal_datafusion_err!("{sets} grouping sets without columns"))?;
    let input = Arc::new(grouped(aggregate, PhysicalGroupBy::default())?);
    Ok(Some((Node::EmptySets(proto::EmptySets { sets }), input)))
}

/// The other end of [`to_stock`] for grouping sets.
pub(super) fn decode_empty_sets(
    sets: u32,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<AggregateExec> {
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
    grouped(aggregate, groups)
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

fn without_order(
    series: &LazyMemoryExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<StandIn> {
    let schema = LazyMemoryExec::schema(series);
    let counts_only = schema.fields().is_empty();
    // The type of a column that nobody wants: our long series are of integers.
    let whole = if counts_only {
        Arc::new(Schema::new(vec![Field::new(
            "value",
            DataType::Int64,
            false,
        )]))
    } else {
        schema
    };
    let orderings = series.properties().equivalence_properties().oeq_class();
    let orderings = orderings
        .iter()
        .map(|ordering| encode_ordering(ordering, codec, converter));
    let node = Node::Series(proto::Series {
        counts_only,
        orderings: orderings.collect::<Result<_>>()?,
    });
    let input = LazyMemoryExec::try_new(whole, series.generators().clone())?;
    Ok((node, Arc::new(input)))
}

/// The other end of [`to_stock`] for series.
pub(super) fn decode_series(
    message: &proto::Series,
    inputs: &[Arc<dyn ExecutionPlan>],
    context: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<LazyMemoryExec> {
    let [input] = inputs else {
        return internal_err!("a series of {} inputs", inputs.len());
    };
    let Some(series) = input.downcast_ref::<LazyMemoryExec>() else {
        return internal_err!("a series made by {}", input.name());
    };
    let projection = message.counts_only.then(Vec::new);
    let mut series = LazyMemoryExec::try_new(input.schema(), series.generators().clone())?
        .with_projection(projection);
    for ordering in &message.orderings {
        let schema = LazyMemoryExec::schema(&series);
        series.add_ordering(decode_ordering(ordering, &schema, context, converter)?);
    }
    Ok(series)
}

impl DisplayAs for StandInExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StandInExec: {:?}", self.node)
    }
}

impl ExecutionPlan for StandInExec {
    fn name(&self) -> &str {
        "StandInExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = children.as_slice() else {
            return internal_err!("a stand-in of {} inputs", children.len());
        };
        Ok(Arc::new(Self {
            node: self.node.clone(),
            input: Arc::clone(input),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a stand-in was not decoded")
    }
}
