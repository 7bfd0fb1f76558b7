//! The state machine itself: what it holds, and which event goes where.
//!
//! The work is in the modules beside it, each an `impl Scheduler` about one thing: `dispatch`
//! (ready tasks onto free slots), `placing` (where their data is), `outcome` (attempts that end), `delivery` (rows on their way to the client), `loss` (executors and outputs
//! that vanish), `drain` (executors that leave in good order), `ending` (jobs that end and their blocks), `view` (what is going on).

use std::collections::{BTreeMap, BTreeSet};

use job::{ErrorReport, ExecutorId, JobGraph, JobId, Lane, SqlState, StageId, TaskId};

use crate::admission::Reservations;
use crate::exclusion::Exclusion;
use crate::executor_state::Executor;
use crate::executors::Executors;
use crate::job_state::{JobState, Phase};
use crate::pools::Pools;
use crate::stage_state::StageState;
use crate::{Action, Counters, Event, Instant, JobEnd, JobOptions, SchedulerConfig};

/// Decides which task runs where, and what becomes of the job when one doesn't end well.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: SchedulerConfig,
    pub(crate) now: Instant,
    /// Jobs submitted so far.
    pub(crate) submitted: u64,
    pub(crate) jobs: BTreeMap<JobId, JobState>,
    pub(crate) executors: Executors,
    /// Draining executors that are not drained yet.
    pub(crate) draining: BTreeSet<ExecutorId>,
    /// Those of them that may have become so by the event at hand.
    pub(crate) perhaps_drained: BTreeSet<ExecutorId>,
    pub(crate) pools: Pools,
    pub(crate) reservations: Reservations,
    /// Tasks that wait out a pause, by when it ends.
    pub(crate) delayed: BTreeSet<(Instant, TaskId)>,
    pub(crate) exclusion: Exclusion,
    /// Stages that wait for slots where their data is, and until when.
    pub(crate) waiting: BTreeMap<(JobId, StageId), Instant>,
    /// Stages by when the next of their running tasks becomes a straggler.
    pub(crate) watched: BTreeSet<(Instant, JobId, StageId)>,
    /// Stragglers without a second attempt.
    pub(crate) stragglers: BTreeSet<TaskId>,
    /// Since when no executor takes tasks.
    pub(crate) absent_since: Option<Instant>,
    /// Active jobs that have not launched a task yet.
    pub(crate) queued: usize,
    pub(crate) counters: Counters,
    /// What the event at hand has caused so far.
    pub(crate) actions: Vec<Action>,
}

