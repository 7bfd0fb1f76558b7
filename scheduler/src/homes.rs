//! The partitions of one stage that are not cut yet, by the executors where they are at home.
//!
//! Invariants: a partition that is not cut is in the queue of each of its homes, or among the
//! homeless if it has none; queues may also name partitions that were cut since, which are passed
//! over when they come up.

use std::collections::BTreeMap;
use std::ops::Bound;

use job::{ExecutorId, Lane};

use crate::Instant;
use crate::executors::Executors;
use crate::ring::Homes;

#[derive(Debug)]
pub(crate) struct StageHomes {
    /// By partition; `None` once it is cut.
    of: Vec<Option<Homes>>,
    first: Queues,
    second: Queues,
    /// Partitions whose homes are all gone.
    homeless: Vec<u32>,
    /// No partition before this one is left.
    left_from: usize,
    /// Until when the stage waits for slots at home. Set once, when it first has to.
    pub(crate) wait_until: Option<Instant>,
}

/// Partitions by home, the lowest last.
#[derive(Debug, Default)]
struct Queues {
    queues: BTreeMap<ExecutorId, Vec<u32>>,
    /// Where the search for one with room goes on.
    cursor: Option<ExecutorId>,
}

/// Where a task goes, as its data sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Home,
    SecondHome,
    Elsewhere,
    /// It has no home.
    Anywhere,
}

impl StageHomes {
    pub(crate) fn new(homes: Vec<Homes>) -> Self {
        let mut new = Self {
            of: Vec::new(),
            first: Queues::default(),
            second: Queues::default(),
            homeless: Vec::new(),
            left_from: 0,
            wait_until: None,
        };
        for (partition, homes) in homes.iter().enumerate().rev() {
            let partition = partition as u32;
            match homes.first {
                Some(first) => new.first.push(first, partition),
                None => new.homeless.push(partition),
            }
            if let Some(second) = homes.second {
                new.second.push(second, partition);
            }
        }
        new.of = homes.into_iter().map(Some).collect();
        new
    }

    /// An executor with room for a partition that is at home there.
    pub(crate) fn find(
        &mut self,
        place: Place,
        executors: &Executors,
        lane: Lane,
        has_room: impl Fn(ExecutorId) -> bool,
    ) -> Option<ExecutorId> {
        let (queues, of) = self.queues(place)?;
        // From both sides, so that it is short where few slots are free and where few homes are left.
        let mut free = executors.with_free_slots(lane);
        for _ in 0..queues.queues.len() {
            let executor = free.next()?;
            if queues.names(executor, of) && has_room(executor) {
                return Some(executor);
            }
            let executor = queues.next()?;
            if queues.names(executor, of) && has_room(executor) {
                return Some(executor);
            }
        }
        None
    }

    /// Whether a slot of this executor is of use.
    pub(crate) fn wants(&mut self, executor: ExecutorId) -> bool {
        self.first.names(executor, &self.of) || self.second.names(executor, &self.of)
    }

    /// Takes up to `most` partitions that are at home at an executor, in ascending order.
    pub(crate) fn take(&mut self, place: Place, executor: ExecutorId, most: u32) -> Vec<u32> {
        let mut taken = Vec::new();
        let Some((queues, of)) = self.queues(place) else {
            return taken;
        };
        while taken.len() < most as usize && queues.names(executor, of) {
            let queue = queues.queues.get_mut(&executor);
            let Some(partition) = queue.and_then(Vec::pop) else {
                break;
            };
            of[partition as usize] = None;
            taken.push(partition);
        }
        // Partitions that came from another home's queue are at the end of it.
        taken.sort_unstable();
        taken
    }

    /// Takes up to `most` partitions, the homeless ones first, in ascending order.
    pub(crate) fn take_any(&mut self, most: u32) -> Vec<u32> {
        let mut taken = Vec::new();
        while taken.len() < most as usize {
            let next = match self.homeless.pop() {
                Some(homeless) => homeless as usize,
                None if self.left_from < self.of.len() => {
                    self.left_from += 1;
                    self.left_from - 1
                }
                None => break,
            };
            if self.of[next].take().is_some() {
                taken.push(next as u32);
            }
        }
        taken.sort_unstable();
        taken
    }

    /// An executor gets no more tasks: what is at home there goes to its second home.
    pub(crate) fn forget(&mut self, executor: ExecutorId) {
        for partition in self.second.queues.remove(&executor).unwrap_or_default() {
            if let Some(homes) = &mut self.of[partition as usize] {
                homes.second = None;
            }
        }
        for partition in self.first.queues.remove(&executor).unwrap_or_default() {
            if let Some(homes) = &mut self.of[partition as usize] {
                *homes = Homes {
                    first: homes.second,
                    second: None,
                };
                match homes.first {
                    Some(first) => self.first.push(first, partition),
                    None => self.homeless.push(partition),
                }
            }
        }
    }

    /// Some partition has no home (any more).
    pub(crate) fn has_homeless(&mut self) -> bool {
        while let Some(last) = self.homeless.last()
            && self.of[*last as usize].is_none()
        {
            self.homeless.pop();
        }
        !self.homeless.is_empty()
    }

    /// The executors that are homes of what is left, in order.
    pub(crate) fn left(&self) -> impl Iterator<Item = ExecutorId> {
        let left = self.of.iter().flatten();
        let mut left: Vec<ExecutorId> = left
            .flat_map(|homes| homes.first.into_iter().chain(homes.second))
            .collect();
        left.sort_unstable();
        left.dedup();
        left.into_iter()
    }

    fn queues(&mut self, place: Place) -> Option<(&mut Queues, &mut Vec<Option<Homes>>)> {
        match place {
            Place::Home => Some((&mut self.first, &mut self.of)),
            Place::SecondHome => Some((&mut self.second, &mut self.of)),
            Place::Elsewhere | Place::Anywhere => None,
        }
    }
}

impl Queues {
    fn push(&mut self, executor: ExecutorId, partition: u32) {
        self.queues.entry(executor).or_default().push(partition);
    }

    /// Whether something is left that is at home there.
    fn names(&mut self, executor: ExecutorId, of: &[Option<Homes>]) -> bool {
        let Some(queue) = self.queues.get_mut(&executor) else {
            return false;
        };
        while let Some(last) = queue.last() {
            if of[*last as usize].is_some() {
                return true;
            }
            queue.pop();
        }
        self.queues.remove(&executor);
        false
    }

    /// The next queue's executor, round and round.
    fn next(&mut self) -> Option<ExecutorId> {
        let from = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.queues.range((from, Bound::Unbounded)).next();
        let (next, _) = next.or_else(|| self.queues.first_key_value())?;
        self.cursor = Some(*next);
        self.cursor
    }
}
