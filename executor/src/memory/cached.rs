//! Which decoded column chunks stay in memory: the ledger's book of cached chunks.
//!
//! ```text
//!   loading --fill--> kept <--hold / release--> held by scans
//!      |                |
//!   abandon          evicted: least recently used first, of those the least wanted
//! ```
//!
//! Cached data is what can be had again, so it gives way to everything else, down to a floor
//! that a configuration protects from what could go to disk instead. What scans hold (and what is
//! being loaded) can't give way at once; therefore that is never more than the floor, and an operator
//! that can't spill can always have the rest.
//!
//! Admission is TinyLFU's, weighted by size: a chunk that needs room comes in only if it was wanted
//! more often than all the chunks together that would have to go. So one pass over a large table
//! finds the door closed, and so does the second; and a table that does not fit keeps the same part
//! of itself cached instead of throwing each part out before it is read again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalog::{Chunk, ChunkKey, Prospect, hash_of};

use super::frequency::FrequencySketch;

/// How many different chunks the sketch tells apart.
const CHUNKS_KNOWN: usize = 1 << 16;
/// Of so many least recently used chunks the least wanted goes.
const VICTIMS_COMPARED: usize = 8;
/// One chunk may take this part of the cache.
const LARGEST_PART: u64 = 8;

/// How much memory may hold cached chunks, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    /// At most so much, whatever is free. Zero turns the cache off.
    pub(crate) max: u64,
    /// So much gives way only to what can't spill. Scans hold no more than that.
    pub(crate) floor: u64,
}

/// What the cache did since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) hit_bytes: u64,
    pub(crate) loaded_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    /// Scans that hold it.
    holders: u32,
    /// Its place in `order`.
    used_at: u64,
    /// `None` while it is being loaded.
    chunk: Option<Arc<Chunk>>,
}

#[derive(Debug)]
pub(crate) struct CachedChunks {
    limits: CacheLimits,
    entries: HashMap<ChunkKey, Entry>,
    /// Entries that may go, least recently used first.
    order: BTreeMap<u64, ChunkKey>,
    clock: u64,
    frequency: FrequencySketch,
    /// Bytes of all entries.
    total: u64,
    /// Bytes of entries that are held or being loaded.
    pinned: u64,
    /// Taken out, not yet dropped: freeing memory is not for whoever holds the ledger's lock.
    evicted: Vec<Arc<Chunk>>,
    counts: CacheCounts,
}

