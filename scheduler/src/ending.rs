//! Jobs that end, and the blocks they leave behind.
//!
//! `JobEnded` goes out at once; the job stays in the map until nothing of it runs and every
//! holder that is still there was told to drop its blocks. A holder is told only when none of the
//! job's attempts runs there, or a straggler could write blocks after the drop.

use job::{AttemptId, ExecutorId, JobId, StageId, TaskId};

use crate::executor_state::Held;
use crate::job_state::Phase;
use crate::scheduler::Scheduler;
use crate::{Action, JobEnd};

impl Scheduler {
    pub(crate) fn is_active(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.is_active())
    }

    /// A job's attempts that hold slots, in order.
    pub(crate) fn attempts_of(&self, job: JobId) -> Vec<(ExecutorId, AttemptId, Held)> {
        let state = self.jobs.get(&job).filter(|job| job.held > 0);
        let holders = state.into_iter().flat_map(|job| job.holders.iter());
        let mut attempts: Vec<_> = holders
            .filter_map(|id| Some((id, self.executors.get(id)?)))
            .flat_map(|(id, executor)| {
                let attempts = executor.attempts_of(job);
                attempts.map(move |(attempt, held)| (id, *attempt, *held))
            })
            .collect();
        attempts.sort_unstable_by_key(|(_, attempt, _)| *attempt);
        attempts
    }

    /// Ends an active job: stops what runs, forgets its outputs, says so.
    pub(crate) fn end_job(&mut self, id: JobId, end: JobEnd) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if !job.is_active() {
            return;
        }
        job.phase = match end {
            JobEnd::Finished => Phase::Finished,
            JobEnd::Failed(_) | JobEnd::Cancelled(_) => Phase::Stopped,
        };
        if !job.started {
            self.queued -= 1;
        }
        let stages = job.stages.len() as u32;
        for stage in 0..stages {
            self.unwatch_stage(id, StageId(stage));
        }
        self.forget_waiting(id);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.stages.clear();
        job.ready.clear();
        self.pools.requeue(id, job);
        for (until, stage, task) in std::mem::take(&mut job.delayed) {
            let task = TaskId {
                job: id,
                stage,
                task,
            };
            self.delayed.remove(&(until, task));
        }
        for (executor, attempt, _) in self.attempts_of(id) {
            self.cancel_attempt(executor, attempt);
        }
        self.actions.push(Action::JobEnded { job: id, end });
        self.unreserve(id);
        self.check_drains_of(id);
        self.drop_blocks(id);
    }

    /// Drops a job's blocks wherever that may be done now, and the job when none are left.
    pub(crate) fn drop_blocks(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_droppable()) {
            let (executors, actions) = (&self.executors, &mut self.actions);
            let nothing_runs = job.held == 0;
            actions.reserve(job.holders.len());
            job.holders.retain(|executor| {
                let dropped = nothing_runs || !executors.runs(executor, id);
                if dropped {
                    actions.push(Action::DropJob { executor, job: id });
                }
                !dropped
            });
            self.forget_if_gone(id);
        }
    }

    /// The same for one executor, where an attempt of the job has just ended.
    pub(crate) fn drop_blocks_at(&mut self, id: JobId, executor: ExecutorId) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_droppable()) {
            if !self.executors.runs(executor, id) && job.holders.remove(executor) {
                self.actions.push(Action::DropJob { executor, job: id });
            }
            self.forget_if_gone(id);
        }
    }

    fn forget_if_gone(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| job.holders.is_empty()) {
            self.jobs.remove(&id);
        }
    }
}
