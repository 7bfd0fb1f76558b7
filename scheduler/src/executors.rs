//! Who is there, and who has room for a task.
//!
//! Owns the executors' registrations with what they run (`executor_state`), and the indexes
//! that find the executor with most free slots in logarithmic time (`free_slots`).
//!
//! Invariants, for each lane: an executor's free slots plus the slots its attempts hold are its
//! slots; an executor is in the index if and only if it is active and has a free slot.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use job::{AttemptId, Epoch, ExecutorId, JobId, Lane};

use crate::ExecutorState;
use crate::executor_state::{Executor, Held};
use crate::free_slots::FreeSlots;
use crate::ring::Ring;

#[derive(Debug)]
pub(crate) struct Executors {
    /// The registered executors, in no order that means anything.
    records: Vec<Executor>,
    /// Where each one's record is.
    places: Places,
    regular: FreeSlots,
    express: FreeSlots,
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
    pub(crate) lane: Lane,
    pub(crate) free: u32,
    /// Executors with as many free slots, this one included.
    pub(crate) peers: u32,
}

impl Default for Executors {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            places: Places::default(),
            regular: FreeSlots::new(Lane::Regular),
            express: FreeSlots::new(Lane::Express),
            ring: None,
            active: 0,
            memory_bytes: 0,
        }
    }
}

impl Executors {
    /// Registers an executor that is not there.
    pub(crate) fn join(&mut self, executor: Executor) {
        let id = executor.id();
        self.places.set(id, Some(self.records.len()));
        self.records.push(executor);
        self.activate(id);
    }

    /// Removes an executor with all it ran and held.
    pub(crate) fn remove(&mut self, id: ExecutorId) -> Option<Executor> {
        let place = self.places.get(id)?;
        if self.records.get(place)?.is_active() {
            self.deactivate(id);
        }
        let executor = self.records.swap_remove(place);
        self.places.set(id, None);
        if let Some(moved) = self.records.get(place) {
            self.places.set(moved.id(), Some(place));
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
        if was_active && !is_active {
            self.deactivate(id);
        } else if is_active && !was_active {
            self.activate(id);
        }
    }

    /// Takes a registered executor up among those that get tasks.
    fn activate(&mut self, id: ExecutorId) {
        let Some(executor) = self.get(id) else {
            return;
        };
        let (slots, memory) = (executor.slots(), executor.memory_bytes());
        let free = Lane::ALL.map(|lane| (lane, executor.free(lane)));
        self.active += 1;
        if let Some(ring) = &mut self.ring {
            ring.add(id, slots);
        }
        self.memory_bytes = self.memory_bytes.saturating_add(memory);
        for (lane, free) in free {
            self.index_mut(lane).enter(id, free);
        }
    }

    fn deactivate(&mut self, id: ExecutorId) {
        let Some(executor) = self.get(id) else {
            return;
        };
        let memory = executor.memory_bytes();
        let free = Lane::ALL.map(|lane| (lane, executor.free(lane)));
        self.active -= 1;
        if let Some(ring) = &mut self.ring {
            ring.remove(id);
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(memory);
        for (lane, free) in free {
            self.index_mut(lane).leave(id, free);
        }
    }

    fn index(&self, lane: Lane) -> &FreeSlots {
        match lane {
            Lane::Regular => &self.regular,
            Lane::Express => &self.express,
        }
    }

    fn index_mut(&mut self, lane: Lane) -> &mut FreeSlots {
        match lane {
            Lane::Regular => &mut self.regular,
            Lane::Express => &mut self.express,
        }
    }

    /// Memory of the active executors.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// How many executors get tasks, busy or not.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Of the active executors.
    pub(crate) fn free_slots(&self, lane: Lane) -> u64 {
        self.index(lane).total()
    }

    /// The executor with most free slots; one of `avoid` only if no other has any.
    pub(crate) fn freest(&self, lane: Lane, avoid: &[ExecutorId]) -> Option<Room> {
        self.index(lane).freest(avoid)
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
    pub(crate) fn with_free_slots(&self, lane: Lane) -> impl Iterator<Item = ExecutorId> {
        self.index(lane).iter()
    }

    /// Whether a task that would like so many slots is better off here, where its data is, than at the
    /// freest executor: if that has no more than twice the slots for it.
    pub(crate) fn has_room(&self, id: ExecutorId, wanted: u32, freest: Room) -> bool {
        self.room(freest.lane, id).is_some_and(|room| {
            u64::from(room.free.min(wanted)) * 2 >= u64::from(freest.free.min(wanted))
        })
    }

    /// The free slots of an active executor; `None` if there are none.
    pub(crate) fn room(&self, lane: Lane, id: ExecutorId) -> Option<Room> {
        let executor = self.get(id).filter(|executor| executor.is_active())?;
        let free = executor.free(lane);
        (free > 0).then_some(Room {
            executor: id,
            lane,
            free,
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
        let (lane, slots) = (held.lane, held.slots);
        let before = executor.free(lane);
        debug_assert!(slots <= before);
        executor.add(attempt, held);
        *executor.free_mut(lane) -= slots;
        self.reindex(id, lane, before);
    }

    /// Frees what an attempt holds. `None` if it holds nothing.
    pub(crate) fn free(&mut self, id: ExecutorId, attempt: AttemptId) -> Option<Held> {
        let executor = self.get_mut(id)?;
        let held = executor.remove(attempt)?;
        let before = executor.free(held.lane);
        *executor.free_mut(held.lane) += held.slots;
        debug_assert!(executor.free(held.lane) <= executor.slots());
        self.reindex(id, held.lane, before);
        Some(held)
    }

    /// An executor has more or fewer free slots than before.
    fn reindex(&mut self, id: ExecutorId, lane: Lane, before: u32) {
        if let Some(executor) = self.get(id).filter(|executor| executor.is_active()) {
            let after = executor.free(lane);
            let index = self.index_mut(lane);
            index.leave(id, before);
            index.enter(id, after);
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