impl CachedChunks {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        let known = if limits.max == 0 { 0 } else { CHUNKS_KNOWN };
        Self {
            limits,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            frequency: FrequencySketch::new(known),
            total: 0,
            pinned: 0,
            evicted: Vec::new(),
            counts: CacheCounts::default(),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn pinned(&self) -> u64 {
        self.pinned
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// Notes that something larger than a chunk is wanted; was it before?
    pub(crate) fn note(&mut self, what: u64) -> bool {
        self.frequency.note(what) > 0
    }

    /// Notes that a scan wants these chunks, of about so many bytes, and tells what it will find.
    /// `free` is what nobody else uses of the memory that the cache may have.
    pub(crate) fn survey(&mut self, wanted: &[(ChunkKey, u64)], free: u64) -> Vec<Prospect> {
        let prospects: Vec<Prospect> = wanted
            .iter()
            .map(|(key, bytes)| {
                self.frequency.note(hash_of(key));
                match self.entries.get(key) {
                    Some(entry) if entry.chunk.is_some() => Prospect::Here,
                    Some(_) => Prospect::Elsewhere,
                    None if self.victims(key, *bytes, free).is_some() => Prospect::Welcome,
                    None => Prospect::Elsewhere,
                }
            })
            .collect();
        let here = prospects.iter().filter(|p| **p == Prospect::Here).count();
        self.counts.misses += (prospects.len() - here) as u64;
        prospects
    }

    /// Holds a chunk for a scan. `None` if it isn't there, or too much is held.
    pub(crate) fn hold(&mut self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        let entry = self.entries.get_mut(key)?;
        let chunk = Arc::clone(entry.chunk.as_ref()?);
        if entry.holders == 0 {
            if self.pinned + entry.bytes > self.limits.floor {
                return None;
            }
            self.pinned += entry.bytes;
            self.order.remove(&entry.used_at);
        }
        entry.holders += 1;
        self.counts.hits += 1;
        self.counts.hit_bytes += entry.bytes;
        Some(chunk)
    }

    /// A scan is done with a chunk that it holds.
    pub(crate) fn release(&mut self, key: &ChunkKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        assert!(entry.holders > 0, "a chunk is released once");
        entry.holders -= 1;
        if entry.holders == 0 {
            self.pinned -= entry.bytes;
            self.clock += 1;
            entry.used_at = self.clock;
            self.order.insert(self.clock, key.clone());
        }
    }

    /// A scan is about to load a chunk of about `bytes`. `false`: it is not to be kept, or somebody
    /// loads it already. Charges for it, and evicts what it takes.
    pub(crate) fn begin(&mut self, key: &ChunkKey, bytes: u64, free: u64) -> bool {
        if self.entries.contains_key(key) {
            return false;
        }
        let Some(victims) = self.victims(key, bytes, free) else {
            return false;
        };
        for victim in victims {
            self.evict_one(victim);
        }
        self.entries.insert(
            key.clone(),
            Entry {
                bytes,
                holders: 0,
                used_at: 0,
                chunk: None,
            },
        );
        self.total += bytes;
        self.pinned += bytes;
        true
    }

    /// What was loaded, of exactly `bytes`; held by its loader from the start. `false`: it turned
    /// out too large, and is forgotten.
    pub(crate) fn fill(
        &mut self,
        key: &ChunkKey,
        chunk: &Arc<Chunk>,
        bytes: u64,
        free: u64,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let more = bytes.saturating_sub(entry.bytes);
        let fits = more <= free
            && self.total + more <= self.limits.max
            && self.pinned + more <= self.limits.floor;
        if more > 0 && !fits {
            self.abandon(key);
            return false;
        }
        self.total = self.total - entry.bytes + bytes;
        self.pinned = self.pinned - entry.bytes + bytes;
        entry.bytes = bytes;
        entry.holders = 1;
        entry.chunk = Some(Arc::clone(chunk));
        self.counts.loaded_bytes += bytes;
        true
    }

    /// What was to be loaded was not.
    pub(crate) fn abandon(&mut self, key: &ChunkKey) {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| entry.chunk.is_none())
            && let Some(entry) = self.entries.remove(key)
        {
            self.total -= entry.bytes;
            self.pinned -= entry.bytes;
        }
    }

    /// What could be evicted for somebody who can do without (by spilling), or who can't.
    pub(crate) fn evictable(&self, can_spill: bool) -> u64 {
        let free = self.total - self.pinned;
        if can_spill {
            free.min(self.total.saturating_sub(self.limits.floor))
        } else {
            free
        }
    }

    /// Evicts at least `bytes`, or all that may go.
    pub(crate) fn evict(&mut self, bytes: u64) {
        let goal = self.total.saturating_sub(bytes);
        while self.total > goal
            && let Some(victim) = self.least_wanted(&[])
        {
            self.evict_one(victim);
        }
    }

    /// Evicts all that no scan holds.
    pub(crate) fn clear(&mut self) {
        while let Some(victim) = self.order.keys().next().copied() {
            self.evict_one(victim);
        }
    }

    /// What was evicted since: to be dropped without the ledger's lock.
    pub(crate) fn take_evicted(&mut self) -> Vec<Arc<Chunk>> {
        std::mem::take(&mut self.evicted)
    }

    /// What has to go so that a chunk can come; `None` if it is not worth that.
    fn victims(&self, key: &ChunkKey, bytes: u64, free: u64) -> Option<Vec<u64>> {
        let off = self.limits.max == 0;
        if off || bytes > self.limits.max / LARGEST_PART || self.pinned + bytes > self.limits.floor
        {
            return None;
        }
        let room = free.min(self.limits.max.saturating_sub(self.total));
        let mut missing = bytes.saturating_sub(room);
        let mut victims = Vec::new();
        let mut price = 0;
        // Being looked at once more than the others is not enough: counts are estimates, and
        // those who take turns would throw each other out for ever.
        let worth = u32::from(self.frequency.count(hash_of(key)));
        while missing > 0 {
            let victim = self.least_wanted(&victims)?;
            let key = self.order.get(&victim)?;
            price += u32::from(self.frequency.count(hash_of(key))) + 1;
            if price >= worth {
                return None;
            }
            missing = missing.saturating_sub(self.entries.get(key)?.bytes);
            victims.push(victim);
        }
        Some(victims)
    }

    /// The least wanted of the least recently used that are not in `taken`.
    fn least_wanted(&self, taken: &[u64]) -> Option<u64> {
        self.order
            .iter()
            .filter(|(at, _)| !taken.contains(at))
            .take(VICTIMS_COMPARED)
            .min_by_key(|(at, key)| (self.frequency.count(hash_of(key)), **at))
            .map(|(at, _)| *at)
    }

    fn evict_one(&mut self, at: u64) {
        if let Some(key) = self.order.remove(&at)
            && let Some(entry) = self.entries.remove(&key)
        {
            self.total -= entry.bytes;
            self.counts.evictions += 1;
            self.evicted.extend(entry.chunk);
        }
    }

    /// Checks that every total is the sum of its parts.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(
            self.total,
            self.entries.values().map(|e| e.bytes).sum::<u64>()
        );
        let is_pinned = |entry: &Entry| entry.holders > 0 || entry.chunk.is_none();
        let pinned = self.entries.values().filter(|entry| is_pinned(entry));
        assert_eq!(self.pinned, pinned.map(|e| e.bytes).sum::<u64>());
        assert!(self.pinned <= self.limits.floor, "{self:?}");
        let free = self.entries.iter().filter(|(_, entry)| !is_pinned(entry));
        assert_eq!(free.clone().count(), self.order.len());
        for (key, entry) in free {
            assert_eq!(self.order.get(&entry.used_at), Some(key));
        }
    }
}
