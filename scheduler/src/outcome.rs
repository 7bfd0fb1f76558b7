//! An attempt ended: accept its output, or do what the failure table says.

use std::time::Duration;

use job::{
    AttemptId, Epoch, ErrorReport, ExecutorId, FailureKind, JobId, SqlState, TaskFailure,
    TaskOutcome, TaskStats,
};

use crate::delivery::interrupted;
use crate::exclusion::is_executors_fault;
use crate::executor_state::Held;
use crate::retry::{Cause, Verdict, verdict};
use crate::scheduler::Scheduler;
use crate::stage_state::TaskState;
use crate::{Action, JobEnd};

impl Scheduler {
    pub(crate) fn task_ended(
        &mut self,
        executor: ExecutorId,
        epoch: Epoch,
        attempt: AttemptId,
        outcome: TaskOutcome,
    ) {
        // On a large cluster, neither the executor's record nor the task's nor the job's one of the
        // executor is in the processor's cache: looked at in a row, they are waited for at once.
        let is_here = self.executors.epoch(executor) == Some(epoch);
        let is_holder = self.is_holder(executor, attempt.task.job);
        let is_awaited = self.awaits(executor, attempt);
        let held = (is_here && is_holder).then(|| self.executors.free(executor, attempt));
        let Some(held) = held.flatten() else {
            self.counters.fenced += 1;
            if !self.config.fencing {
                self.believe(executor, attempt, outcome);
            }
            return;
        };
        let job = attempt.task.job;
        self.slots_freed(job, held.slots);
        self.check_drain(executor);
        self.take_up_at(executor);
        if !self.is_active(job) {
            self.drop_blocks_at(job, executor);
        } else if is_awaited {
            match self.unless_unreadable(attempt, outcome) {
                TaskOutcome::Finished(stats) => {
                    let took = self.now.since(held.since);
                    self.accept(executor, attempt, stats, Some(took));
                }
                TaskOutcome::Failed(TaskFailure { kind, error }) => {
                    self.failed(executor, attempt, held, Cause::Reported(&kind), error);
                }
                TaskOutcome::Cancelled => {
                    let error = ErrorReport::new(
                        SqlState::IO_ERROR,
                        format!(
                            "executor {executor} stopped task {} on its own",
                            attempt.task
                        ),
                    );
                    self.failed(executor, attempt, held, Cause::StoppedUnasked, error);
                }
            }
        }
    }

    /// An attempt of a job holds its slots no more.
    pub(crate) fn slots_freed(&mut self, id: JobId, slots: u32) {
        if let Some(job) = self.jobs.get_mut(&id) {
            self.pools.free(id, job, slots);
        }
        self.unreserve(id);
    }

    fn is_holder(&self, executor: ExecutorId, job: JobId) -> bool {
        let job = self.jobs.get(&job);
        job.is_some_and(|job| job.holders.contains(executor))
    }

    /// Whether the outcome of an attempt that holds slots matters: its job is active and it was
    /// not told to stop.
    pub(crate) fn awaits(&self, executor: ExecutorId, attempt: AttemptId) -> bool {
        let id = attempt.task;
        let this = (attempt.attempt, executor);
        self.jobs.get(&id.job).is_some_and(|job| {
            job.is_active()
                && job.stages.get(id.stage.0 as usize).is_some_and(|stage| {
                    let mut running = stage.running_attempts(id.task);
                    running.any(|running| running == this)
                })
        })
    }

