//! Executors that leave in good order: when nothing of theirs is needed any more.

use job::{Epoch, ExecutorId, JobId};

use crate::scheduler::Scheduler;
use crate::{Action, ExecutorState};

impl Scheduler {
    /// Gives an executor no more tasks.
    pub(crate) fn drain(&mut self, id: ExecutorId, epoch: Epoch) {
        let registered = self.executors.get(id);
        let Some(executor) = registered.filter(|executor| executor.epoch == epoch) else {
            self.counters.fenced += 1;
            return;
        };
        match executor.state {
            ExecutorState::Active | ExecutorState::Excluded => {
                self.forget_exclusion(id);
                self.executors.set_state(id, ExecutorState::Draining);
                self.forget_home(id);
                self.draining.insert(id);
                self.perhaps_drained.insert(id);
            }
            ExecutorState::Draining | ExecutorState::Drained => {}
        }
    }

    /// One of an executor's attempts has ended.
    pub(crate) fn check_drain(&mut self, executor: ExecutorId) {
        if self.draining.contains(&executor) {
            self.perhaps_drained.insert(executor);
        }
    }

    /// A job needs other outputs than before, or none. O(draining executors).
    pub(crate) fn check_drains_of(&mut self, job: JobId) {
        if self.draining.is_empty() {
            return;
        }
        if let Some(job) = self.jobs.get(&job) {
            let draining = self.draining.iter();
            let holders = draining.filter(|executor| job.holders.contains(**executor));
            self.perhaps_drained.extend(holders);
        }
    }

    /// Says which executors may go. Last in the answer to an event, when it is clear what runs.
    pub(crate) fn report_drained(&mut self) {
        for id in std::mem::take(&mut self.perhaps_drained) {
            let Some(executor) = self.executors.get(id) else {
                continue;
            };
            let epoch = executor.epoch;
            if executor.is_idle() && !self.is_read(id) {
                self.executors.set_state(id, ExecutorState::Drained);
                self.draining.remove(&id);
                self.actions.push(Action::ExecutorDrained {
                    executor: id,
                    epoch,
                });
            }
        }
    }

    /// Whether somebody will still read what an executor holds. O(jobs), and what it holds.
    fn is_read(&self, id: ExecutorId) -> bool {
        let mut active = self.jobs.iter().filter(|(_, job)| job.is_active());
        active.any(|(job_id, job)| {
            job.outputs_at(id).any(|(stage, task)| {
                let stage = job.stage(stage);
                let accepted = stage.accepted(*job_id, task);
                stage.needed
                    && !stage.delivered.contains(&task)
                    && accepted.is_some_and(|output| output.executor == id)
            })
        })
    }
}
