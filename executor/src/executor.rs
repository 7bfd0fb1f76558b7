//! The embedded executor: an [`ExecutorLink`] in the driver's own process.
//!
//! It owns its compute threads, one per slot, in a runtime of their own: whatever an operator
//! does there, the driver's event loop and its sockets are not held up. File reads go to that
//! runtime's blocking threads. Several executors may live in one process; they share nothing
//! but what [`ExecutorServices`] hands to each.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::Forget;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use job::{AttemptId, Epoch, ExecutorId, ExecutorUsage, JobId, Lane, TaskOutcome};
use operators::Sink;
use operators::exchange::ExchangeReader;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::blocks::{BlockManager, DiskStore, LocalReader};
use crate::cluster::ClusterReader;
use crate::config::{ExecutorConfig, ExecutorServices, Membership};
use crate::error::ExecutorError;
use crate::link::{ExecutorLink, ExecutorReport, RowStream, TaskLaunch};
use crate::memory::cached::CacheLimits;
use crate::memory::resident::SAMPLE_EVERY;
use crate::results::{ResultWriter, Results};
use crate::task::{TaskRunner, own_failure};
use crate::view::{ExecutorView, usage};
use crate::work_dir::WorkDir;

/// Threads for file reads. Reads are queued beyond that, so this is no limit on scans.
const BLOCKING_THREADS_MAX: usize = 64;
/// The same for tasks of small jobs.
const EXPRESS_BLOCKING_THREADS_MAX: usize = 16;

/// Runs tasks and keeps their blocks until [`Executor::shutdown`].
pub struct Executor {
    shared: Arc<Shared>,
    handle: Handle,
    /// Runs tasks of small jobs: on threads of their own, so that the system shares the processor
    /// between them and large ones, whose operators may keep a thread for long.
    express: Handle,
    /// Taken by shutdown.
    owned: Mutex<Option<Owned>>,
}

/// Goes with the executor; the directory last.
struct Owned {
    runtime: Runtime,
    express: Runtime,
    work_dir: WorkDir,
}

struct Shared {
    config: ExecutorConfig,
    blocks: Arc<BlockManager>,
    reader: LocalReader,
    /// Without one it is alone.
    membership: Option<Membership>,
    results: Results,
    runner: TaskRunner,
    reports: UnboundedSender<ExecutorReport>,
    running: Mutex<Running>,
    /// How many attempts run.
    running_count: watch::Sender<usize>,
}

#[derive(Default)]
struct Running {
    attempts: BTreeMap<AttemptId, CancellationToken>,
    /// No more launches.
    closed: bool,
}

impl Executor {
    /// Starts threads and takes a directory. `reports` gets one report per launched attempt.
    pub fn start(
        config: ExecutorConfig,
        services: ExecutorServices,
        reports: UnboundedSender<ExecutorReport>,
    ) -> Result<Arc<Self>, ExecutorError> {
        let start = |what| move |source| ExecutorError::Start { what, source };
        let work_dir =
            WorkDir::create(&config.work_dir, config.id).map_err(start("work directory"))?;
        let disk = DiskStore::new(work_dir.path().to_owned(), config.spill_bytes_max);
        let cache = CacheLimits {
            max: config.cache_bytes_max.min(config.memory_bytes),
            floor: config.cache_bytes_protected.min(config.cache_bytes_max),
        };
        let blocks = BlockManager::new(config.memory_bytes, config.process_bytes, cache, disk);
        let threads = |name: &str, blocking| {
            Builder::new_multi_thread()
                .worker_threads(config.slots.max(1) as usize)
                .max_blocking_threads(blocking)
                .thread_name(format!("{name}-{}", config.id))
                .enable_all()
                .build()
                .map_err(start("compute threads"))
        };
        let runtime = threads("executor", BLOCKING_THREADS_MAX)?;
        let express = threads("express", EXPRESS_BLOCKING_THREADS_MAX)?;
        let membership = services.membership.clone();
        let env = environment(services).map_err(|error| ExecutorError::Start {
            what: "runtime environment",
            source: std::io::Error::other(error),
        })?;
        let local = LocalReader::new(Arc::clone(&blocks));
        let reader: Arc<dyn ExchangeReader> = Arc::new(ClusterReader {
            executor: config.id,
            local: local.clone(),
            membership: membership.clone(),
        });
        tracing::info!(
            executor_id = %config.id,
            slots = config.slots,
            memory_bytes = config.memory_bytes,
            work_dir = %work_dir.path().display(),
            "executor started"
        );
        let shared = Arc::new(Shared {
            membership,
            results: Results::new(
                Arc::clone(&blocks),
                config.result_buffer_bytes,
                config.result_spool_bytes,
            ),
            runner: TaskRunner::new(Arc::clone(&blocks), reader, env, cache.max > 0),
            reader: local,
            blocks,
            config,
            reports,
            running: Mutex::new(Running::default()),
            running_count: watch::Sender::new(0),
        });
        // Where large statements keep nothing waiting.
        express.spawn(watch_memory(
            Arc::clone(&shared.blocks),
            shared.running_count.subscribe(),
        ));
        Ok(Arc::new(Self {
            shared,
            handle: runtime.handle().clone(),
            express: express.handle().clone(),
            owned: Mutex::new(Some(Owned {
                runtime,
                express,
                work_dir,
            })),
        }))
    }

