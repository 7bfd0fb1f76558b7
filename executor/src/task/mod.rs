//! The task runner: from a launch to its outcome.
//!
//! ```text
//!   launch -> restrict the stage plan to the slice -> one stream per partition -> sink
//!          -> wait until nothing of the attempt is left -> outcome
//! ```
//!
//! All partitions of a slice run at once, each as a task on the executor's compute threads; the
//! first error ends the others. Cancelling drops the streams. A panic in an operator fails the
//! attempt, never the process. What an attempt may use it gets from here: its memory pool, its
//! spill files, its inputs.

mod failure;
mod sink;

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::{ChunkCache, ScanCounts};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use job::{ErrorReport, SqlState, TaskFailure, TaskOutcome, TaskStats};
use operators::exchange::{ExchangeReader, TaskInputs};
use operators::{Sink, WIDE_BATCH_ROWS, has_wide_rows, lean_windows, restrict, yielding};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub(crate) use failure::{classify, own_failure, panicked};
pub(crate) use sink::{Encoder, slices};

use crate::TaskLaunch;
use crate::blocks::{
    BlockManager, CachedBlocks, MapOutputHandle, SegmentSizes, SegmentWriter, SpillFactory,
};
use crate::memory::AttemptPool;
use crate::results::ResultWriter;
use sink::{PartitionDone, Stopped};

/// How long a report waits for operators that don't let go of their memory. They are between
/// two batches by then; longer means a bug, which must not cost a slot as well.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Each sort sets memory aside for its merge before it takes a row: so small a part of the budget
/// that the sorts of some joins find some.
const SORT_RESERVATIONS: u64 = 64;

/// Runs attempts; shared by all of an executor.
pub(crate) struct TaskRunner {
    blocks: Arc<BlockManager>,
    reader: Arc<dyn ExchangeReader>,
    /// Object stores and caches; memory and disk are per attempt.
    env: RuntimeEnv,
    /// Where scans find columns that are in memory already; `None` if none are kept.
    chunks: Option<Arc<dyn ChunkCache>>,
}

/// How the work of an attempt ended, before anything is cleaned up.
enum Ended {
    Finished(TaskStats),
    Stopped(Stopped),
    Panicked(Box<dyn Any + Send>),
    Cancelled,
}

/// What the partitions of an attempt share.
struct Attempt {
    launch: TaskLaunch,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    spilled: Arc<AtomicU64>,
}

type Partitions = JoinSet<Result<PartitionDone, Stopped>>;

impl TaskRunner {
    pub(crate) fn new(
        blocks: Arc<BlockManager>,
        reader: Arc<dyn ExchangeReader>,
        env: RuntimeEnv,
        cache: bool,
    ) -> Self {
        let chunks =
            cache.then(|| Arc::new(CachedBlocks::new(Arc::clone(&blocks))) as Arc<dyn ChunkCache>);
        Self {
            blocks,
            reader,
            env,
            chunks,
        }
    }

    pub(crate) fn environment(&self) -> &RuntimeEnv {
        &self.env
    }