    pub(crate) fn accept(
        &mut self,
        executor: ExecutorId,
        attempt: AttemptId,
        stats: TaskStats,
        took: Option<Duration>,
    ) {
        let id = attempt.task;
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return;
        };
        let is_result = job.is_result(id.stage);
        let is_safe = is_result && !job.rows;
        let output = Some((id.stage, id.task));
        let before = job.holders.set_last(executor, output);
        let stage = job.stage_mut(id.stage);
        if is_safe {
            stage.delivered.insert(id.task);
        }
        let others = stage.running_attempts(id.task);
        let mut others = others.filter(|(other, _)| *other != attempt.attempt);
        let other = others.next();
        drop(others);
        stage.leave_to_other(id.task, attempt.attempt);
        stage.forget_failures(id.task);
        stage.tasks[id.task as usize].next_here = before;
        let accepted = TaskState::Accepted {
            attempt: attempt.attempt,
            executor,
        };
        stage.set_state(id.task, accepted);
        let complete = stage.is_complete();
        self.counters.accepted += 1;
        self.actions.push(Action::TaskAccepted { attempt, stats });
        if let Some((other, executor)) = other {
            let attempt = other;
            self.cancel_attempt(executor, AttemptId { task: id, attempt });
        }
        self.settle_stragglers(attempt, took);
        if complete {
            if let Some(job) = self.jobs.get_mut(&id.job) {
                job.stage_completed(id.stage);
            }
            self.unwatch_stage(id.job, id.stage);
            self.finish_delivered(id.job);
            self.settle(id.job);
            if is_result {
                self.unreserve(id.job);
            }
        }
    }

    /// An attempt of an active job, not told to stop, ended without an output.
    pub(crate) fn failed(
        &mut self,
        executor: ExecutorId,
        attempt: AttemptId,
        held: Held,
        cause: Cause<'_>,
        error: ErrorReport,
    ) {
        let id = attempt.task;
        self.counters.failed += 1;
        if is_executors_fault(cause, error.sqlstate) {
            self.note_failure(executor);
        }
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return;
        };
        let stage = job.stage_mut(id.stage);
        if stage.delivered.contains(&id.task)
            && matches!(cause, Cause::StoppedUnasked | Cause::ExecutorLost)
        {
            // All that it was there for has been done.
            self.accept(executor, attempt, TaskStats::default(), None);
            return;
        }
        if stage.shown.contains(&id.task) || stage.delivered.contains(&id.task) {
            // A retry would send rows twice.
            let error = match verdict(cause) {
                // What was lost is none of the client's business, that it may try again is.
                Verdict::RerunInputs => {
                    interrupted(id).with_detail(format!("The reason was: {error}."))
                }
                _ => error,
            };
            self.end_job(id.job, JobEnd::Failed(error));
            return;
        }
        stage.avoid(id.task, executor);
        self.stragglers.remove(&id);
        if self.goes_on(attempt) {
            self.failed_beside_another(attempt, cause, error);
            return;
        }
        match verdict(cause) {
            Verdict::FailJob => self.end_job(id.job, JobEnd::Failed(error)),
            Verdict::RetryAtOnce => self.retry(attempt, false, error),
            Verdict::RetryLater => self.retry(attempt, true, error),
            Verdict::RetryWithMoreRoom => {
                let job = self.jobs.get(&id.job);
                let avoid = job.map_or(&[][..], |job| job.stage(id.stage).avoided(id.task));
                let other_plan_next = job
                    .is_some_and(|job| job.other_plan && job.stage(id.stage).failures(id.task) > 0);
                let has_room_elsewhere = held.shared || self.executors.has_other_than(avoid);
                if has_room_elsewhere && !other_plan_next {
                    self.retry(attempt, true, error);
                } else {
                    self.end_job(id.job, JobEnd::Failed(error));
                }
            }
            Verdict::RerunInputs => match cause {
                Cause::Reported(FailureKind::LostInput { stage, outputs }) => {
                    self.input_lost(attempt, *stage, outputs, error);
                }
                Cause::Reported(_) | Cause::StoppedUnasked | Cause::ExecutorLost => {
                    self.retry(attempt, true, error);
                }
            },
        }
    }

    /// Leaves a task to its other attempt, if it has one.
    fn goes_on(&mut self, attempt: AttemptId) -> bool {
        let id = attempt.task;
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return false;
        };
        let stage = job.stage_mut(id.stage);
        let goes_on = stage.leave_to_other(id.task, attempt.attempt);
        if goes_on {
            // The last failure that it may have is left to the other attempt.
            let most = self.config.task_attempts_max.saturating_sub(1);
            let failures = most.min(stage.failures(id.task) + 1);
            stage.set_failures(id.task, failures);
            self.watch(id, self.now);
        }
        goes_on
    }

    /// One of a task's two attempts has failed: the other one may still do it.
    fn failed_beside_another(&mut self, attempt: AttemptId, cause: Cause<'_>, error: ErrorReport) {
        match (verdict(cause), cause) {
            (Verdict::FailJob, _) => self.end_job(attempt.task.job, JobEnd::Failed(error)),
            (Verdict::RerunInputs, Cause::Reported(FailureKind::LostInput { stage, outputs }))
                if self.reads(attempt.task, *stage) =>
            {
                self.take_off(attempt.task.job, *stage, outputs);
            }
            _ => {}
        }
    }

    /// Queues a failed task again, or gives up on it and its job.
    pub(crate) fn retry(&mut self, attempt: AttemptId, pause: bool, error: ErrorReport) {
        let id = attempt.task;
        let Some(job) = self.jobs.get_mut(&id.job) else {
            return;
        };
        let stage = job.stage_mut(id.stage);
        let failures = stage.failures(id.task) + 1;
        stage.set_failures(id.task, failures);
        if failures >= self.config.task_attempts_max {
            self.give_up(attempt, failures, error);
        } else if pause {
            let until = self.now.after(self.config.backoff(failures));
            self.delay(id, until);
        } else {
            stage.set_state(id.task, TaskState::Pending);
            self.refresh_ready(id.job, id.stage);
        }
    }

    /// Fails a job with the last error of the task that failed too often.
    pub(crate) fn give_up(&mut self, attempt: AttemptId, failures: u32, mut error: ErrorReport) {
        let task = attempt.task;
        error.detail.get_or_insert_with(|| {
            format!("Task {task} failed {failures} times; this is the last failure.")
        });
        self.end_job(task.job, JobEnd::Failed(error));
    }

    /// Fencing is off: takes a late report at its word.
    fn believe(&mut self, executor: ExecutorId, attempt: AttemptId, outcome: TaskOutcome) {
        let TaskOutcome::Finished(stats) = outcome else {
            return;
        };
        let waits = self.jobs.get(&attempt.task.job).is_some_and(|job| {
            let stage = job.stages.get(attempt.task.stage.0 as usize);
            let task = stage.and_then(|stage| stage.tasks.get(attempt.task.task as usize));
            task.is_some_and(|task| match task.state {
                TaskState::Pending | TaskState::Running { .. } => true,
                TaskState::Delayed { .. } | TaskState::Accepted { .. } => false,
            })
        });
        if waits {
            self.accept(executor, attempt, stats, None);
        }
    }
}
