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
        let candidates: Vec<&Registered> = self
            .executors
            .values()
            .filter(|executor| executor.drain == Drain::No)
            .collect();
        let excluded = candidates.iter().filter(|e| !e.is_active()).count();
        let room = 2 * (excluded + 1) <= candidates.len();
        let Some(executor) = self.executors.get_mut(&id).filter(|_| counts) else {
            return;
        };
        executor.failures.push(now);
        let window = config.exclusion_window.as_micros() as u64;
        let recent = executor.failures.iter().filter(|at| now - **at <= window);
        if recent.count() >= config.exclusion_failures as usize && executor.is_active() && room {
            executor.failures.clear();
            executor.excluded_until = Some(now + config.exclusion_time.as_micros() as u64);
        }
    }

    /// Takes back whose time is over, and the next one if nobody else is there.
    pub(crate) fn readmit(&mut self, now: u64) {
        for executor in self.executors.values_mut() {
            executor.excluded_until = executor.excluded_until.filter(|until| *until > now);
        }
        if !self.executors.values().any(Registered::is_active) {
            let excluded = self.executors.values_mut().filter(|e| e.drain == Drain::No);
            if let Some(next) = excluded.min_by_key(|executor| executor.excluded_until) {
                next.excluded_until = None;
            }
        }
    }
}
