//! Executors that keep failing tasks get none for a while.
//!
//! A broken machine fails fast, so it is free more often than others and would draw task after
//! task. Only failures that are the machine's fault count: I/O that failed, a full disk, tasks it
//! stopped on its own. Running out of memory does not: that is the query's size, and excluding the
//! machines it meets would punish everybody else.
//!
//! At most half of the executors are excluded at a time, and never the last one that is active.

use job::{ExecutorId, FailureKind, SqlState};

use crate::ExecutorState;
use crate::retry::Cause;
use crate::scheduler::Scheduler;

/// Whether a failure counts against the executor it happened on.
pub(crate) fn is_executors_fault(cause: Cause<'_>, sqlstate: SqlState) -> bool {
    match cause {
        Cause::Reported(FailureKind::Transient) | Cause::StoppedUnasked => true,
        Cause::Reported(FailureKind::Resources) => sqlstate == SqlState::DISK_FULL,
        Cause::Reported(
            FailureKind::Statement | FailureKind::Internal | FailureKind::LostInput { .. },
        )
        | Cause::ExecutorLost => false,
    }
}

impl Scheduler {
    /// A task failed through the fault of an executor.
    pub(crate) fn note_failure(&mut self, id: ExecutorId) {
        let enough = self.config.exclusion_failures as usize;
        let (now, window) = (self.now, self.config.exclusion_window);
        let Some(executor) = self.executors.get_mut(id).filter(|_| enough > 0) else {
            return;
        };
        let failures = &mut executor.failures;
        failures.push_back(now);
        while failures
            .front()
            .is_some_and(|first| now.since(*first) > window || failures.len() > enough)
        {
            failures.pop_front();
        }
        let fails = failures.len() == enough && executor.is_active();
        let candidates = self.executors.active() + self.excluded.len();
        if fails && 2 * (self.excluded.len() + 1) <= candidates {
            self.exclude(id);
        }
    }

    fn exclude(&mut self, id: ExecutorId) {
        let until = self.now.after(self.config.exclusion_time);
        if let Some(executor) = self.executors.get_mut(id) {
            executor.failures.clear();
            executor.excluded_until = until;
            self.executors.set_state(id, ExecutorState::Excluded);
            self.excluded.insert((until, id));
            self.counters.exclusions += 1;
        }
    }

    /// Takes back the executors whose time is over, and the next one if none is active.
    pub(crate) fn readmit(&mut self) {
        while let Some(&(until, id)) = self.excluded.first() {
            if until > self.now && self.executors.active() > 0 {
                break;
            }
            self.excluded.pop_first();
            self.executors.set_state(id, ExecutorState::Active);
            self.reservations.changed = true;
        }
    }

    /// An executor leaves or is gone: it is not excluded any more.
    pub(crate) fn forget_exclusion(&mut self, id: ExecutorId) {
        if let Some(executor) = self.executors.get(id) {
            self.excluded.remove(&(executor.excluded_until, id));
        }
    }
}
