//! Executors that leave in good order: when nothing of theirs is needed any more.

use job::{Epoch, ExecutorId, JobId};

use crate::job_state::Phase;
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
            ExecutorState::Active => {
                self.executors.set_state(id, ExecutorState::Draining);
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
        for executor in &self.draining {
            if self.registry.is_holder(job, *executor) {
                self.perhaps_drained.insert(*executor);
            }
        }
    }

    /// Says which executors may go. Last in the answer to an event, when it is clear what runs.
    pub(crate) fn report_drained(&mut self) {
        for id in std::mem::take(&mut self.perhaps_drained) {
            let Some(executor) = self.executors.get(id) else {
                continue;
            };
            let epoch = executor.epoch;
            if executor.attempts.is_empty() && !self.is_read(id) {
                self.executors.set_state(id, ExecutorState::Drained);
                self.draining.remove(&id);
                self.actions.push(Action::ExecutorDrained {
                    executor: id,
                    epoch,
                });
            }
        }
    }

    /// Whether somebody will still read what an executor holds.
    fn is_read(&self, executor: ExecutorId) -> bool {
        self.registry.jobs_at(executor).any(|id| {
            let Some(job) = self.jobs.get(&id) else {
                return false;
            };
            match job.phase {
                Phase::Active => {
                    let mut needed = job.stages.iter().filter(|stage| stage.needed);
                    needed.any(|stage| self.registry.has_output_at(executor, id, stage.spec.id))
                }
                Phase::Finished => {
                    !job.released && self.registry.has_output_at(executor, id, job.result)
                }
                Phase::Stopped => false,
            }
        })
    }
}
