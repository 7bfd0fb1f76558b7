//! The leaf of a stage plan that reads another stage's map outputs.
//!
//! It knows which segments each of its partitions reads and nothing about where they are: the
//! locations and the reader come with the task ([`TaskInputs`]). A task without them is a bug of
//! ours and fails loudly, because an exchange that reads nothing would be a wrong answer.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use job::{ExchangeKind, InputLocations, StageId};

use super::{SegmentId, TaskInputs};
use crate::compact::{compact, shown_bytes};

/// Streams of one partition that are read at once. Bounds open readers (and, for remote ones,
/// buffers in flight) per partition; more would not make one consumer faster.
const SEGMENTS_AT_ONCE: usize = 8;

/// Batches are not joined to more than this: of wide rows, a full one would be a large part of memory.
const JOINED_BYTES_MAX: usize = 16 << 20;

/// Which segments the partitions of a source read, of every map output of the producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segments {
    /// Partition `i` reads segment `self.0[i]`.
    Each(Vec<u32>),
    /// The only partition reads segments `0..count`.
    All { count: u32 },
}

/// Reads the map outputs of `producer`.
#[derive(Debug)]
pub struct ExchangeSourceExec {
    producer: StageId,
    kind: ExchangeKind,
    segments: Segments,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ExchangeSourceExec {
    /// `equivalences` must hold for each partition of the source; they carry the schema and, for
    /// partitions that are each one producer partition, their order.
    pub fn try_new(
        producer: StageId,
        kind: ExchangeKind,
        segments: Segments,
        partitioning: Partitioning,
        equivalences: EquivalenceProperties,
    ) -> Result<Self> {
        let partitions = match &segments {
            Segments::Each(each) => each.len(),
            Segments::All { .. } => 1,
        };
        if partitioning.partition_count() != partitions {
            return internal_err!(
                "exchange source of {partitions} partitions declared as {partitioning}"
            );
        }
        let properties = PlanProperties::new(
            equivalences,
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self {
            producer,
            kind,
            segments,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub fn producer(&self) -> StageId {
        self.producer
    }

    pub fn kind(&self) -> ExchangeKind {
        self.kind
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// A fresh copy that has only the given partitions.
    pub(crate) fn restricted(&self, partitions: &[usize]) -> Result<Self> {
        let segments = match &self.segments {
            Segments::Each(each) => Segments::Each(
                partitions
                    .iter()
                    .map(|p| {
                        each.get(*p).copied().ok_or_else(|| {
                            internal_datafusion_err!("exchange source has no partition {p}")
                        })
                    })
                    .collect::<Result<_>>()?,
            ),
            Segments::All { count } => Segments::All { count: *count },
        };
        // A slice of a hash partitioning still has equal keys in one partition, which is all
        // that parents rely on; what it no longer has is `hash % partitions == partition`. Only
        // dynamic filters of partitioned joins use that, and `restrict` drops those in a slice.
        let partitioning = match self.properties.output_partitioning() {
            Partitioning::Hash(keys, _) => Partitioning::Hash(keys.clone(), partitions.len()),
            _ => Partitioning::UnknownPartitioning(partitions.len()),
        };
        Self::try_new(
            self.producer,
            self.kind,
            segments,
            partitioning,
            self.properties.equivalence_properties().clone(),
        )
    }

    fn locations<'a>(&self, inputs: &'a TaskInputs) -> Result<&'a InputLocations> {
        inputs
            .inputs
            .iter()
            .map(Arc::as_ref)
            .find(|input| input.stage == self.producer)
            .ok_or_else(|| {
                internal_datafusion_err!(
                    "task has no locations for its input, stage {}",
                    self.producer
                )
            })
    }
}

impl DisplayAs for ExchangeSourceExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                let kind = match self.kind {
                    ExchangeKind::Hash => "hash",
                    ExchangeKind::RoundRobin => "round-robin",
                    ExchangeKind::Gather => "gather",
                    ExchangeKind::Broadcast => "broadcast",
                };
                write!(
                    f,
                    "ExchangeSourceExec: stage={}, {kind}, partitions={}",
                    self.producer,
                    self.properties.output_partitioning().partition_count()
                )?;
                if let Some(order) = self.properties.output_ordering() {
                    write!(f, ", order=[{order}]")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => write!(f, "stage={}", self.producer),
        }
    }
}

impl ExecutionPlan for ExchangeSourceExec {
    fn name(&self) -> &'static str {
        "ExchangeSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let config = context.session_config();
        let Some(inputs) = config.get_extension::<TaskInputs>() else {
            return internal_err!("task reads stage {} but was given no inputs", self.producer);
        };
        let outputs = self.locations(&inputs)?.outputs.clone();
        let wanted = match &self.segments {
            Segments::Each(each) => match each.get(partition) {
                Some(segment) => *segment..*segment + 1,
                None => return internal_err!("exchange source has no partition {partition}"),
            },
            Segments::All { count } => 0..*count,
        };
        let schema = self.schema();
        let wanted = outputs
            .into_iter()
            .flat_map(|output| {
                let segments = wanted.clone();
                segments.map(move |segment| SegmentId { output, segment })
            })
            .collect();
        let readers =
            inputs
                .reader
                .read_segments(wanted, self.kind, &schema, context.memory_pool());
        let readers = futures::stream::iter(readers);
        // A sorted partition is one producer partition: one reader has its rows and the others
        // are empty, so reading them one after the other keeps the order.
        let batches = if self.properties.output_ordering().is_some() {
            readers.flatten().boxed()
        } else {
            readers.flatten_unordered(SEGMENTS_AT_ONCE).boxed()
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let fetch_time = MetricBuilder::new(&self.metrics).subset_time("fetch_time", partition);
        let coalesced = coalesce(
            batches,
            Arc::clone(&schema),
            config.batch_size(),
            baseline,
            fetch_time,
        )
        .boxed();
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(
            schema, coalesced,
        ))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Joins small batches of many producers to `batch_size`; passes large ones through uncopied, unless
/// they hold on to much more than they show.
fn coalesce(
    input: impl Stream<Item = Result<RecordBatch>> + Send + Unpin + 'static,
    schema: SchemaRef,
    batch_size: usize,
    baseline: BaselineMetrics,
    fetch_time: Time,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    struct State<S> {
        input: Option<S>,
        coalescer: BatchCoalescer,
        /// In the coalescer, about.
        joined_bytes: usize,
        baseline: BaselineMetrics,
        fetch_time: Time,
    }
    let state = State {
        input: Some(input),
        coalescer: BatchCoalescer::new(schema, batch_size)
            .with_biggest_coalesce_batch_size(Some(batch_size / 2)),
        joined_bytes: 0,
        baseline,
        fetch_time,
    };
    futures::stream::try_unfold(state, |mut state| async move {
        loop {
            if let Some(batch) = state.coalescer.next_completed_batch() {
                state.joined_bytes = 0;
                use datafusion::physical_plan::metrics::RecordOutput;
                // The last one has room for many more, and what was on disk shares one buffer per
                // part between columns: a sort above would take each for as large as the whole.
                let batch = compact(batch)?.record_output(&state.baseline);
                return Ok(Some((batch, state)));
            }
            let Some(input) = state.input.as_mut() else {
                return Ok(None);
            };
            let next = {
                let _fetching = state.fetch_time.timer();
                input.next().await
            };
            let _working = state.baseline.elapsed_compute().timer();
            match next {
                Some(batch) => {
                    let batch = batch?;
                    state.joined_bytes += shown_bytes(&batch);
                    state.coalescer.push_batch(batch)?;
                    if state.joined_bytes >= JOINED_BYTES_MAX {
                        state.coalescer.finish_buffered_batch()?;
                    }
                }
                None => {
                    state.input = None;
                    state.coalescer.finish_buffered_batch()?;
                }
            }
        }
    })
}
