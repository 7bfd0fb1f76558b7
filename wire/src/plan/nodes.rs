//! What `datafusion-proto` does not know: our leaves, some of DataFusion's own nodes, and where
//! functions are found.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err, internal_err, not_impl_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use operators::exchange::ExchangeSourceExec;
use operators::rows::copy::CopySourceExec;
use prost::Message;

use super::fields::with_field;
use super::stand_in::StandInExec;
use super::{copy, exchange, not_a_plan, others, stand_in};
use crate::proto;
use crate::proto::plan_node::Node;

/// Functions by name.
struct Registry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
}

impl Registry {
    fn of(builder: SessionStateBuilder) -> Self {
        let state = builder.build();
        Self {
            scalar: state.scalar_functions().clone(),
            aggregate: state.aggregate_functions().clone(),
            window: state.window_functions().clone(),
        }
    }
}

/// What SQL names.
static OURS: LazyLock<Registry> = LazyLock::new(|| {
    Registry::of(functions::install(
        SessionStateBuilder::new().with_default_features(),
    ))
});

/// DataFusion's own, also where ours has taken the name: planning uses a few of them.
static STOCK: LazyLock<Registry> =
    LazyLock::new(|| Registry::of(SessionStateBuilder::new().with_default_features()));

/// What a plan says of a function of [`STOCK`] beside its name.
const FROM_STOCK: &[u8] = &[1];

/// What a plan says of an aggregate with a condition ([`functions::filtered`]). What it says of the
/// aggregate itself follows, and its name.
const FILTERED: u8 = 2;

/// The nodes that `datafusion-proto` leaves to us, and all functions.
#[derive(Debug, Default)]
pub(super) struct Codec {
    /// Columns of the recursive queries of the plan that is being encoded, by name.
    recursive: HashMap<String, SchemaRef>,
}

impl Codec {
    /// For encoding `plan`.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let mut recursive = HashMap::new();
        plan.apply(|node| {
            if let Some(query) = node.downcast_ref::<RecursiveQueryExec>() {
                recursive.insert(query.name().to_owned(), ExecutionPlan::schema(query));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self { recursive })
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let message = if let Some(source) = node.downcast_ref::<ExchangeSourceExec>() {
            Node::ExchangeSource(exchange::encode(source, self, converter)?)
        } else if let Some(source) = node.downcast_ref::<CopySourceExec>() {
            Node::CopySource(copy::encode_source(source)?)
        } else if let Some(query) = node.downcast_ref::<RecursiveQueryExec>() {
            Node::RecursiveQuery(others::encode_recursive_query(query)?)
        } else if let Some(table) = node.downcast_ref::<WorkTableExec>() {
            Node::WorkTable(others::encode_work_table(table, &self.recursive)?)
        } else if let Some(sort) = node.downcast_ref::<PartialSortExec>() {
            Node::PartialSort(others::encode_partial_sort(sort, self, converter)?)
        } else if let Some(stand_in) = node.downcast_ref::<StandInExec>() {
            stand_in.node().clone()
        } else {
            return not_impl_err!("{} has no form in bytes", node.name());
        };
        let message = proto::PlanNode {
            node: Some(message),
        };
        message
            .encode(buf)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        task: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = proto::PlanNode::decode(buf).map_err(not_a_plan)?;
        let context = PhysicalPlanDecodeContext::new(task, self);
        Ok(match message.node {
            Some(Node::ExchangeSource(source)) => {
                Arc::new(exchange::decode(&source, &context, converter)?)
            }
            Some(Node::CopySource(source)) => Arc::new(copy::decode_source(source)?),
            Some(Node::RecursiveQuery(query)) => {
                Arc::new(others::decode_recursive_query(query, inputs)?)
            }
            Some(Node::WorkTable(table)) => Arc::new(others::decode_work_table(table)?),
            Some(Node::PartialSort(sort)) => Arc::new(others::decode_partial_sort(
                &sort, inputs, &context, converter,
            )?),
            Some(Node::EmptySets(groups)) => {
                Arc::new(stand_in::decode_empty_sets(groups.sets, inputs)?)
            }
            Some(Node::Series(series)) => Arc::new(stand_in::decode_series(
                &series, inputs, &context, converter,
            )?),
            None => return internal_err!("a node of no kind"),
        })
    }

    fn try_decode_expr(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        _context: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        with_field(buf, inputs)
    }

    // Functions leave nothing but their name, and whose it is. They are looked up here rather
    // than in the task context, which then needs no copy of the registry for each plan.

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        let name = node.name();
        let is_it = |function: &ScalarUDF| function == node;
        whose(&OURS.scalar, &STOCK.scalar, name, is_it, buf)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        found(&registry(buf)?.scalar, name)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        if let Some(inner) = functions::unfiltered(node) {
            let mut whose = Vec::new();
            self.try_encode_udaf(inner, &mut whose)?;
            let length = u8::try_from(whose.len())
                .map_err(|_| internal_datafusion_err!("a condition of a condition of …"))?;
            buf.extend([FILTERED, length]);
            buf.extend(whose);
            buf.extend(inner.name().as_bytes());
            return Ok(());
        }
        let kind = |function: &AggregateUDF| {
            let function: &dyn Any = function.inner().as_ref();
            function.type_id()
        };
        // The optimizer makes variants of aggregates that know their input to be sorted. The
        // receiver's does not know, and sorts what is sorted.
        let is_it = |function: &AggregateUDF| kind(function) == kind(node);
        whose(&OURS.aggregate, &STOCK.aggregate, node.name(), is_it, buf)
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        if let [FILTERED, length, rest @ ..] = buf {
            let Some((whose, name)) = rest.split_at_checked(usize::from(*length)) else {
                return internal_err!("a condition of no aggregate");
            };
            let name =
                str::from_utf8(name).map_err(|error| DataFusionError::External(Box::new(error)))?;
            let inner = self.try_decode_udaf(name, whose)?;
            return Ok(Arc::new(functions::filtered(inner)));
        }
        found(&registry(buf)?.aggregate, name)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        let name = node.name();
        let is_it = |function: &WindowUDF| function == node;
        whose(&OURS.window, &STOCK.window, name, is_it, buf)
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        found(&registry(buf)?.window, name)
    }
}

/// The receiver will take the function it has under this name, so it must be this one.
fn whose<F>(
    ours: &HashMap<String, Arc<F>>,
    stock: &HashMap<String, Arc<F>>,
    name: &str,
    is_it: impl Fn(&F) -> bool,
    buf: &mut Vec<u8>,
) -> Result<()> {
    if ours.get(name).is_some_and(|function| is_it(function)) {
        return Ok(());
    }
    if stock.get(name).is_some_and(|function| is_it(function)) {
        buf.extend_from_slice(FROM_STOCK);
        return Ok(());
    }
    not_impl_err!("function {name} cannot run on an executor")
}

fn registry(buf: &[u8]) -> Result<&'static Registry> {
    match buf {
        [] => Ok(&OURS),
        FROM_STOCK => Ok(&STOCK),
        _ => internal_err!("a function from nowhere"),
    }
}

fn found<F>(functions: &HashMap<String, Arc<F>>, name: &str) -> Result<Arc<F>> {
    functions
        .get(name)
        .cloned()
        .ok_or_else(|| internal_datafusion_err!("a plan names the unknown function {name}"))
}
