//! Executors that keep failing tasks, or keep getting lost, get none for a while.
//!
//! A broken machine fails fast, so it is free more often than others and would draw task after
//! task. Only failures that are the machine's fault count: I/O that failed, a full disk, tasks it
//! stopped on its own, and a loss of the executor itself, whatever it ran. Running out of memory
//! does not: that is the query's size, and excluding the machines it meets would punish everybody
//! else.
//!
//! What counts against an executor outlives its registration, or one that keeps losing its stream
//! would begin anew each time: its tasks would be lost over and over.
//!
//! At most half of the executors are excluded at a time, and never the last one that is active.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use job::{ExecutorId, FailureKind, SqlState};

use crate::executor_state::Executor;
use crate::retry::Cause;
use crate::scheduler::Scheduler;
use crate::{ExecutorState, Instant};

/// Which executors failed of late, and which are excluded.
#[derive(Debug, Default)]
pub(crate) struct Exclusion {
    records: BTreeMap<ExecutorId, Record>,
    /// The records by when they don't matter any more.
    expiries: BTreeSet<(Instant, ExecutorId)>,
    /// Excluded executors, by when that ends.
    excluded: BTreeSet<(Instant, ExecutorId)>,
}

/// What counts against an executor.
#[derive(Debug, Default)]
struct Record {
    /// When it failed, the last few times.
    failures: VecDeque<Instant>,
    /// It gets no tasks before. In the past if it is not excluded.
    excluded_until: Instant,
    expires: Instant,
}

impl Exclusion {
    /// When the next executor is taken back.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.excluded.first().map(|(until, _)| *until)
    }

    /// When an executor gets tasks again.
    pub(crate) fn until(&self, id: ExecutorId) -> Instant {
        let record = self.records.get(&id);
        record.map_or_else(Instant::default, |record| record.excluded_until)
    }

    /// Keeps a record until then.
    fn keep(&mut self, id: ExecutorId, until: Instant) {
        if let Some(record) = self.records.get_mut(&id) {
            self.expiries.remove(&(record.expires, id));
            let at = record.expires.max(until);
            record.expires = at;
            self.expiries.insert((at, id));
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.expiries.first().filter(|(at, _)| *at < now) {
            self.expiries.remove(&(at, id));
            self.records.remove(&id);
        }
    }
}

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
    /// A task failed through the fault of an executor, or it was lost.
    pub(crate) fn note_failure(&mut self, id: ExecutorId) {
        let enough = self.config.exclusion_failures as usize;
        if enough == 0 {
            return;
        }
        let (now, window) = (self.now, self.config.exclusion_window);
        self.exclusion.forget(now);
        let record = self.exclusion.records.entry(id).or_default();
        record.failures.push_back(now);
        while record
            .failures
            .front()
            .is_some_and(|first| now.since(*first) > window || record.failures.len() > enough)
        {
            record.failures.pop_front();
        }
        self.exclusion.keep(id, now.after(window));
        self.perhaps_exclude(id);
    }

    /// Excludes an active executor that has failed often enough, if others are left.
    pub(crate) fn perhaps_exclude(&mut self, id: ExecutorId) {
        let enough = self.config.exclusion_failures as usize;
        let excluded = self.exclusion.excluded.len();
        let candidates = self.executors.active() + excluded;
        let is_active = self.executors.get(id).is_some_and(Executor::is_active);
        if !is_active || 2 * (excluded + 1) > candidates {
            return;
        }
        let (now, window) = (self.now, self.config.exclusion_window);
        let Some(record) = self.exclusion.records.get_mut(&id) else {
            return;
        };
        if record.excluded_until <= now {
            let recent = record.failures.iter();
            if recent.filter(|at| now.since(**at) <= window).count() < enough {
                return;
            }
            record.failures.clear();
            record.excluded_until = now.after(self.config.exclusion_time);
            self.counters.exclusions += 1;
        }
        let until = record.excluded_until;
        self.exclusion.keep(id, until);
        self.exclusion.excluded.insert((until, id));
        self.executors.set_state(id, ExecutorState::Excluded);
        self.forget_home(id);
    }

    /// Takes back the executors whose time is over, and the next one if none is active.
    pub(crate) fn readmit(&mut self) {
        while let Some(&(until, id)) = self.exclusion.excluded.first() {
            if until > self.now && self.executors.active() > 0 {
                break;
            }
            self.exclusion.excluded.pop_first();
            if let Some(record) = self.exclusion.records.get_mut(&id) {
                record.excluded_until = self.now;
            }
            self.executors.set_state(id, ExecutorState::Active);
            self.reservations.changed = true;
        }
    }

    /// An executor leaves or is gone: it gets no tasks anyway.
    pub(crate) fn forget_exclusion(&mut self, id: ExecutorId) {
        let until = self.exclusion.until(id);
        self.exclusion.excluded.remove(&(until, id));
    }
}
