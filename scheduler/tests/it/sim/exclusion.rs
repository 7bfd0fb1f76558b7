//! Which executors get no tasks for a while, by the book.

use job::{ExecutorId, FailureKind, SqlState, TaskOutcome};
use scheduler::SchedulerConfig;

use super::model::{Drain, Model, Registered};

impl Registered {
    /// It gets tasks.
    pub(crate) fn is_active(&self) -> bool {
        self.drain == Drain::No && self.excluded_until.is_none()
    }
}

impl Model {
    /// Notes a failure if it is the executor's fault.
    pub(crate) fn count_failure(
        &mut self,
        config: &SchedulerConfig,
        now: u64,
        id: ExecutorId,
        outcome: &TaskOutcome,
    ) {
        let counts = match outcome {
            TaskOutcome::Finished(_) => false,
            TaskOutcome::Cancelled => true,
            TaskOutcome::Failed(failure) => match failure.kind {
                FailureKind::Transient => true,
                FailureKind::Resources => failure.error.sqlstate == SqlState::DISK_FULL,
                FailureKind::Statement | FailureKind::Internal | FailureKind::LostInput { .. } => {
                    false
                }
            },
        };
        if counts {
            self.count_fault(config, now, id);
        }
    }

    /// A task failed through the fault of an executor, or it was lost.
    pub(crate) fn count_fault(&mut self, config: &SchedulerConfig, now: u64, id: ExecutorId) {
        self.faults.entry(id).or_default().failures.push(now);
        self.perhaps_exclude(config, now, id);
    }

    /// Excludes an executor that failed often enough, whichever its registration.
    pub(crate) fn perhaps_exclude(&mut self, config: &SchedulerConfig, now: u64, id: ExecutorId) {
        let candidates = self.executors.values();
        let candidates: Vec<&Registered> = candidates.filter(|e| e.drain == Drain::No).collect();
        let excluded = candidates.iter().filter(|e| !e.is_active()).count();
        let room = 2 * (excluded + 1) <= candidates.len();
        let executor = self.executors.get_mut(&id);
        let Some(executor) = executor.filter(|executor| executor.is_active() && room) else {
            return;
        };
        let Some(faults) = self.faults.get_mut(&id) else {
            return;
        };
        let window = config.exclusion_window.as_micros() as u64;
        let recent = faults.failures.iter().filter(|at| now - **at <= window);
        let enough = recent.count() >= config.exclusion_failures as usize;
        if faults.excluded_until <= now {
            if !enough {
                return;
            }
            faults.failures.clear();
            faults.excluded_until = now + config.exclusion_time.as_micros() as u64;
        }
        executor.excluded_until = Some(faults.excluded_until);
    }

    /// Takes back whose time is over, and the next one if nobody else is there.
    pub(crate) fn readmit(&mut self, now: u64) {
        for executor in self.executors.values_mut() {
            executor.excluded_until = executor.excluded_until.filter(|until| *until > now);
        }
        if !self.executors.values().any(Registered::is_active) {
            let excluded = self.executors.iter_mut();
            let excluded = excluded.filter(|(_, e)| e.drain == Drain::No);
            if let Some((id, next)) = excluded.min_by_key(|(id, e)| (e.excluded_until, **id)) {
                next.excluded_until = None;
                self.faults.entry(*id).or_default().excluded_until = now;
            }
        }
    }
}
