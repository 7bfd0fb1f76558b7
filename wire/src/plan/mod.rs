//! A stage plan as bytes, and back.
//!
//! DataFusion's own nodes and expressions are `datafusion-proto`'s business; ours are in [`nodes`].
//! Functions go by name: both ends have the same registry (`functions::install`), and one that is
//! not in it is refused by the sender. A plan that comes out different from what went in would be
//! a wrong answer, so the sender adds how each node's rows are partitioned and ordered, and the
//! receiver compares.

mod copy;
mod exchange;
mod fields;
mod nodes;
mod others;
mod scans;
mod stand_in;
mod subqueries;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::{PhysicalPlanDecodeContext, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalPlanNode};
use functions::pg_type::Format;
use job::{JobId, StageId};
use operators::{ExchangeSpec, FileSpec, RowForm, RowSpec, Sink, StagePlan};
use prost::Message;

use crate::error::{Result, WireError, required};
use crate::proto;
use crate::session;
use fields::FieldConverter;
use nodes::Codec;

/// Plans are walked by recursion; how deep they nest is bounded by the planner's limits on
/// statements. On a thread with such a stack that is simply a call; elsewhere a stack is made for
/// it, which costs more than a small plan.
pub const STACK_BYTES: usize = 64 << 20;
const STACK_NEEDED_BYTES: usize = STACK_BYTES / 4 * 3;

static RUNTIME: LazyLock<Arc<RuntimeEnv>> = LazyLock::new(|| Arc::new(RuntimeEnv::default()));

/// A plan for the executors.
pub fn encode_stage_plan(
    job: JobId,
    plan: &StagePlan,
    config: &SessionConfig,
) -> Result<proto::StagePlan> {
    stacker::maybe_grow(STACK_NEEDED_BYTES, STACK_BYTES, || {
        encode(job, plan, config)
    })
}

fn encode(job: JobId, plan: &StagePlan, config: &SessionConfig) -> Result<proto::StagePlan> {
    let codec = Codec::of(&plan.plan)?;
    let converter = FieldConverter;
    let ours = subqueries::from_stock(Arc::clone(&plan.plan))?;
    let stock = subqueries::to_stock(Arc::clone(&ours))?;
    let stock = stand_in::to_stock(stock, &codec, &converter)?;
    let node = converter.execution_plan_to_proto(&stock, &codec)?;
    Ok(proto::StagePlan {
        job: job.0,
        stage: plan.stage.0,
        plan: Bytes::from(node.encode_to_vec()),
        sink: Some(encode_sink(&plan.sink, &codec)?),
        session: Some(session::encode(config)),
        files: scans::file_versions(&plan.plan)?,
        properties: properties(&rebuilt(ours)?),
    })
}

/// The other end of [`encode_stage_plan`]. Scans are DataFusion's own, unguarded.
pub fn decode_stage_plan(
    message: proto::StagePlan,
) -> Result<(JobId, StagePlan, Arc<SessionConfig>)> {
    stacker::maybe_grow(STACK_NEEDED_BYTES, STACK_BYTES, || decode(message))
}

fn decode(message: proto::StagePlan) -> Result<(JobId, StagePlan, Arc<SessionConfig>)> {
    let config = session::decode_shared(message.session)?;
    let codec = Codec::default();
    // The codec knows the functions; see `Codec::try_decode_udf`.
    let task = TaskContext::new(
        None,
        String::new(),
        config.as_ref().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        Arc::clone(&RUNTIME),
    );
    let context = PhysicalPlanDecodeContext::new(&task, &codec);
    let converter = FieldConverter;
    let node = PhysicalPlanNode::decode(message.plan).map_err(not_a_plan)?;
    let plan = converter.proto_to_execution_plan(&node, &context)?;
    let plan = subqueries::from_stock(plan)?;
    let mut plan = scans::with_file_versions(plan, message.files)?;
    if config.options().optimizer.enable_sort_pushdown {
        plan = scans::with_wanted_orders(plan)?;
    }
    check(&properties(&plan), &message.properties)?;
    let sink = required(message.sink, "a stage plan without its sink")?;
    let sink = decode_sink(sink, plan.as_ref(), &context)?;
    let stage = StagePlan {
        stage: StageId(message.stage),
        plan,
        sink,
    };
    Ok((JobId(message.job), stage, config))
}

fn not_a_plan(error: prost::DecodeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The plan as the receiver builds it, from the leaves up. Optimizer rules leave nodes behind whose
/// columns are nullable, say, though their inputs' no longer are.
fn rebuilt(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let plan = plan.transform_up(|node| {
        let children: Vec<_> = node.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(Transformed::no(node));
        }
        if let ([input], Some(projection)) =
            (children.as_slice(), node.downcast_ref::<ProjectionExec>())
        {
            // Otherwise it would keep its columns as they are.
            let schema = projection.schema();
            let exprs = projection.expr().to_vec();
            let input = Arc::clone(input);
            let anew = ProjectionExec::try_new_with_schema_metadata(exprs, input, &schema)?;
            return Ok(Transformed::yes(Arc::new(anew)));
        }
        Ok(Transformed::yes(node.replace_children(children, anew)?))
    });
    Ok(plan.data()?)
}

