//! Who has a free slot, and who has most: one index per [`Lane`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use job::{ExecutorId, Lane};

use crate::executors::Room;

/// Active executors with a free slot of a lane.
#[derive(Debug)]
pub(crate) struct FreeSlots {
    lane: Lane,
    /// By number of free slots; among equals the lowest id is last.
    by_free: BTreeSet<(u32, Reverse<ExecutorId>)>,
    /// How many have this many free slots, for numbers above zero.
    levels: BTreeMap<u32, u32>,
    total: u64,
}

impl FreeSlots {
    pub(crate) fn new(lane: Lane) -> Self {
        Self {
            lane,
            by_free: BTreeSet::new(),
            levels: BTreeMap::new(),
            total: 0,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The freest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ExecutorId> {
        self.by_free.iter().rev().map(|(_, Reverse(id))| *id)
    }

    /// The executor with most; one of `avoid` only if no other has any.
    pub(crate) fn freest(&self, avoid: &[ExecutorId]) -> Option<Room> {
        // `avoid` is short (a task's last few failures), so this looks at a few entries at most.
        let mut by_preference = self.by_free.iter().rev();
        let &(free, Reverse(executor)) = by_preference
            .find(|(_, Reverse(id))| !avoid.contains(id))
            .or_else(|| self.by_free.last())?;
        Some(Room {
            executor,
            lane: self.lane,
            free,
            peers: self.levels.get(&free).copied().unwrap_or(1),
        })
    }

    pub(crate) fn enter(&mut self, id: ExecutorId, free: u32) {
        if free > 0 {
            self.total += u64::from(free);
            self.by_free.insert((free, Reverse(id)));
            *self.levels.entry(free).or_default() += 1;
        }
    }

    pub(crate) fn leave(&mut self, id: ExecutorId, free: u32) {
        if self.by_free.remove(&(free, Reverse(id))) {
            self.total -= u64::from(free);
            if let Some(count) = self.levels.get_mut(&free) {
                *count -= 1;
                if *count == 0 {
                    self.levels.remove(&free);
                }
            }
        }
    }
}
