//! Rows of a result on their way to the client.
//!
//! ```text
//!   nothing sent --ResultStarted--> shown --ResultDelivered--> delivered
//!        |  \-------------------------------ResultDelivered-----^
//!        +- lost: the task runs again       +- lost: the job fails   (done for good)
//! ```
//!
//! The driver, not the scheduler, decides the race between a row that goes out and an attempt that
//! is tried again: it tells of rows before it tells of what makes the attempt void.

use job::{AttemptId, ErrorReport, FailureKind, JobId, SqlState, TaskFailure, TaskId, TaskOutcome};

use crate::JobEnd;
use crate::scheduler::Scheduler;
use crate::stage_state::{StageState, TaskState};

/// What an attempt of which rows are told about is.
enum Told {
    /// Its task's running or accepted one.
    Current,
    /// Another one has taken its place, or will.
    Void,
    /// Never launched, or its job is over.
    Nothing,
}

impl Scheduler {
    /// Rows of a result attempt are going out.
    pub(crate) fn result_started(&mut self, attempt: AttemptId) {
        match self.told_of(attempt) {
            Told::Current => {
                if let Some(stage) = self.stage_of(attempt.task) {
                    stage.shown.insert(attempt.task.task);
                }
            }
            Told::Void => self.sent_in_vain(attempt),
            Told::Nothing => self.counters.fenced += 1,
        }
    }

    /// All rows of a result attempt have gone out.
    pub(crate) fn result_delivered(&mut self, attempt: AttemptId) {
        match self.told_of(attempt) {
            Told::Current => {
                if let Some(stage) = self.stage_of(attempt.task) {
                    stage.unreadable.remove(&attempt.task.task);
                    stage.delivered.insert(attempt.task.task);
                }
                self.finish_delivered(attempt.task.job);
                self.check_drains_of(attempt.task.job);
            }
            Told::Void => self.sent_in_vain(attempt),
            Told::Nothing => self.counters.fenced += 1,
        }
    }

    /// Rows of a result attempt can't be read.
    pub(crate) fn result_lost(&mut self, attempt: AttemptId, error: ErrorReport) {
        let id = attempt.task;
        let is_current = matches!(self.told_of(attempt), Told::Current);
        let stage = self.stage_of(id).filter(|_| is_current);
        let Some(stage) = stage.filter(|stage| !stage.delivered.contains(&id.task)) else {
            self.counters.fenced += 1;
            return;
        };
        match stage.tasks[id.task as usize].state {
            // Its own report says why, unless it ends well.
            TaskState::Running { .. } => {
                stage.unreadable.insert(id.task, (attempt.attempt, error));
            }
            TaskState::Accepted { .. } if stage.shown.contains(&id.task) => {
                self.end_job(id.job, JobEnd::Failed(error));
            }
            TaskState::Accepted { executor, .. } => {
                self.output_lost(id, executor);
                self.settle(id.job);
            }
            TaskState::Pending | TaskState::Delayed { .. } => {}
        }
    }

    /// What became of an attempt: one that did well has failed if its rows can't be read.
    pub(crate) fn unless_unreadable(
        &mut self,
        attempt: AttemptId,
        outcome: TaskOutcome,
    ) -> TaskOutcome {
        let stage = self.stage_of(attempt.task);
        let unreadable = stage.and_then(|stage| stage.unreadable.remove(&attempt.task.task));
        match (unreadable, outcome) {
            (Some((number, error)), TaskOutcome::Finished(_)) if number == attempt.attempt => {
                let kind = FailureKind::Transient;
                TaskOutcome::Failed(TaskFailure { kind, error })
            }
            (_, outcome) => outcome,
        }
    }

    /// Ends a job whose result nobody will come for again.
    pub(crate) fn finish_delivered(&mut self, id: JobId) {
        let job = self.jobs.get(&id).filter(|job| job.is_computed());
        if job.is_some_and(|job| job.released || job.stage(job.result).is_delivered()) {
            self.end_job(id, JobEnd::Finished);
        }
    }

    fn told_of(&self, attempt: AttemptId) -> Told {
        let id = attempt.task;
        let job = self.jobs.get(&id.job).filter(|job| job.is_active());
        let stage = job.and_then(|job| job.stages.get(id.stage.0 as usize));
        let task = stage.and_then(|stage| stage.tasks.get(id.task as usize));
        match task {
            Some(task) if attempt.attempt < task.next_attempt => match task.state {
                TaskState::Running {
                    attempt: current, ..
                }
                | TaskState::Accepted {
                    attempt: current, ..
                } if current == attempt.attempt => Told::Current,
                TaskState::Pending
                | TaskState::Delayed { .. }
                | TaskState::Running { .. }
                | TaskState::Accepted { .. } => Told::Void,
            },
            Some(_) | None => Told::Nothing,
        }
    }

    fn stage_of(&mut self, task: TaskId) -> Option<&mut StageState> {
        let job = self.jobs.get_mut(&task.job)?;
        job.stages.get_mut(task.stage.0 as usize)
    }

    /// The client has rows of an attempt that isn't its task's any more.
    fn sent_in_vain(&mut self, attempt: AttemptId) {
        let error = interrupted(attempt.task);
        self.end_job(attempt.task.job, JobEnd::Failed(error));
    }
}

/// A result of which the client has the beginning can't be begun again.
pub(crate) fn interrupted(task: TaskId) -> ErrorReport {
    ErrorReport::new(
        SqlState::IO_ERROR,
        format!("task {task} failed after the first rows of its result were sent"),
    )
    .with_hint("Run the statement again.")
}