    /// What it holds and does right now.
    pub fn view(&self) -> ExecutorView {
        let shared = &self.shared;
        ExecutorView::new(
            &shared.config,
            *shared.running_count.borrow(),
            shared.results.jobs(),
            &shared.blocks,
        )
    }

    /// What it has handed out and keeps of tables, as the driver shows it.
    pub fn usage(&self) -> ExecutorUsage {
        usage(&self.shared.blocks)
    }

    /// What other executors read from.
    pub(crate) fn reader(&self) -> &LocalReader {
        &self.shared.reader
    }

    /// Object stores and caches.
    pub(crate) fn environment(&self) -> &RuntimeEnv {
        self.shared.runner.environment()
    }

    /// Waits until no attempt runs and nothing is held: no operator's memory, no block, no row.
    pub async fn idle(&self) {
        self.no_attempts().await;
        self.shared.blocks.emptied().await;
    }

    /// Cancels what runs, waits for it, frees everything, removes the directory.
    pub async fn shutdown(&self) {
        self.shared.close();
        self.no_attempts().await;
        self.shared.blocks.drop_all();
        let owned = self.owned.lock().take();
        if let Some(owned) = owned {
            owned.end();
            tracing::info!(executor_id = %self.shared.config.id, "executor stopped");
        }
    }

    /// Waits until no attempt runs.
    pub(crate) async fn no_attempts(&self) {
        let mut count = self.shared.running_count.subscribe();
        // The sender is ours, so the channel can't close.
        let _ = count.wait_for(|n| *n == 0).await;
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(owned) = self.owned.get_mut().take() {
            owned.end();
        }
    }
}

impl Owned {
    fn end(self) {
        // Waiting for threads is not allowed in async code, which this may be called from.
        self.runtime.shutdown_background();
        self.express.shutdown_background();
        drop(self.work_dir);
    }
}

/// While attempts run, the ledger hears what the process holds beside it.
async fn watch_memory(blocks: Arc<BlockManager>, mut running: watch::Receiver<usize>) {
    while running.wait_for(|n| *n > 0).await.is_ok() && blocks.sample_resident() {
        tokio::time::sleep(SAMPLE_EVERY).await;
        if *running.borrow() == 0 {
            blocks.forget_resident();
        }
    }
}

fn environment(services: ExecutorServices) -> datafusion::error::Result<RuntimeEnv> {
    let mut env = RuntimeEnvBuilder::new()
        .with_object_store_registry(services.object_stores)
        .build()?;
    if let Some(caches) = services.caches {
        env.cache_manager = caches;
    }
    Ok(env)
}

