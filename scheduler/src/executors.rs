//! Who is there, and who holds which slots.
//!
//! Owns the executors' registrations, the attempts that hold slots, and the index that finds the
//! executor with most free slots in logarithmic time. Knows nothing of jobs, stages or blocks.
//!
//! Invariants: an executor's free slots plus the slots its attempts hold are its slots; an
//! executor is in the index if and only if it is active and has a free slot; `levels` counts the
//! index by number of free slots, and `free_slots` is its sum.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use job::{AttemptId, Epoch, ExecutorId, JobId, TaskId};

use crate::{ExecutorState, Instant};

#[derive(Debug, Default)]
pub(crate) struct Executors {
    executors: BTreeMap<ExecutorId, Executor>,
    /// Every attempt that holds slots, so that a job's are one range.
    held: BTreeMap<AttemptId, Held>,
    /// Executors with a free slot by number of free slots; among equals the lowest id is last.
    by_free: BTreeSet<(u32, Reverse<ExecutorId>)>,
    /// How many executors have this many free slots, for numbers above zero.
    levels: BTreeMap<u32, u32>,
    free_slots: u64,
    /// How many executors are active.
    active: usize,
}

/// Where the next task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) executor: ExecutorId,
    pub(crate) free: u32,
    /// Executors with as many free slots, this one included.
    pub(crate) peers: u32,
}

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) epoch: Epoch,
    pub(crate) slots: u32,
    pub(crate) free: u32,
    pub(crate) state: ExecutorState,
    pub(crate) attempts: BTreeSet<AttemptId>,
}

impl Executor {
    pub(crate) fn is_active(&self) -> bool {
        self.state == ExecutorState::Active
    }
}

/// The slots an attempt holds, from its launch to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) executor: ExecutorId,
    pub(crate) slots: u32,
    pub(crate) since: Instant,
    /// It was told to stop, so that its outcome doesn't matter any more.
    pub(crate) stopping: bool,
    /// Another attempt ran beside it on the executor at some time, so that it had not all of the
    /// executor's memory.
    pub(crate) shared: bool,
}

impl Executors {
    pub(crate) fn join(&mut self, id: ExecutorId, epoch: Epoch, slots: u32) {
        self.executors.insert(
            id,
            Executor {
                epoch,
                slots,
                free: slots,
                state: ExecutorState::Active,
                attempts: BTreeSet::new(),
            },
        );
        self.active += 1;
        self.index(id, slots);
    }

    /// Removes an executor and frees what its attempts held, in order of attempt.
    pub(crate) fn remove(&mut self, id: ExecutorId) -> Vec<(AttemptId, Held)> {
        let Some(executor) = self.executors.remove(&id) else {
            return Vec::new();
        };
        if executor.is_active() {
            self.active -= 1;
            self.unindex(id, executor.free);
        }
        executor
            .attempts
            .into_iter()
            .filter_map(|attempt| self.held.remove_entry(&attempt))
            .collect()
    }

    pub(crate) fn epoch(&self, id: ExecutorId) -> Option<Epoch> {
        self.executors.get(&id).map(|executor| executor.epoch)
    }

    pub(crate) fn get(&self, id: ExecutorId) -> Option<&Executor> {
        self.executors.get(&id)
    }

    /// Makes an executor active or takes it off the index of those that get tasks.
    pub(crate) fn set_state(&mut self, id: ExecutorId, state: ExecutorState) {
        let Some(executor) = self.executors.get_mut(&id) else {
            return;
        };
        let was_active = executor.is_active();
        executor.state = state;
        let (is_active, free) = (executor.is_active(), executor.free);
        if was_active && !is_active {
            self.active -= 1;
            self.unindex(id, free);
        } else if is_active && !was_active {
            self.active += 1;
            self.index(id, free);
        }
    }

