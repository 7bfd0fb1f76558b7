//! Selects on what happens, asks the scheduler, performs its actions.
//!
//! All decisions are the scheduler's; all waiting is here. One task owns everything below, so
//! there are no locks but the result gates shared with sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use catalog::Forget;
use catalog::system::ExecutorRow;
use datafusion::prelude::SessionConfig;
use executor::{ExecutorReport, TaskLaunch};
use job::{AttemptId, Epoch, ErrorReport, ExecutorId, JobId, TaskId, TaskOutcome, TaskStats};
use operators::{Sink, StagePlan};
use planner::PlannedJob;
use scheduler::{
    Action, Event, ExecutorState, ExecutorView, Instant, JobEnd, JobOptions, Scheduler,
    SchedulerView, WaitReason,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info};

use super::result_gate::{ResultGate, Sent};
use super::result_stream::ResultPart;
use super::{AttachedExecutor, ClusterShape, JobSummary, Waits};

/// What sessions tell the loop.
pub(super) enum Message {
    Submit(Submission),
    Cancel {
        job: JobId,
        reason: ErrorReport,
    },
    /// The session has read an attempt's rows to their end.
    Delivered {
        attempt: AttemptId,
    },
    /// An attempt's rows broke off.
    RowsLost {
        attempt: AttemptId,
        error: ErrorReport,
    },
    /// The session has all rows it wants.
    Release {
        job: JobId,
    },
    View(oneshot::Sender<SchedulerView>),
    Executors(oneshot::Sender<Vec<ExecutorRow>>),
    /// An executor registered, perhaps anew.
    Joined(AttachedExecutor),
    /// A registration ended.
    Lost {
        executor: ExecutorId,
        epoch: Epoch,
    },
    /// It takes no more tasks.
    Draining {
        executor: ExecutorId,
        epoch: Epoch,
    },
    ForgetCached(Forget),
}

pub(super) struct Submission {
    pub(super) job: JobId,
    pub(super) planned: Box<PlannedJob>,
    pub(super) options: JobOptions,
    pub(super) gate: Arc<ResultGate>,
    pub(super) waits: Arc<Waits>,
    pub(super) parts: mpsc::UnboundedSender<ResultPart>,
    pub(super) end: oneshot::Sender<(JobEnd, JobSummary)>,
}

pub(super) struct EventLoop {
    scheduler: Scheduler,
    executors: BTreeMap<ExecutorId, AttachedExecutor>,
    /// What planners are told of the executors.
    shape: watch::Sender<ClusterShape>,
    jobs: BTreeMap<JobId, RunningJob>,
    /// Those that have not started.
    waiting: BTreeSet<JobId>,
    started: std::time::Instant,
}

/// What the loop keeps of a job until it ends.
struct RunningJob {
    plans: Vec<Arc<StagePlan>>,
    session_config: Arc<SessionConfig>,
    gate: Arc<ResultGate>,
    waits: Arc<Waits>,
    parts: mpsc::UnboundedSender<ResultPart>,
    end: oneshot::Sender<(JobEnd, JobSummary)>,
    /// Where attempts that send rows were launched.
    senders: BTreeMap<AttemptId, ExecutorId>,
    /// What each task's accepted attempt did.
    stats: BTreeMap<TaskId, TaskStats>,
}