    /// Runs an attempt to its end. `rows` is the writing end of a result task.
    pub(crate) async fn run(
        &self,
        launch: TaskLaunch,
        rows: Option<ResultWriter>,
        stop: CancellationToken,
    ) -> TaskOutcome {
        let attempt = launch.attempt;
        let pool = AttemptPool::new(Arc::clone(&self.blocks), attempt);
        let mut partitions = Partitions::new();
        let work = self.work(launch, Arc::clone(&pool), rows.clone(), &mut partitions);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ended::Cancelled,
            error = pool.overdrawn() => Ended::Stopped(Stopped::Failed(error)),
            ended = AssertUnwindSafe(work).catch_unwind() => match ended {
                Ok(Ok(stats)) => Ended::Finished(stats),
                Ok(Err(_)) if stop.is_cancelled() => Ended::Cancelled,
                Ok(Err(stopped)) => Ended::Stopped(stopped),
                Err(panic) => Ended::Panicked(panic),
            },
        };
        // Aborts what still runs, and waits until its streams are dropped.
        partitions.shutdown().await;
        let outcome = match ended {
            Ended::Finished(stats) => TaskOutcome::Finished(stats),
            Ended::Cancelled | Ended::Stopped(Stopped::ReaderGone) => TaskOutcome::Cancelled,
            Ended::Stopped(Stopped::Failed(error)) => {
                let failure = classify(&error);
                tracing::debug!(kind = ?failure.kind, %error, "attempt failed");
                TaskOutcome::Failed(failure)
            }
            Ended::Panicked(panic) => {
                let failure = panicked(panic.as_ref());
                tracing::error!(error = %failure.error, "attempt panicked");
                TaskOutcome::Failed(failure)
            }
        };
        if let Some(rows) = rows {
            match &outcome {
                TaskOutcome::Finished(_) => rows.done(),
                TaskOutcome::Failed(TaskFailure { error, .. }) => rows.failed(error.clone()),
                TaskOutcome::Cancelled => rows.failed(ErrorReport::new(
                    SqlState::QUERY_CANCELED,
                    "canceling statement because its task was cancelled",
                )),
            }
        }
        if tokio::time::timeout(RELEASE_TIMEOUT, pool.released())
            .await
            .is_err()
        {
            tracing::warn!(%attempt, "operators still hold memory after their attempt ended");
        }
        outcome
    }

    async fn work(
        &self,
        launch: TaskLaunch,
        pool: Arc<AttemptPool>,
        rows: Option<ResultWriter>,
        partitions: &mut Partitions,
    ) -> Result<TaskStats, Stopped> {
        let only_loads = matches!(launch.plan.sink, Sink::Cache);
        let plan = restrict(
            &launch.plan.plan,
            &launch.partitions,
            catalog::change_parquet,
            &|source, counters| {
                let counts = ScanCounts {
                    found_bytes: counters.cached_bytes,
                    pruned_pieces: counters.pruned_pieces,
                    filtered_rows: counters.filtered_rows,
                };
                catalog::cache_scan(source, self.chunks.as_ref()?, only_loads, counts)
            },
        )?;
        let plan = yielding(lean_windows(plan)?)?;
        let spilled = Arc::new(AtomicU64::new(0));
        let context = self.context(&launch, pool, Arc::clone(&spilled))?;
        let attempt = Arc::new(Attempt {
            launch,
            plan,
            context,
            spilled,
        });
        let output = match &attempt.launch.plan.sink {
            Sink::Exchange(spec) => Some(
                self.blocks
                    .begin_output(attempt.launch.attempt, spec.segments),
            ),
            Sink::Rows(_) | Sink::Files(_) | Sink::Discard | Sink::Cache => None,
        };
        let done = attempt
            .run_partitions(output.as_ref(), rows.as_ref(), partitions)
            .await?;
        let segments = match output {
            Some(output) => output.seal()?,
            None => SegmentSizes::default(),
        };
        Ok(attempt.stats(done, segments))
    }

    fn context(
        &self,
        launch: &TaskLaunch,
        pool: Arc<AttemptPool>,
        spilled: Arc<AtomicU64>,
    ) -> Result<Arc<TaskContext>> {
        let factory = SpillFactory::new(Arc::clone(self.blocks.disk()), spilled);
        let disk_manager = DiskManager::builder().with_temp_file_factory(Arc::new(factory));
        let mut env = self.env.clone();
        env.memory_pool = pool;
        env.disk_manager = Arc::new(disk_manager.build()?);
        let inputs = TaskInputs {
            reader: Arc::clone(&self.reader),
            inputs: launch.inputs.clone(),
        };
        let mut config = launch
            .session_config
            .as_ref()
            .clone()
            .with_extension(Arc::new(inputs));
        let reserved_max = (self.blocks.ledger().totals().budget / SORT_RESERVATIONS) as usize;
        if config.options().execution.sort_spill_reservation_bytes > reserved_max {
            let execution = &mut config.options_mut().execution;
            execution.sort_spill_reservation_bytes = reserved_max;
        }
        if config.batch_size() > WIDE_BATCH_ROWS && has_wide_rows(&launch.plan.plan)? {
            config = config.with_batch_size(WIDE_BATCH_ROWS);
        }
        Ok(Arc::new(TaskContext::new(
            Some(launch.attempt.to_string()),
            launch.attempt.task.job.to_string(),
            config,
            // Plans carry their functions; nothing is looked up by name here.
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::new(env),
        )))
    }
}

impl Attempt {
    /// Runs all partitions of the slice at once. A lone one needs no task of its own.
    async fn run_partitions(
        self: &Arc<Self>,
        output: Option<&MapOutputHandle>,
        rows: Option<&ResultWriter>,
        partitions: &mut Partitions,
    ) -> Result<Vec<PartitionDone>, Stopped> {
        let numbers = &self.launch.partitions;
        if let [number] = numbers[..] {
            let writer = output.map(MapOutputHandle::writer);
            return Ok(vec![
                self.partition(0, number, writer, rows.cloned()).await?,
            ]);
        }
        for (index, number) in numbers.iter().copied().enumerate() {
            let this = Arc::clone(self);
            let writer = output.map(MapOutputHandle::writer);
            let rows = rows.cloned();
            partitions.spawn(
                async move { this.partition(index, number, writer, rows).await }.in_current_span(),
            );
        }
        let mut done = Vec::with_capacity(numbers.len());
        while let Some(joined) = partitions.join_next().await {
            match joined {
                Ok(partition) => done.push(partition?),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => return Err(DataFusionError::ExecutionJoin(Box::new(error)).into()),
            }
        }
        Ok(done)
    }

    /// `index` counts within the slice, `number` within the stage.
    async fn partition(
        &self,
        index: usize,
        number: u32,
        writer: Option<SegmentWriter>,
        rows: Option<ResultWriter>,
    ) -> Result<PartitionDone, Stopped> {
        let stream = self.plan.execute(index, Arc::clone(&self.context))?;
        match (&self.launch.plan.sink, writer, rows) {
            (Sink::Exchange(spec), Some(writer), _) => {
                let batch_size = self.context.session_config().batch_size();
                sink::exchange(stream, spec, number, batch_size, writer).await
            }
            (Sink::Rows(spec), _, Some(rows)) => sink::rows(stream, spec, rows).await,
            (Sink::Files(spec), _, _) => {
                let pool = self.context.memory_pool();
                sink::file(stream, spec, self.launch.attempt, number, pool).await
            }
            (Sink::Discard | Sink::Cache, _, _) => sink::discard(stream).await,
            (Sink::Exchange(_) | Sink::Rows(_), _, _) => Err(DataFusionError::Internal(
                "a task without the writing end of its sink".to_owned(),
            )
            .into()),
        }
    }

    fn stats(&self, done: Vec<PartitionDone>, segments: SegmentSizes) -> TaskStats {
        TaskStats {
            rows: done.iter().map(|partition| partition.rows).sum(),
            segment_bytes: segments.bytes,
            segment_rows: segments.rows,
            spilled_bytes: self.spilled.load(Ordering::Relaxed) + segments.file_bytes,
            files: done
                .into_iter()
                .filter_map(|partition| partition.file?.keep())
                .collect(),
            operators: operators::metrics::collect(&self.plan),
        }
    }
}