    /// How many executors get tasks, busy or not.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    pub(crate) fn free_slots(&self) -> u64 {
        self.free_slots
    }

    /// The executor with most free slots; one of `avoid` only if no other has any.
    pub(crate) fn freest(&self, avoid: &[ExecutorId]) -> Option<Room> {
        // `avoid` is short (a task's last few failures), so this looks at a few entries at most.
        let mut by_preference = self.by_free.iter().rev();
        let &(free, Reverse(id)) = by_preference
            .find(|(_, Reverse(id))| !avoid.contains(id))
            .or_else(|| self.by_free.last())?;
        Some(Room {
            executor: id,
            free,
            peers: self.levels.get(&free).copied().unwrap_or(1),
        })
    }

    /// Whether an active executor is there that isn't one of `avoid`, busy or not.
    pub(crate) fn has_other_than(&self, avoid: &[ExecutorId]) -> bool {
        let mut here: Vec<_> = avoid
            .iter()
            .filter(|id| self.executors.get(id).is_some_and(Executor::is_active))
            .collect();
        here.sort_unstable();
        here.dedup();
        here.len() < self.active
    }

    /// Gives `slots` of an executor's free slots to an attempt.
    pub(crate) fn hold(&mut self, id: ExecutorId, attempt: AttemptId, slots: u32, now: Instant) {
        let Some(executor) = self.executors.get_mut(&id) else {
            return;
        };
        debug_assert!(slots <= executor.free);
        if executor.attempts.len() == 1 {
            // With two or more, each has been marked before.
            for other in &executor.attempts {
                if let Some(other) = self.held.get_mut(other) {
                    other.shared = true;
                }
            }
        }
        let held = Held {
            executor: id,
            slots,
            since: now,
            stopping: false,
            shared: !executor.attempts.is_empty(),
        };
        executor.attempts.insert(attempt);
        self.held.insert(attempt, held);
        self.set_free(id, |free| free - slots);
    }

    /// Frees what an attempt holds.
    pub(crate) fn free(&mut self, attempt: AttemptId) -> Option<Held> {
        let held = self.held.remove(&attempt)?;
        if let Some(executor) = self.executors.get_mut(&held.executor) {
            executor.attempts.remove(&attempt);
        }
        self.set_free(held.executor, |free| free + held.slots);
        Some(held)
    }

    fn set_free(&mut self, id: ExecutorId, change: impl FnOnce(u32) -> u32) {
        let Some(executor) = self.executors.get_mut(&id) else {
            return;
        };
        let (before, after) = (executor.free, change(executor.free));
        debug_assert!(after <= executor.slots);
        executor.free = after;
        if executor.is_active() {
            self.unindex(id, before);
            self.index(id, after);
        }
    }

    fn index(&mut self, id: ExecutorId, free: u32) {
        if free > 0 {
            self.free_slots += u64::from(free);
            self.by_free.insert((free, Reverse(id)));
            *self.levels.entry(free).or_default() += 1;
        }
    }

    fn unindex(&mut self, id: ExecutorId, free: u32) {
        if self.by_free.remove(&(free, Reverse(id))) {
            self.free_slots -= u64::from(free);
            if let Some(count) = self.levels.get_mut(&free) {
                *count -= 1;
                if *count == 0 {
                    self.levels.remove(&free);
                }
            }
        }
    }

    /// Whether this very attempt holds slots of this very registration.
    pub(crate) fn holds(&self, id: ExecutorId, epoch: Epoch, attempt: AttemptId) -> bool {
        self.epoch(id) == Some(epoch)
            && self
                .held
                .get(&attempt)
                .is_some_and(|held| held.executor == id)
    }

    /// Marks an attempt as told to stop. `None` if it holds nothing or was told before.
    pub(crate) fn stop(&mut self, attempt: AttemptId) -> Option<ExecutorId> {
        let held = self.held.get_mut(&attempt)?;
        if held.stopping {
            return None;
        }
        held.stopping = true;
        Some(held.executor)
    }

    /// A job's attempts that hold slots, in order.
    pub(crate) fn attempts_of(&self, job: JobId) -> impl Iterator<Item = (&AttemptId, &Held)> {
        let at = |stage: u32, task: u32, attempt: u32| AttemptId {
            task: TaskId {
                job,
                stage: job::StageId(stage),
                task,
            },
            attempt,
        };
        self.held
            .range(at(0, 0, 0)..=at(u32::MAX, u32::MAX, u32::MAX))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ExecutorId, &Executor)> {
        self.executors.iter().map(|(id, executor)| (*id, executor))
    }
}