impl Scheduler {
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            pools: Pools::new(&config.pools, config.pool_patience),
            reservations: Reservations::default(),
            config,
            now: Instant::default(),
            submitted: 0,
            jobs: BTreeMap::new(),
            executors: Executors::default(),
            draining: BTreeSet::new(),
            perhaps_drained: BTreeSet::new(),
            delayed: BTreeSet::new(),
            exclusion: Exclusion::default(),
            waiting: BTreeMap::new(),
            watched: BTreeSet::new(),
            stragglers: BTreeSet::new(),
            absent_since: None,
            queued: 0,
            counters: Counters::default(),
            actions: Vec::new(),
        }
    }

    /// Takes in one event and says what to do, in order.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        self.wake_delayed();
        self.take_up_due();
        self.readmit();
        match event {
            Event::JobSubmitted {
                job,
                graph,
                options,
            } => self.submit(job, graph, &options),
            Event::JobCancelled { job, reason } => self.cancel(job, reason),
            Event::JobReleased { job } => self.release(job),
            Event::ExecutorJoined {
                executor,
                epoch,
                slots,
                memory_bytes,
            } => self.join(Executor::new(executor, epoch, slots, memory_bytes)),
            Event::ExecutorLost { executor, epoch } => {
                if self.executors.epoch(executor) == Some(epoch) {
                    self.executor_lost(executor);
                } else {
                    self.counters.fenced += 1;
                }
            }
            Event::ExecutorDraining { executor, epoch } => self.drain(executor, epoch),
            Event::TaskEnded {
                executor,
                epoch,
                attempt,
                outcome,
            } => self.task_ended(executor, epoch, attempt, outcome),
            Event::ResultStarted { attempt } => self.result_started(attempt),
            Event::ResultDelivered { attempt } => self.result_delivered(attempt),
            Event::ResultLost { attempt, error } => self.result_lost(attempt, error),
            Event::Tick => {}
        }
        self.give_up_without_executors();
        self.dispatch();
        self.report_drained();
        std::mem::take(&mut self.actions)
    }

    /// When to send [`Event::Tick`] if nothing else happens before. It may turn out then that
    /// nothing is due, because a task that was watched has ended.
    pub fn next_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.first().map(|(until, _)| *until);
        let excluded = self.exclusion.next_timeout();
        let watched = self.watched.first().map(|(until, ..)| *until);
        let pauses = delayed.into_iter().chain(excluded);
        let waiting = self.waiting.values().copied();
        pauses
            .chain(watched)
            .chain(waiting)
            .chain(self.next_to_give_up())
            .min()
    }

    /// Nothing is left of any job.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.pools.is_idle()
            && self.reservations.reserved == 0
            && self.delayed.is_empty()
            && self.waiting.is_empty()
            && self.watched.is_empty()
            && self.stragglers.is_empty()
            && self.queued == 0
            && self.executors.iter().all(|executor| {
                Lane::ALL
                    .iter()
                    .all(|lane| executor.free(*lane) == executor.slots())
            })
    }

    fn submit(&mut self, id: JobId, graph: JobGraph, options: &JobOptions) {
        if self.jobs.contains_key(&id) {
            // Ids are never reused, so this is the same submission again.
            self.counters.fenced += 1;
            return;
        }
        if let Err(error) = graph.check() {
            self.actions.push(Action::JobEnded {
                job: id,
                end: JobEnd::Failed(error),
            });
            return;
        }
        let pool = self.pools.find(options.pool.as_deref());
        let turn = self.pools.turn();
        let mut job = JobState::new(graph, self.submitted, pool, turn, self.now);
        if options.speculation {
            let stages = job.stages.iter_mut();
            stages.for_each(StageState::allow_speculation);
        }
        for stage in &mut job.stages {
            stage.replica = options.replica;
        }
        job.is_small = self.is_small(&job, options);
        job.rows = options.rows;
        job.other_plan = options.other_plan;
        self.jobs.insert(id, job);
        self.reserve(id, options.memory_bytes);
        self.submitted += 1;
        self.queued += 1;
        self.settle(id);
        // The limit is on jobs that wait: one that can start at once is never refused.
        self.dispatch();
        if self.queued > self.config.queued_jobs_max
            && self.jobs.get(&id).is_some_and(|job| !job.started)
        {
            let error = ErrorReport::new(
                SqlState::TOO_MANY_CONNECTIONS,
                "too many queries are waiting to run",
            )
            .with_detail(format!(
                "The limit is {} waiting queries.",
                self.config.queued_jobs_max
            ))
            .with_hint("Try again later, add executors, or raise the limit.");
            self.end_job(id, JobEnd::Failed(error));
        }
    }

    /// Whether a job may take express slots: it reads little, holds little, and nobody expects its tasks
    /// at a certain place. Settled when it comes, by the memory there is then.
    fn is_small(&self, job: &JobState, options: &JobOptions) -> bool {
        let bytes = job.stages.iter().try_fold(0_u64, |sum, stage| {
            Some(sum.saturating_add(stage.spec.estimated_bytes?))
        });
        let small = self.config.small_bytes(self.executors.memory_bytes());
        bytes.is_some_and(|bytes| bytes < small)
            && options.memory_bytes.is_none()
            && options.replica.is_none()
    }

    fn cancel(&mut self, id: JobId, reason: ErrorReport) {
        match self.jobs.get(&id).map(|job| job.phase) {
            Some(Phase::Active) => self.end_job(id, JobEnd::Cancelled(reason)),
            Some(Phase::Finished) => self.release(id),
            Some(Phase::Stopped) | None => {}
        }
    }

    fn release(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.released = true;
            self.finish_delivered(id);
            self.check_drains_of(id);
            self.drop_blocks(id);
        }
    }

    fn join(&mut self, executor: Executor) {
        let id = executor.id();
        match self.executors.epoch(id) {
            Some(present) if present >= executor.epoch => {
                self.counters.fenced += 1;
                return;
            }
            Some(_) => self.executor_lost(id),
            None => {}
        }
        self.executors.join(executor);
        self.perhaps_exclude(id);
        self.reservations.changed = true;
    }
}
