//! Homes: which executors keep what a partition reads, without a list of who has what.
//!
//! Every executor has some points on a ring of numbers, and a key is at home at the executor whose
//! point follows it: the same one from statement to statement, and with one executor more or less
//! most keys stay where they are. What rendezvous hashing gives, at log n instead of n per key.
//!
//! A stage's keys are dealt out under a bound: nobody is the home of more of them than its share
//! of the slots. A key whose home is full goes on along the ring to the next that is not.

use std::collections::{BTreeMap, BTreeSet};

use job::ExecutorId;

use crate::Replica;

/// Points of an executor: more make shares more even, and joining slower.
const POINTS: u64 = 64;

/// Where the data of one partition should be looked for, and is worth keeping.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Homes {
    pub first: Option<ExecutorId>,
    /// Where it goes when the first has no room; another one than the first.
    pub second: Option<ExecutorId>,
}

impl Homes {
    /// Where one copy is to be made; nowhere in particular if there are too few executors.
    pub fn only(self, replica: Replica) -> Self {
        Self {
            first: match replica {
                Replica::First => self.first,
                Replica::Second => self.second,
            },
            second: None,
        }
    }
}

/// The executors that can be homes.
#[derive(Debug, Default, Clone)]
pub struct Ring {
    points: BTreeSet<(u64, ExecutorId)>,
    slots: BTreeMap<ExecutorId, u32>,
    total_slots: u64,
}

impl Ring {
    /// Adds an executor that is not there. One without slots is nobody's home.
    pub fn add(&mut self, executor: ExecutorId, slots: u32) {
        if slots > 0 && self.slots.insert(executor, slots).is_none() {
            self.total_slots += u64::from(slots);
            self.points.extend(points(executor));
        }
    }

    pub fn remove(&mut self, executor: ExecutorId) {
        if let Some(slots) = self.slots.remove(&executor) {
            self.total_slots -= u64::from(slots);
            for point in points(executor) {
                self.points.remove(&point);
            }
        }
    }

    /// The homes of a key alone.
    pub fn homes(&self, key: u64) -> Homes {
        let mut walk = self.walk(mix(key));
        let first = walk.next();
        let second = walk.find(|executor| Some(*executor) != first);
        Homes { first, second }
    }

    /// The homes of a stage's keys together: each executor is the first home of at most its share,
    /// rounded up. Depends on nothing but the keys, their order among equals, and who is here.
    pub fn assign(&self, keys: &[u64]) -> Vec<Homes> {
        let total = self.total_slots.max(1);
        let share = |executor: ExecutorId| {
            let slots = self.slots.get(&executor).copied().unwrap_or_default();
            (keys.len() as u64 * u64::from(slots)).div_ceil(total)
        };
        let mut order: Vec<(u64, usize)> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| (*key, index))
            .collect();
        order.sort_unstable();
        let mut homes = vec![Homes::default(); keys.len()];
        // The closest first: who inherits what another one had takes nobody's own away.
        let mut closest: Vec<(u64, u64, usize)> = Vec::with_capacity(keys.len());
        for equal in order.chunk_by(|one, other| one.0 == other.0) {
            let key = equal[0].0;
            let (nearest, distance) = (self.homes(key), self.distance(key));
            for (_, index) in equal {
                homes[*index] = nearest;
                closest.push((distance, key, *index));
            }
        }
        closest.sort_unstable();
        let mut taken: BTreeMap<ExecutorId, u64> = BTreeMap::new();
        // What finds its nearest executor full comes after all others have found theirs.
        closest.retain(|(_, _, index)| {
            let Some(first) = homes[*index].first else {
                return false;
            };
            let taken = taken.entry(first).or_default();
            let is_full = *taken >= share(first);
            *taken += u64::from(!is_full);
            is_full
        });
        for equal in closest.chunk_by(|one, other| one.1 == other.1) {
            // Who is full stays full, so the next of equal keys goes on where the last one stopped.
            let mut walk = self.walk(mix(equal[0].1));
            let mut next = walk.next();
            for (_, _, index) in equal {
                while let Some(full) = next
                    && taken.get(&full).is_some_and(|taken| *taken >= share(full))
                {
                    next = walk.next();
                }
                let Some(first) = next else {
                    break;
                };
                *taken.entry(first).or_default() += 1;
                homes[*index] = Homes {
                    first: next,
                    second: homes[*index].first,
                };
            }
        }
        homes
    }

    /// From a key to the next point.
    fn distance(&self, key: u64) -> u64 {
        let place = mix(key);
        let next = self.points.range((place, ExecutorId(0))..).next();
        let next = next.or_else(|| self.points.first());
        next.map_or(0, |(point, _)| point.wrapping_sub(place))
    }

    /// The executors from a place on, each as often as it has points.
    fn walk(&self, place: u64) -> impl Iterator<Item = ExecutorId> {
        let from = (place, ExecutorId(0));
        let walk = self.points.range(from..).chain(self.points.range(..from));
        walk.map(|(_, executor)| *executor)
    }
}

fn points(executor: ExecutorId) -> impl Iterator<Item = (u64, ExecutorId)> {
    let base = mix(executor.0);
    (0..POINTS).map(move |point| (mix(base.wrapping_add(point)), executor))
}

/// SplitMix64: every bit of the input changes half of the output's.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