impl EventLoop {
    pub(super) fn new(
        scheduler: Scheduler,
        executors: Vec<AttachedExecutor>,
        shape: watch::Sender<ClusterShape>,
    ) -> Self {
        let mut event_loop = Self {
            scheduler,
            executors: BTreeMap::new(),
            shape,
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            started: std::time::Instant::now(),
        };
        for executor in executors {
            event_loop.on_joined(executor);
        }
        event_loop
    }

    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Message>,
        mut reports: mpsc::UnboundedReceiver<ExecutorReport>,
    ) {
        loop {
            let timeout = self.time_to_next_tick();
            tokio::select! {
                // Reports first: they free slots and end jobs.
                biased;
                Some(report) = reports.recv() => self.on_report(report),
                message = inbox.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => return,
                },
                () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)), if timeout.is_some() => {
                    self.handle(Event::Tick);
                }
            }
        }
    }

    fn time_to_next_tick(&self) -> Option<Duration> {
        let due = self.scheduler.next_timeout()?;
        Some(Duration::from_micros(due.0.saturating_sub(self.now().0)))
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => self.on_submit(submission),
            Message::Cancel { job, reason } => self.handle(Event::JobCancelled { job, reason }),
            Message::Delivered { attempt } => {
                if let Some(running) = self.jobs.get_mut(&attempt.task.job) {
                    running.senders.remove(&attempt);
                }
                self.handle(Event::ResultDelivered { attempt });
            }
            Message::RowsLost { attempt, error } => {
                debug!(%attempt, %error, "rows broke off");
                self.tell_sent(attempt);
                self.handle(Event::ResultLost { attempt, error });
            }
            Message::Release { job } => self.handle(Event::JobReleased { job }),
            Message::View(reply) => {
                // The asker may be gone; then nobody wants the view.
                let _ = reply.send(self.scheduler.snapshot());
            }
            Message::Executors(reply) => {
                let _ = reply.send(self.executor_rows());
            }
            Message::Joined(executor) => self.on_joined(executor),
            Message::Lost { executor, epoch } => self.on_lost(executor, epoch),
            Message::Draining { executor, epoch } => {
                self.handle(Event::ExecutorDraining { executor, epoch });
            }
            Message::ForgetCached(what) => {
                for executor in self.executors.values() {
                    executor.link.forget_cached(&what);
                }
            }
        }
    }

    fn on_joined(&mut self, executor: AttachedExecutor) {
        let AttachedExecutor {
            id,
            epoch,
            slots,
            memory_bytes,
            ..
        } = executor;
        if let Some(old) = self.executors.get(&id) {
            if old.epoch >= epoch {
                return;
            }
            self.on_lost(id, old.epoch);
        }
        self.executors.insert(id, executor);
        self.reshape();
        self.handle(Event::ExecutorJoined {
            executor: id,
            epoch,
            slots,
            memory_bytes,
        });
    }

    fn on_lost(&mut self, executor: ExecutorId, epoch: Epoch) {
        if self.executors.get(&executor).map(|present| present.epoch) != Some(epoch) {
            return;
        }
        // Its link goes first: nothing is sent to it any more, and its stream is closed.
        self.executors.remove(&executor);
        self.reshape();
        // Rows of it may have reached clients already: the scheduler must know before it decides
        // about retries.
        let mut lost = Vec::new();
        for job in self.jobs.values_mut() {
            let gone = job.senders.extract_if(.., |_, holder| *holder == executor);
            lost.extend(gone.map(|(attempt, _)| attempt));
        }
        for attempt in lost {
            self.tell_sent(attempt);
        }
        for other in self.executors.values() {
            other.link.peer_lost(executor, epoch);
        }
        self.handle(Event::ExecutorLost { executor, epoch });
    }

    /// An attempt failed or is about to: tells the scheduler of rows that the client has already,
    /// before it decides about a retry.
    fn tell_sent(&mut self, attempt: AttemptId) {
        let job = self.jobs.get(&attempt.task.job);
        match job.map(|job| job.gate.failed(attempt)) {
            Some(Sent::Some) => self.handle(Event::ResultStarted { attempt }),
            Some(Sent::All) => self.handle(Event::ResultDelivered { attempt }),
            Some(Sent::Nothing) | None => {}
        }
    }

    fn executor_rows(&self) -> Vec<ExecutorRow> {
        let views = self.scheduler.snapshot().executors.into_iter();
        let row = |view: ExecutorView| {
            let attached = self.executors.get(&view.executor);
            ExecutorRow {
                id: view.executor.0,
                address: attached.and_then(|at| at.address.clone()),
                state: match view.state {
                    ExecutorState::Active => "active",
                    ExecutorState::Excluded => "excluded",
                    ExecutorState::Draining => "draining",
                    ExecutorState::Drained => "drained",
                },
                slots: view.slots,
                slots_free: view.slots_free,
                running_tasks: view.attempts,
                memory_bytes: view.memory_bytes,
                usage: attached.and_then(|at| (at.usage)()),
            }
        };
        views.map(row).collect()
    }

    fn reshape(&self) {
        self.shape
            .send_replace(ClusterShape::of(self.executors.values()));
    }

    fn on_submit(&mut self, submission: Submission) {
        let PlannedJob {
            graph,
            plans,
            session_config,
            ..
        } = *submission.planned;
        let result = plans.last().map(|plan| &plan.sink);
        let rows = matches!(result, Some(Sink::Rows(_)));
        self.jobs.insert(
            submission.job,
            RunningJob {
                plans,
                session_config: Arc::new(session_config),
                gate: submission.gate,
                waits: submission.waits,
                parts: submission.parts,
                end: submission.end,
                senders: BTreeMap::new(),
                stats: BTreeMap::new(),
            },
        );
        let job = submission.job;
        self.waiting.insert(job);
        self.handle(Event::JobSubmitted {
            job,
            graph,
            options: JobOptions {
                rows,
                ..submission.options
            },
        });
        self.note_wait(job);
    }

    fn on_report(&mut self, report: ExecutorReport) {
        if let TaskOutcome::Failed(failure) = &report.outcome {
            debug!(attempt = %report.attempt, kind = ?failure.kind, error = %failure.error, "task failed");
        }
        if !matches!(report.outcome, TaskOutcome::Finished(_)) {
            self.tell_sent(report.attempt);
        }
        self.handle(Event::TaskEnded {
            executor: report.executor,
            epoch: report.epoch,
            attempt: report.attempt,
            outcome: report.outcome,
        });
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        let others_wait = matches!(
            event,
            Event::ExecutorJoined { .. }
                | Event::ExecutorLost { .. }
                | Event::ExecutorDraining { .. }
        );
        let admitted = self.scheduler.counters().admitted;
        for action in self.scheduler.handle(now, event) {
            self.perform(action);
        }
        if others_wait || admitted != self.scheduler.counters().admitted {
            for job in self.waiting.clone() {
                self.note_wait(job);
            }
        }
    }

    /// Lets others see why a job has not started.
    fn note_wait(&self, job: JobId) {
        if let Some(running) = self.jobs.get(&job)
            && self.waiting.contains(&job)
        {
            let reason = self.scheduler.waits_for(job);
            if let Some(WaitReason::Memory { wanted, free }) = reason {
                info!(%job, wanted, free, "waits for memory");
            }
            running.waits.set(reason);
        }
    }

    /// A job has started, or will not.
    fn waits_no_more(&mut self, job: JobId) {
        if self.waiting.remove(&job)
            && let Some(running) = self.jobs.get(&job)
        {
            running.waits.set(None);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::LaunchTask {
                executor,
                attempt,
                partitions,
                slots,
                lane,
                inputs,
                is_result,
            } => {
                self.waits_no_more(attempt.task.job);
                let (Some(at), Some(running)) = (
                    self.executors.get(&executor),
                    self.jobs.get_mut(&attempt.task.job),
                ) else {
                    error!(%attempt, %executor, "launch for an unknown executor or job");
                    return;
                };
                let Some(plan) = running.plans.get(attempt.task.stage.0 as usize) else {
                    error!(%attempt, "launch for a stage without a plan");
                    return;
                };
                let sends_rows = is_result && matches!(plan.sink, Sink::Rows(_));
                if sends_rows {
                    running.gate.launched(attempt);
                    running.senders.insert(attempt, executor);
                    let rows = at.link.open_rows(attempt);
                    // A session that is gone has cancelled the job; its rows stop with it.
                    let _ = running.parts.send(ResultPart { attempt, rows });
                }
                at.link.launch(TaskLaunch {
                    attempt,
                    partitions,
                    slots,
                    lane,
                    plan: Arc::clone(plan),
                    inputs,
                    session_config: Arc::clone(&running.session_config),
                });
            }
            Action::CancelTask { executor, attempt } => {
                if let Some(at) = self.executors.get(&executor) {
                    at.link.cancel(attempt);
                }
            }
            Action::TaskAccepted { attempt, stats } => {
                if let Some(running) = self.jobs.get_mut(&attempt.task.job) {
                    running.stats.insert(attempt.task, stats);
                }
            }
            Action::DropJob { executor, job } => {
                if let Some(at) = self.executors.get(&executor) {
                    at.link.drop_job(job);
                }
            }
            Action::ExecutorDrained { executor, epoch } => {
                if let Some(at) = self.executors.get(&executor)
                    && at.epoch == epoch
                {
                    at.link.drained();
                }
            }
            Action::JobEnded { job, end } => {
                self.waits_no_more(job);
                if let Some(running) = self.jobs.remove(&job) {
                    debug!(%job, ?end, "job ended");
                    let mut summary = JobSummary::default();
                    for (task, stats) in running.stats {
                        summary.stages.entry(task.stage).or_default().push(stats);
                    }
                    let _ = running.end.send((end, summary));
                }
            }
        }
    }
}
