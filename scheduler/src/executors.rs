//! Who is there, and who has room for a task.
//!
//! Owns the executors' registrations with what they run (`executor_state`), and the index
//! that finds the executor with most free slots in logarithmic time.
//!
//! Invariants: an executor's free slots plus the slots its attempts hold are its slots; an
//! executor is in the index if and only if it is active and has a free slot; `levels` counts the
//! index by number of free slots, and `free_slots` is its sum.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use job::{AttemptId, Epoch, ExecutorId, JobId};

use crate::ExecutorState;
use crate::executor_state::{Executor, Held};
use crate::ring::Ring;

#[derive(Debug, Default)]
pub(crate) struct Executors {
    /// The registered executors, in no order that means anything.
    records: Vec<Executor>,
    /// Where each one's record is.
    places: Places,
    /// Active executors with a free slot by number of free slots; among equals the lowest id is
    /// last.
    by_free: BTreeSet<(u32, Reverse<ExecutorId>)>,
    /// How many active executors have this many free slots, for numbers above zero.
    levels: BTreeMap<u32, u32>,
    free_slots: u64,
    /// The active executors as homes of data, once somebody has asked.
    ring: Option<Ring>,
    /// How many executors are active, and their memory.
    active: usize,
    memory_bytes: u64,
}

/// Executors' places in a list.
///
/// Drivers number executors as they join, so a plain list finds most, and stays in the processor's
/// cache: the report of a task waits for the record alone.
#[derive(Debug, Default)]
struct Places {
    /// By id. Grows with the highest id there ever was.
    low: Vec<Option<NonZeroU32>>,
    high: BTreeMap<ExecutorId, NonZeroU32>,
}

/// Ids from here on are rather looked up in a tree.
const HIGH_IDS: u64 = 1 << 20;

impl Places {
    fn get(&self, id: ExecutorId) -> Option<usize> {
        let place = match id.0 {
            low @ 0..HIGH_IDS => *self.low.get(low as usize)?,
            HIGH_IDS.. => self.high.get(&id).copied(),
        };
        Some(place?.get() as usize - 1)
    }

    fn set(&mut self, id: ExecutorId, place: Option<usize>) {
        let place = place.and_then(|place| NonZeroU32::new(place as u32 + 1));
        match (id.0, place) {
            (low @ 0..HIGH_IDS, _) => {
                let low = low as usize;
                if low >= self.low.len() {
                    self.low.resize(low + 1, None);
                }
                self.low[low] = place;
            }
            (HIGH_IDS.., Some(place)) => {
                self.high.insert(id, place);
            }
            (HIGH_IDS.., None) => {
                self.high.remove(&id);
            }
        }
    }
}

/// Where the next task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) executor: ExecutorId,
    pub(crate) free: u32,
    /// Executors with as many free slots, this one included.
    pub(crate) peers: u32,
}

impl Executors {
    /// Registers an executor that is not there.
    pub(crate) fn join(&mut self, executor: Executor) {
        let (id, free) = (executor.id(), executor.free);
        let memory = executor.memory_bytes();
        self.places.set(id, Some(self.records.len()));
        self.records.push(executor);
        self.activate(id, free, memory);
    }

    /// Removes an executor with all it ran and held.
    pub(crate) fn remove(&mut self, id: ExecutorId) -> Option<Executor> {
        let place = self.places.get(id)?;
        let executor = self.records.swap_remove(place);
        self.places.set(id, None);
        if let Some(moved) = self.records.get(place) {
            self.places.set(moved.id(), Some(place));
        }
        if executor.is_active() {
            self.deactivate(id, executor.free, executor.memory_bytes());
        }
        Some(executor)
    }

