//! What is where: accepted outputs, and the executors that may hold blocks of a job.
//!
//! ```text
//!   accepted   task -> (attempt, executor)      what a consumer may be sent to
//!   holders    job, executor -> attempts there  what must be dropped when the job is over
//! ```
//!
//! Both are kept by executor too, so that a loss costs as much as was lost. Every accepted output
//! is at a holder; an executor that is not there is in neither map. The scheduler decides what an
//! entry is needed for; nothing here runs anything again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use job::{ExecutorId, InputLocations, JobId, MapOutput, StageId, TaskId};

#[derive(Debug, Default)]
pub(crate) struct Registry {
    accepted: BTreeMap<TaskId, MapOutput>,
    accepted_at: BTreeSet<(ExecutorId, TaskId)>,
    /// With the number of the job's attempts that run there.
    holders: BTreeMap<(JobId, ExecutorId), u32>,
    held_by: BTreeSet<(ExecutorId, JobId)>,
}

/// What went with an executor.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Tasks whose accepted outputs are gone, in order.
    pub(crate) outputs: Vec<TaskId>,
    /// Jobs that may have had blocks there, in order.
    pub(crate) jobs: Vec<JobId>,
}

impl Registry {
    pub(crate) fn accept(&mut self, output: MapOutput) {
        let task = output.attempt.task;
        if let Some(old) = self.accepted.insert(task, output) {
            self.accepted_at.remove(&(old.executor, task));
        }
        self.accepted_at.insert((output.executor, task));
    }

    pub(crate) fn accepted(&self, task: TaskId) -> Option<&MapOutput> {
        self.accepted.get(&task)
    }

    /// Forgets an accepted output that turned out to be unreadable.
    pub(crate) fn invalidate(&mut self, task: TaskId) {
        if let Some(old) = self.accepted.remove(&task) {
            self.accepted_at.remove(&(old.executor, task));
        }
    }

    /// The accepted outputs of a stage, in task order.
    pub(crate) fn locations(&self, job: JobId, stage: StageId) -> InputLocations {
        let outputs = self.accepted.range(task_range(job, stage, stage));
        InputLocations {
            stage,
            outputs: outputs.map(|(_, output)| *output).collect(),
        }
    }

    /// Whether an executor holds an accepted output of a stage.
    pub(crate) fn has_output_at(&self, executor: ExecutorId, job: JobId, stage: StageId) -> bool {
        let tasks = task_range(job, stage, stage);
        let range = (executor, *tasks.start())..=(executor, *tasks.end());
        self.accepted_at.range(range).next().is_some()
    }

    /// Forgets the accepted outputs of a job. Its holders stay until dropped.
    pub(crate) fn forget_outputs(&mut self, job: JobId) {
        self.forget_outputs_in(task_range(job, StageId(0), StageId(u32::MAX)));
    }

    /// The same, for stages before this one.
    pub(crate) fn forget_outputs_below(&mut self, job: JobId, stage: StageId) {
        if let Some(last) = stage.0.checked_sub(1) {
            self.forget_outputs_in(task_range(job, StageId(0), StageId(last)));
        }
    }

    fn forget_outputs_in(&mut self, range: RangeInclusive<TaskId>) {
        let outputs: Vec<TaskId> = self.accepted.range(range).map(|(task, _)| *task).collect();
        for task in outputs {
            self.invalidate(task);
        }
    }

    pub(crate) fn attempt_launched(&mut self, job: JobId, executor: ExecutorId) {
        *self.holders.entry((job, executor)).or_default() += 1;
        self.held_by.insert((executor, job));
    }

    pub(crate) fn attempt_ended(&mut self, job: JobId, executor: ExecutorId) {
        if let Some(running) = self.holders.get_mut(&(job, executor)) {
            *running -= 1;
        }
    }

    /// Takes an executor off a job's holders if nothing of the job runs there any more.
    pub(crate) fn drop_idle_holder(&mut self, job: JobId, executor: ExecutorId) -> bool {
        let idle = self.holders.get(&(job, executor)) == Some(&0);
        if idle {
            self.holders.remove(&(job, executor));
            self.held_by.remove(&(executor, job));
        }
        idle
    }

    /// Takes all executors off a job's holders where nothing of it runs any more.
    pub(crate) fn drop_idle_holders(&mut self, job: JobId) -> Vec<ExecutorId> {
        let mut dropped: Vec<ExecutorId> = self.holders(job).collect();
        dropped.retain(|executor| self.drop_idle_holder(job, *executor));
        dropped
    }

    pub(crate) fn has_holders(&self, job: JobId) -> bool {
        self.holders(job).next().is_some()
    }

    fn holders(&self, job: JobId) -> impl Iterator<Item = ExecutorId> {
        let range = (job, ExecutorId(0))..=(job, ExecutorId(u64::MAX));
        self.holders
            .range(range)
            .map(|((_, executor), _)| *executor)
    }

    pub(crate) fn is_holder(&self, job: JobId, executor: ExecutorId) -> bool {
        self.holders.contains_key(&(job, executor))
    }

    /// Jobs that may have blocks on an executor.
    pub(crate) fn jobs_at(&self, executor: ExecutorId) -> impl Iterator<Item = JobId> {
        self.held_by
            .range((executor, JobId(0))..=(executor, JobId(u64::MAX)))
            .map(|(_, job)| *job)
    }

    pub(crate) fn remove_executor(&mut self, executor: ExecutorId) -> Lost {
        let first = TaskId {
            job: JobId(0),
            stage: StageId(0),
            task: 0,
        };
        let last = TaskId {
            job: JobId(u64::MAX),
            stage: StageId(u32::MAX),
            task: u32::MAX,
        };
        let outputs = self
            .accepted_at
            .range((executor, first)..=(executor, last))
            .map(|(_, task)| *task);
        let lost = Lost {
            outputs: outputs.collect(),
            jobs: self.jobs_at(executor).collect(),
        };
        for task in &lost.outputs {
            self.invalidate(*task);
        }
        for job in &lost.jobs {
            self.holders.remove(&(*job, executor));
            self.held_by.remove(&(executor, *job));
        }
        lost
    }

    /// Entries in all maps: zero when idle.
    pub(crate) fn len(&self) -> usize {
        self.accepted.len() + self.accepted_at.len() + self.holders.len() + self.held_by.len()
    }
}

fn task_range(job: JobId, first: StageId, last: StageId) -> RangeInclusive<TaskId> {
    let at = |stage, task| TaskId { job, stage, task };
    at(first, 0)..=at(last, u32::MAX)
}