impl ExecutorLink for Executor {
    fn launch(&self, task: TaskLaunch) {
        let shared = Arc::clone(&self.shared);
        let (attempt, lane) = (task.attempt, task.lane);
        let (stop, rows) = match shared.admit(&task) {
            Ok(admitted) => admitted,
            Err(error) => {
                shared.report(attempt, TaskOutcome::Failed(own_failure(&error)));
                return;
            }
        };
        let span = tracing::info_span!(
            "task",
            executor_id = %shared.config.id,
            job_id = %attempt.task.job,
            stage_id = %attempt.task.stage,
            task_id = attempt.task.task,
            attempt = attempt.attempt,
        );
        let threads = match lane {
            Lane::Regular => &self.handle,
            Lane::Express => &self.express,
        };
        threads.spawn(
            async move {
                let outcome = shared.runner.run(task, rows, stop).await;
                shared.ended(attempt, outcome);
            }
            .instrument(span),
        );
    }

    fn cancel(&self, attempt: AttemptId) {
        let running = self.shared.running.lock();
        // It may have ended by itself: then its report is on its way already.
        if let Some(stop) = running.attempts.get(&attempt) {
            stop.cancel();
        }
    }

    fn drop_job(&self, job: JobId) {
        self.shared.cancel_job(job);
        self.shared.results.drop_job(job);
        let outputs = self.shared.blocks.remove_job(job);
        if outputs.is_empty() {
            return;
        }
        // Freeing gigabytes and unlinking files takes time that the driver's loop doesn't have.
        let blocks = Arc::clone(&self.shared.blocks);
        self.handle.spawn_blocking(move || {
            for output in outputs {
                blocks.free(&output);
            }
        });
    }

    /// The process it is embedded in decides when it goes.
    fn drained(&self) {}

    fn peer_lost(&self, peer: ExecutorId, epoch: Epoch) {
        if let Some(membership) = &self.shared.membership {
            membership.lost(peer, epoch);
        }
    }

    fn forget_cached(&self, what: &Forget) {
        let blocks = Arc::clone(&self.shared.blocks);
        if what.only_level {
            return blocks.forget_level(&what.files);
        }
        let files = what.files.clone();
        // As with a job's blocks.
        self.handle
            .spawn_blocking(move || blocks.forget_chunks(&files));
    }

    fn open_rows(&self, attempt: AttemptId) -> RowStream {
        self.shared.results.open(attempt)
    }
}

impl Shared {
    /// Registers an attempt as running.
    fn admit(
        &self,
        task: &TaskLaunch,
    ) -> Result<(CancellationToken, Option<ResultWriter>), ExecutorError> {
        let mut running = self.running.lock();
        if running.closed {
            return Err(ExecutorError::ShuttingDown);
        }
        if running.attempts.contains_key(&task.attempt) {
            return Err(ExecutorError::LaunchedTwice(task.attempt));
        }
        let (stop, rows) = match &task.plan.sink {
            Sink::Rows(_) => {
                let (writer, stop) = self
                    .results
                    .start(task.attempt)
                    .ok_or(ExecutorError::LaunchedTwice(task.attempt))?;
                (stop, Some(writer))
            }
            Sink::Exchange(_) | Sink::Files(_) | Sink::Discard | Sink::Cache => {
                (CancellationToken::new(), None)
            }
        };
        running.attempts.insert(task.attempt, stop.clone());
        self.running_count.send_modify(|n| *n += 1);
        Ok((stop, rows))
    }

    fn ended(&self, attempt: AttemptId, outcome: TaskOutcome) {
        self.running.lock().attempts.remove(&attempt);
        self.report(attempt, outcome);
        self.running_count.send_modify(|n| *n -= 1);
    }

    fn report(&self, attempt: AttemptId, outcome: TaskOutcome) {
        let report = ExecutorReport {
            executor: self.config.id,
            epoch: self.config.epoch,
            attempt,
            outcome,
        };
        if self.reports.send(report).is_err() {
            tracing::debug!(%attempt, "nobody is left to report to");
        }
    }

    fn cancel_job(&self, job: JobId) {
        let running = self.running.lock();
        for (attempt, stop) in &running.attempts {
            if attempt.task.job == job {
                stop.cancel();
            }
        }
    }

    /// Takes no more launches and cancels what runs.
    fn close(&self) {
        let mut running = self.running.lock();
        running.closed = true;
        for stop in running.attempts.values() {
            stop.cancel();
        }
    }
}