    pub(crate) fn get(&self, id: ExecutorId) -> Option<&Executor> {
        self.records.get(self.places.get(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: ExecutorId) -> Option<&mut Executor> {
        self.records.get_mut(self.places.get(id)?)
    }

    pub(crate) fn epoch(&self, id: ExecutorId) -> Option<Epoch> {
        self.get(id).map(|executor| executor.epoch)
    }

    /// Makes an executor active or takes it off the index of those that get tasks.
    pub(crate) fn set_state(&mut self, id: ExecutorId, state: ExecutorState) {
        let Some(executor) = self.get_mut(id) else {
            return;
        };
        let was_active = executor.is_active();
        executor.state = state;
        let is_active = executor.is_active();
        let (free, memory) = (executor.free, executor.memory_bytes());
        if was_active && !is_active {
            self.deactivate(id, free, memory);
        } else if is_active && !was_active {
            self.activate(id, free, memory);
        }
    }

    fn activate(&mut self, id: ExecutorId, free: u32, memory: u64) {
        self.active += 1;
        let slots = self.get(id).map_or(0, Executor::slots);
        if let Some(ring) = &mut self.ring {
            ring.add(id, slots);
        }
        self.memory_bytes = self.memory_bytes.saturating_add(memory);
        self.enter(id, free);
    }

    fn deactivate(&mut self, id: ExecutorId, free: u32, memory: u64) {
        self.active -= 1;
        if let Some(ring) = &mut self.ring {
            ring.remove(id);
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(memory);
        self.leave(id, free);
    }

    /// Memory of the active executors.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
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

    /// Who is whose home.
    pub(crate) fn ring(&mut self) -> &Ring {
        let active = self.records.iter().filter(|executor| executor.is_active());
        self.ring.get_or_insert_with(|| {
            let mut ring = Ring::default();
            active.for_each(|executor| ring.add(executor.id(), executor.slots()));
            ring
        })
    }

    /// Active executors with a free slot, the freest first.
    pub(crate) fn with_free_slots(&self) -> impl Iterator<Item = ExecutorId> {
        self.by_free.iter().rev().map(|(_, Reverse(id))| *id)
    }

    /// Whether a task that would like so many slots is better off here, where its data is, than at the
    /// freest executor: if that has no more than twice the slots for it.
    pub(crate) fn has_room(&self, id: ExecutorId, wanted: u32, freest: u32) -> bool {
        self.room(id).is_some_and(|room| {
            u64::from(room.free.min(wanted)) * 2 >= u64::from(freest.min(wanted))
        })
    }

    /// The free slots of an active executor; `None` if there are none.
    pub(crate) fn room(&self, id: ExecutorId) -> Option<Room> {
        let executor = self.get(id).filter(|executor| executor.is_active())?;
        (executor.free > 0).then_some(Room {
            executor: id,
            free: executor.free,
            peers: 1,
        })
    }

    /// Whether an active executor is there that isn't one of `avoid`, busy or not.
    pub(crate) fn has_other_than(&self, avoid: &[ExecutorId]) -> bool {
        let mut here: Vec<_> = avoid
            .iter()
            .filter(|id| self.get(**id).is_some_and(Executor::is_active))
            .collect();
        here.sort_unstable();
        here.dedup();
        here.len() < self.active
    }

    /// Gives free slots of an executor to an attempt.
    pub(crate) fn hold(&mut self, id: ExecutorId, attempt: AttemptId, held: Held) {
        let Some(executor) = self.get_mut(id) else {
            return;
        };
        let slots = held.slots;
        debug_assert!(slots <= executor.free);
        executor.add(attempt, held);
        let before = executor.free;
        executor.free -= slots;
        let (after, is_active) = (executor.free, executor.is_active());
        if is_active {
            self.leave(id, before);
            self.enter(id, after);
        }
    }

    /// Frees what an attempt holds. `None` if it holds nothing.
    pub(crate) fn free(&mut self, id: ExecutorId, attempt: AttemptId) -> Option<Held> {
        let executor = self.get_mut(id)?;
        let held = executor.remove(attempt)?;
        let before = executor.free;
        executor.free += held.slots;
        debug_assert!(executor.free <= executor.slots());
        let (after, is_active) = (executor.free, executor.is_active());
        if is_active {
            self.leave(id, before);
            self.enter(id, after);
        }
        Some(held)
    }

    fn enter(&mut self, id: ExecutorId, free: u32) {
        if free > 0 {
            self.free_slots += u64::from(free);
            self.by_free.insert((free, Reverse(id)));
            *self.levels.entry(free).or_default() += 1;
        }
    }

    fn leave(&mut self, id: ExecutorId, free: u32) {
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

    /// Marks an attempt as told to stop. False if it holds nothing or was told before.
    pub(crate) fn stop(&mut self, id: ExecutorId, attempt: AttemptId) -> bool {
        let held = self.get_mut(id).and_then(|e| e.held_mut(attempt));
        held.is_some_and(|held| !std::mem::replace(&mut held.stopping, true))
    }

    /// Whether an attempt of a job holds slots of an executor.
    pub(crate) fn runs(&self, id: ExecutorId, job: JobId) -> bool {
        let executor = self.get(id);
        executor.is_some_and(|executor| executor.attempts_of(job).next().is_some())
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Executor> {
        self.records.iter()
    }
}
