//! Which tasks may have a second attempt, by the book.

use job::{AttemptId, ExecutorId, StageId, StageOutput};

use super::checker::{Checked, Checker, must};
use super::model::{JobModel, Status, TaskModel};

/// What is known of the pace of a stage.
#[derive(Default)]
pub(crate) struct Pace {
    durations: Vec<u64>,
    threshold: Option<u64>,
}

impl TaskModel {
    pub(crate) fn runs(&self, attempt: u32) -> bool {
        self.status == Status::Running(attempt) || self.copy == Some(attempt)
    }

    /// The attempt whose rows count.
    pub(crate) fn current(&self) -> Option<u32> {
        match self.status {
            Status::Running(current) | Status::Accepted(current, _) => Some(current),
            Status::Waiting { .. } | Status::Lost => None,
        }
    }

    /// An attempt failed in a way that counts. The last failure that a task may have is left to
    /// the other one of two attempts.
    pub(crate) fn attempt_failed(&mut self, attempt: u32, from: u64, attempts_max: u32) {
        self.failures += 1;
        if self.copy.is_some() {
            self.failures = self.failures.min(attempts_max - 1);
        }
        self.attempt_over(attempt, Status::Waiting { from });
    }

    /// An attempt runs no more. If it was the last one, that is what becomes of the task.
    pub(crate) fn attempt_over(&mut self, attempt: u32, then: Status) {
        if self.copy == Some(attempt) {
            self.copy = None;
        } else if self.status == Status::Running(attempt) {
            self.status = self.copy.take().map_or(then, Status::Running);
        }
    }
}

impl JobModel {
    fn accepted(&self, stage: StageId) -> usize {
        let accepted = |task: &TaskModel| matches!(task.status, Status::Accepted(..));
        self.tasks_of(stage).filter(|(_, t)| accepted(t)).count()
    }
}

impl Checker {
    /// An accepted attempt took this long.
    pub(super) fn note_pace(&mut self, attempt: AttemptId, took: u64) {
        let id = attempt.task;
        let config = self.config.speculation;
        let Some(job) = self.model.jobs.get_mut(&id.job) else {
            return;
        };
        let tasks = job.tasks_of(id.stage).count();
        let enough = tasks * config.quantile_percent as usize / 100;
        let partitions = job.graph.stages[id.stage.0 as usize].partitions as usize;
        let enough =
            job.partitions_cut(id.stage) == partitions && job.accepted(id.stage) >= enough.max(1);
        let pace = job.paces.entry(id.stage).or_default();
        if pace.threshold.is_none() {
            pace.durations.push(took);
            if enough {
                pace.durations.sort_unstable();
                let median = pace.durations[pace.durations.len() / 2];
                let multiple = median * u64::from(config.multiplier_percent) / 100;
                pace.threshold = Some(multiple.max(config.min_time.as_micros() as u64));
            }
        }
    }

    /// A running task may be started a second time.
    pub(super) fn check_copy(&self, executor: ExecutorId, attempt: AttemptId) -> Checked {
        let id = attempt.task;
        let job = &self.model.jobs[&id.job];
        let task = &job.tasks[&id];
        let exchange = matches!(
            job.graph.stages[id.stage.0 as usize].output,
            StageOutput::Exchange { .. }
        );
        must(job.speculation && exchange && task.copy.is_none(), || {
            format!("{attempt} launched while {:?}", task.status)
        })?;
        let Status::Running(first) = task.status else {
            return Ok(());
        };
        let first = AttemptId {
            task: id,
            attempt: first,
        };
        let held = self.model.held[&first];
        must(held.executor != executor, || {
            format!("{attempt} runs beside {first} on executor {executor}")
        })?;
        let threshold = job.paces.get(&id.stage).and_then(|pace| pace.threshold);
        let due = threshold.is_some_and(|threshold| held.since + threshold <= self.now);
        must(due, || format!("{first} is no straggler, and is copied"))?;
        let mut others = self.model.jobs.iter();
        let wanted = others.find(|(_, job)| self.model.works(job, self.now));
        must(wanted.is_none(), || {
            format!("{attempt} is a copy, and takes a slot that another job wants")
        })
    }

    /// No attempt goes on whose task doesn't wait for it.
    pub(super) fn check_running(&self) -> Checked {
        for (attempt, held) in &self.model.held {
            let job = self.model.active(attempt.task.job);
            let task = job.and_then(|job| job.tasks.get(&attempt.task));
            let runs = task.is_some_and(|task| task.runs(attempt.attempt));
            must(held.stopping || runs, || {
                format!("{attempt} goes on for nothing")
            })?;
        }
        Ok(())
    }
}