/// What a parent relies on, node by node in preorder.
fn properties(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let mut properties = Vec::new();
    let visited = plan.apply(|node| {
        let partitioning = node.output_partitioning();
        let mut hasher = DefaultHasher::new();
        // Names, types, nullability, metadata.
        node.schema().fields().hash(&mut hasher);
        let schema = hasher.finish();
        properties.push(match node.output_ordering() {
            Some(order) => format!("{}: {partitioning} by {order}, {schema:x}", node.name()),
            None => format!("{}: {partitioning}, {schema:x}", node.name()),
        });
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor has no errors");
    properties
}

fn check(received: &[String], sent: &[String]) -> Result<()> {
    let node = (0..sent.len().max(received.len())).find(|i| sent.get(*i) != received.get(*i));
    let Some(node) = node else {
        return Ok(());
    };
    let at = |nodes: &[String]| nodes.get(node).cloned().unwrap_or_default();
    Err(WireError::Changed {
        node,
        sent: at(sent),
        received: at(received),
    })
}

fn encode_sink(sink: &Sink, codec: &Codec) -> Result<proto::Sink> {
    use proto::sink;
    let sink = match sink {
        Sink::Exchange(spec) => sink::Sink::Exchange(proto::ExchangeSink {
            kind: proto::ExchangeKind::from(spec.kind).into(),
            hash_keys: spec
                .hash_keys
                .iter()
                .map(|key| {
                    let node = FieldConverter.physical_expr_to_proto(key, codec)?;
                    Ok(node.encode_to_vec())
                })
                .collect::<Result<_>>()?,
            segments: spec.segments,
        }),
        Sink::Rows(spec) => {
            use proto::rows_sink::Form;
            let form = match &spec.form {
                RowForm::Data(formats) => {
                    let codes = formats.iter().map(|f| i32::from(*f == Format::Binary));
                    Form::Data(proto::DataRows {
                        formats: codes.collect(),
                    })
                }
                RowForm::Copy { options, names } => Form::Copy(proto::CopyRows {
                    options: Some(copy::encode_options(options)),
                    names: names.clone(),
                }),
            };
            sink::Sink::Rows(proto::RowsSink {
                form: Some(form),
                settings: session::encode_format(&spec.settings),
            })
        }
        Sink::Files(spec) => sink::Sink::Files(proto::FilesSink {
            directory: spec.directory.clone(),
        }),
        Sink::Discard => sink::Sink::Discard(proto::Unit {}),
        Sink::Cache => sink::Sink::Cache(proto::Unit {}),
    };
    Ok(proto::Sink { sink: Some(sink) })
}

fn decode_sink(
    sink: proto::Sink,
    plan: &dyn ExecutionPlan,
    context: &PhysicalPlanDecodeContext<'_>,
) -> Result<Sink> {
    use proto::sink;
    Ok(match required(sink.sink, "a sink of no kind")? {
        sink::Sink::Exchange(exchange) => {
            let schema = plan.schema();
            let hash_keys = exchange.hash_keys.iter().map(|key| {
                let node = PhysicalExprNode::decode(key.as_slice()).map_err(not_a_plan)?;
                Ok(FieldConverter.proto_to_physical_expr(&node, &schema, context)?)
            });
            Sink::Exchange(ExchangeSpec {
                kind: exchange.kind().into(),
                hash_keys: hash_keys.collect::<Result<_>>()?,
                segments: exchange.segments,
            })
        }
        sink::Sink::Rows(rows) => {
            use proto::rows_sink::Form;
            let form = match required(rows.form, "rows of no form")? {
                Form::Data(data) => RowForm::Data(
                    data.formats
                        .iter()
                        .map(|code| {
                            let code = i16::try_from(*code).ok();
                            code.and_then(Format::from_code)
                                .ok_or(WireError::Malformed("an unknown format code"))
                        })
                        .collect::<Result<_>>()?,
                ),
                Form::Copy(copy) => RowForm::Copy {
                    options: copy::decode_options(required(
                        copy.options,
                        "a COPY without its options",
                    )?)?,
                    names: copy.names,
                },
            };
            Sink::Rows(RowSpec {
                form,
                settings: session::decode_format(&rows.settings)?,
            })
        }
        sink::Sink::Files(files) => Sink::Files(FileSpec {
            directory: files.directory,
        }),
        sink::Sink::Discard(_) => Sink::Discard,
        sink::Sink::Cache(_) => Sink::Cache,
    })
}
