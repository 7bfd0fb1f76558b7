//! The smallest executor that can run a split plan: stages in order, tasks of a stage all at
//! once, segments in memory. It enforces what the graph declares: a task that reads a segment its
//! stage did not ask for fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use job::{
    AttemptId, ExchangeKind, ExecutorId, InputLocations, JobId, MapOutput, OperatorMetrics,
    Reading, Slicing, StageId, TaskId,
};
use operators::exchange::{ExchangeReader, Partitioner, SegmentId, TaskInputs};
use operators::{Sink, StagePlan, restrict};
use planner::split::SplitPlan;

/// How a stage that may be sliced becomes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Partitions(usize),
    All,
}

/// What a run left: result batches per result partition, and what tasks measured.
pub(super) struct Run {
    pub(super) batches: Vec<RecordBatch>,
    /// Per stage, per task.
    pub(super) operators: Vec<Vec<Vec<OperatorMetrics>>>,
    /// Rows that each stage put out.
    pub(super) stage_rows: Vec<usize>,
}

type Segments = HashMap<(AttemptId, u32), Vec<RecordBatch>>;

/// Runs a plan; each task is first tried once and thrown away when `retry`.
pub(super) async fn run(
    session: &SessionContext,
    split: &SplitPlan,
    width: Width,
    retry: bool,
) -> Result<Run> {
    let store = Arc::new(Mutex::new(Segments::new()));
    let mut outputs: HashMap<StageId, Arc<InputLocations>> = HashMap::new();
    let mut result = Run {
        batches: Vec::new(),
        operators: Vec::new(),
        stage_rows: Vec::new(),
    };
    for (stage, plan) in split.graph.stages.iter().zip(&split.plans) {
        let all: Vec<u32> = (0..stage.partitions).collect();
        let slices: Vec<Vec<u32>> = match (stage.slicing, width) {
            (Slicing::Whole { .. }, _) | (_, Width::All) => vec![all],
            (Slicing::PerPartition, Width::Partitions(w)) => {
                all.chunks(w).map(<[u32]>::to_vec).collect()
            }
        };
        let mut tasks = Vec::new();
        let mut located = Vec::new();
        for (index, slice) in slices.into_iter().enumerate() {
            let stage_id = stage.id;
            let attempt = move |attempt| AttemptId {
                task: TaskId {
                    job: JobId(1),
                    stage: stage_id,
                    task: index as u32,
                },
                attempt,
            };
            let reader = Reader {
                store: Arc::clone(&store),
                readings: stage
                    .inputs
                    .iter()
                    .map(|input| (input.stage, input.reading))
                    .collect(),
                slice: slice.clone(),
            };
            let inputs = TaskInputs {
                reader: Arc::new(reader),
                inputs: stage
                    .inputs
                    .iter()
                    .map(|input| Arc::clone(&outputs[&input.stage]))
                    .collect(),
            };
            let config = session.copied_config().with_extension(Arc::new(inputs));
            let context = Arc::new(TaskContext::from(&session.state()).with_session_config(config));
            let plan = Arc::clone(plan);
            let store = Arc::clone(&store);
            tasks.push(tokio::spawn(async move {
                if retry {
                    // A first attempt that got somewhere and was lost.
                    task(&plan, &slice, attempt(0), Arc::clone(&context), &store).await?;
                }
                task(&plan, &slice, attempt(1), context, &store).await
            }));
            located.push(MapOutput {
                attempt: attempt(1),
                executor: ExecutorId(1),
            });
        }
        let mut operators = Vec::new();
        let mut rows = 0;
        for task in tasks {
            let done = task.await.expect("task panicked")?;
            rows += done.rows;
            operators.push(done.operators);
            result.batches.extend(done.batches);
        }
        result.operators.push(operators);
        result.stage_rows.push(rows);
        outputs.insert(
            stage.id,
            Arc::new(InputLocations {
                stage: stage.id,
                outputs: located,
            }),
        );
    }
    Ok(result)
}

struct Done {
    batches: Vec<RecordBatch>,
    operators: Vec<OperatorMetrics>,
    rows: usize,
}

async fn task(
    plan: &Arc<StagePlan>,
    slice: &[u32],
    attempt: AttemptId,
    context: Arc<TaskContext>,
    store: &Arc<Mutex<Segments>>,
) -> Result<Done> {
    let restricted = restrict(&plan.plan, slice, catalog::change_parquet, &|_, _| None)?;
    let mut running = Vec::new();
    for (index, partition) in slice.iter().enumerate() {
        let stream = restricted.execute(index, Arc::clone(&context))?;
        running.push(tokio::spawn(drain(
            stream,
            Arc::clone(plan),
            *partition,
            attempt,
            Arc::clone(store),
        )));
    }
    let mut batches = Vec::new();
    let mut rows = 0;
    for partition in running {
        let (out, count) = partition.await.expect("partition panicked")?;
        batches.extend(out);
        rows += count;
    }
    Ok(Done {
        batches,
        operators: operators::metrics::collect(&restricted),
        rows,
    })
}

async fn drain(
    mut stream: SendableRecordBatchStream,
    plan: Arc<StagePlan>,
    partition: u32,
    attempt: AttemptId,
    store: Arc<Mutex<Segments>>,
) -> Result<(Vec<RecordBatch>, usize)> {
    let mut batches = Vec::new();
    let mut rows = 0;
    let mut dealer = match &plan.sink {
        Sink::Exchange(spec) => Some(Partitioner::try_new(
            spec,
            stream.schema(),
            partition,
            8192,
        )?),
        _ => None,
    };
    let keep = |dealt: Vec<(u32, RecordBatch)>| {
        let mut store = store.lock().unwrap();
        for (segment, batch) in dealt {
            store.entry((attempt, segment)).or_default().push(batch);
        }
    };
    while let Some(batch) = stream.next().await.transpose()? {
        rows += batch.num_rows();
        match &mut dealer {
            Some(dealer) => keep(dealer.partition(batch)?),
            None => batches.push(batch),
        }
    }
    if let Some(mut dealer) = dealer {
        keep(dealer.finish()?);
    }
    Ok((batches, rows))
}

struct Reader {
    store: Arc<Mutex<Segments>>,
    readings: HashMap<StageId, Reading>,
    slice: Vec<u32>,
}

impl ExchangeReader for Reader {
    fn read_segments(
        &self,
        wanted: Vec<SegmentId>,
        _kind: ExchangeKind,
        schema: &SchemaRef,
        _memory: &Arc<dyn MemoryPool>,
    ) -> Vec<SendableRecordBatchStream> {
        let wanted = wanted.into_iter();
        wanted.map(|wanted| self.segment(wanted, schema)).collect()
    }
}

impl Reader {
    fn segment(
        &self,
        SegmentId { output, segment }: SegmentId,
        schema: &SchemaRef,
    ) -> SendableRecordBatchStream {
        let declared = match self.readings.get(&output.attempt.task.stage) {
            Some(Reading::Everything) => true,
            Some(Reading::Segment) => self.slice.contains(&segment),
            None => false,
        };
        let items: Vec<Result<RecordBatch>> = if declared {
            let store = self.store.lock().unwrap();
            let batches = store.get(&(output.attempt, segment)).cloned();
            batches.unwrap_or_default().into_iter().map(Ok).collect()
        } else {
            vec![internal_err!(
                "slice {:?} read segment {segment} of stage {}, which its stage does not declare",
                self.slice,
                output.attempt.task.stage
            )]
        };
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(schema),
            futures::stream::iter(items),
        ))
    }
}
