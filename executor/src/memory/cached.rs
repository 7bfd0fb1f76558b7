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
//! Admission is TinyLFU's, weighted by size and by what it costs to have a chunk again: one that needs
//! room comes in only if keeping it saves more time, as often as it was wanted lately, than keeping
//! all the chunks together that would have to go. So one pass over a large table
//! finds the door closed, and so does the second; and a table that does not fit keeps the same part
//! of itself cached instead of throwing each part out before it is read again.
//!
//! Chunks of tables that somebody told to be cached ([`StorageLevel`]) are of a better class: they go
//! after all others, and what is not of their class makes room for them whatever it was wanted for.
//! A chunk that is not kept in memory may *pass* through it on its way to or from the disk: it is
//! charged for while it is held, and gone when it is released.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalog::{CachedFiles, Chunk, ChunkKey, FileIdentity, Prospect, Wanted, hash_of};
use datafusion::object_store::path::Path;
use job::StorageLevel;

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

/// What the cache did in memory since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Chunks that scans found, and that they looked for in vain.
    pub hits: u64,
    pub misses: u64,
    /// Chunks that had to go.
    pub evictions: u64,
    /// Bytes of the chunks that scans found, and of those that were put in.
    pub hit_bytes: u64,
    pub loaded_bytes: u64,
}

/// May a chunk be loaded?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It will stay.
    Kept,
    /// Only as long as it is held.
    Passing,
    Refused,
}

/// Chunks are of automatic caching, or of tables that have a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Automatic = 0,
    Declared = 1,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    /// What reading it from its file takes, in nanoseconds.
    cost: u64,
    /// Scans that hold it.
    holders: u32,
    /// Its place in the order of its class.
    used_at: u64,
    /// `None` while it is being loaded.
    chunk: Option<Arc<Chunk>>,
    /// Stays when nobody holds it any more.
    keep: bool,
    /// Of the table it was last wanted for.
    level: Option<StorageLevel>,
}

impl Entry {
    fn class(&self) -> Class {
        match self.level {
            Some(_) => Class::Declared,
            None => Class::Automatic,
        }
    }

    fn is_pinned(&self) -> bool {
        self.holders > 0 || self.chunk.is_none()
    }
}

/// The chunks there are of a file: all of one version, but for those that scans still hold.
#[derive(Debug)]
pub(crate) struct FileChunks {
    version: Arc<FileIdentity>,
    pub(crate) entries: usize,
    pub(crate) bytes: u64,
    /// Of the table it was last wanted for.
    pub(crate) level: Option<StorageLevel>,
}

#[derive(Debug)]
pub(crate) struct CachedChunks {
    limits: CacheLimits,
    entries: HashMap<ChunkKey, Entry>,
    files: HashMap<Path, FileChunks>,
    /// Entries that may go, by class, least recently used first.
    orders: [BTreeMap<u64, ChunkKey>; 2],
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
            files: HashMap::new(),
            orders: Default::default(),
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

    /// What is in memory: of which chunk, how many bytes, at which level.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&ChunkKey, u64, Option<StorageLevel>)> {
        let loaded = self.entries.iter().filter(|(_, e)| e.chunk.is_some());
        loaded.map(|(key, entry)| (key, entry.bytes, entry.level))
    }

    /// What is in memory, or on its way there, by file.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &FileChunks)> {
        self.files.iter()
    }

    /// Notes that something larger than a chunk is wanted; was it before?
    pub(crate) fn note(&mut self, what: u64) -> bool {
        self.frequency.note(what) > 0
    }

    /// Notes that a scan wants these chunks, and tells what it will find.
    /// `free` is what nobody else uses of the memory that the cache may have.
    pub(crate) fn survey(
        &mut self,
        wanted: &[Wanted],
        level: Option<StorageLevel>,
        free: u64,
    ) -> Vec<Prospect> {
        let prospects: Vec<Prospect> = wanted
            .iter()
            .map(|wanted| {
                self.frequency.note(hash_of(&wanted.key));
                self.set_level(&wanted.key, level);
                match self.entries.get(&wanted.key) {
                    Some(entry) if entry.chunk.is_some() => Prospect::Here,
                    Some(_) => Prospect::Elsewhere,
                    None => match self.admission(wanted, level, free).0 {
                        Admission::Kept | Admission::Passing => Prospect::Welcome,
                        Admission::Refused => Prospect::Elsewhere,
                    },
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
            self.orders[entry.class() as usize].remove(&entry.used_at);
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
        if entry.holders > 0 {
            return;
        }
        self.pinned -= entry.bytes;
        self.clock += 1;
        entry.used_at = self.clock;
        let keep = entry.keep;
        self.orders[entry.class() as usize].insert(self.clock, key.clone());
        if !keep {
            self.drop_one(key);
        }
    }

    /// A scan is about to load a chunk. Charges for it, and evicts what it takes.
    pub(crate) fn begin(
        &mut self,
        wanted: &Wanted,
        level: Option<StorageLevel>,
        free: u64,
    ) -> Admission {
        let Wanted { key, bytes, cost } = wanted;
        if self.entries.contains_key(key) {
            return Admission::Refused;
        }
        let (admission, victims) = self.admission(wanted, level, free);
        if admission == Admission::Refused {
            return admission;
        }
        for victim in victims {
            self.evict_one(&victim);
        }
        self.note_file(key, *bytes, level);
        self.entries.insert(
            key.clone(),
            Entry {
                bytes: *bytes,
                cost: *cost,
                holders: 0,
                used_at: 0,
                chunk: None,
                keep: admission == Admission::Kept,
                level,
            },
        );
        self.total += *bytes;
        self.pinned += *bytes;
        admission
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
            && (self.total + more <= self.limits.max || !entry.keep)
            && self.pinned + more <= self.limits.floor;
        if more > 0 && !fits {
            self.abandon(key);
            return false;
        }
        self.total = self.total - entry.bytes + bytes;
        self.pinned = self.pinned - entry.bytes + bytes;
        if let Some(file) = self.files.get_mut(key.file.location()) {
            file.bytes = file.bytes - entry.bytes + bytes;
        }
        entry.bytes = bytes;
        entry.holders = 1;
        entry.chunk = Some(Arc::clone(chunk));
        self.counts.loaded_bytes += bytes;
        true
    }

    /// What was to be loaded was not.
    pub(crate) fn abandon(&mut self, key: &ChunkKey) {
        if let Some(entry) = self.entries.get(key).filter(|entry| entry.chunk.is_none()) {
            self.pinned -= entry.bytes;
            self.remove(key);
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
            && let Some((_, victim)) = self.least_wanted(Class::Declared, &[])
        {
            self.evict_one(&victim);
        }
    }

    /// Drops the chunks of these files. What scans hold goes when they release it.
    pub(crate) fn forget(&mut self, files: &CachedFiles) {
        self.drop_all(|file| files.include(file.location()));
    }

    /// Chunks of these files are like those of automatic caching until their table is loaded or read
    /// again: what then is loaded elsewhere, or not at all any more, makes room first.
    pub(crate) fn forget_level(&mut self, files: &CachedFiles) {
        let keys = self.entries.keys();
        let keys = keys.filter(|key| files.include(key.file.location()));
        for key in keys.cloned().collect::<Vec<_>>() {
            self.set_level(&key, None);
        }
    }

    /// What was taken out since: to be dropped without the ledger's lock.
    pub(crate) fn take_evicted(&mut self) -> Vec<Arc<Chunk>> {
        std::mem::take(&mut self.evicted)
    }

    /// May a chunk that is not here come in, and what has to go for it?
    fn admission(
        &self,
        wanted: &Wanted,
        level: Option<StorageLevel>,
        free: u64,
    ) -> (Admission, Vec<ChunkKey>) {
        let bytes = wanted.bytes;
        if self.limits.max == 0 || self.pinned + bytes > self.limits.floor {
            return (Admission::Refused, Vec::new());
        }
        let stays = level.is_none_or(|level| level.memory.is_some());
        if stays && bytes <= self.limits.max / LARGEST_PART {
            let room = free.min(self.limits.max.saturating_sub(self.total));
            let missing = bytes.saturating_sub(room);
            let class = if level.is_some() {
                Class::Declared
            } else {
                Class::Automatic
            };
            let worth = self.saves(&wanted.key, wanted.cost, 0);
            if let Some(victims) = self.victims(missing, class, worth) {
                return (Admission::Kept, victims);
            }
        }
        // It is not long here, so it may have what is free beyond the cache's part.
        let missing = bytes.saturating_sub(free);
        if level.is_some_and(|level| level.disk)
            && let Some(victims) = self.victims(missing, Class::Declared, 0)
        {
            return (Admission::Passing, victims);
        }
        (Admission::Refused, Vec::new())
    }

    /// The time that keeping a chunk saves, going by how often it was wanted lately, and `more` often.
    fn saves(&self, key: &ChunkKey, cost: u64, more: u64) -> u64 {
        let wanted = u64::from(self.frequency.count(hash_of(key))) + more;
        wanted.saturating_mul(cost)
    }

    /// Chunks of `missing` bytes that may go for one of a class, which saves so much time.
    fn victims(&self, missing: u64, class: Class, worth: u64) -> Option<Vec<ChunkKey>> {
        let mut missing = missing;
        let mut victims = Vec::new();
        let mut taken = Vec::new();
        let mut price = 0_u64;
        while missing > 0 {
            let (at, victim) = self.least_wanted(class, &taken)?;
            let entry = self.entries.get(&victim)?;
            if entry.class() == class {
                // Being looked at once more than the others is not enough: counts are estimates,
                // and those who take turns would throw each other out for ever.
                price = price.saturating_add(self.saves(&victim, entry.cost, 1));
                if price >= worth {
                    return None;
                }
            }
            missing = missing.saturating_sub(entry.bytes);
            taken.push(at);
            victims.push(victim);
        }
        Some(victims)
    }

    /// Of the least recently used that are not in `taken`, the one whose bytes save the least time; of
    /// no better class than `class`, the other class first.
    fn least_wanted(&self, class: Class, taken: &[u64]) -> Option<(u64, ChunkKey)> {
        let orders = &self.orders[..=class as usize];
        orders.iter().find_map(|order| {
            order
                .iter()
                .filter(|(at, _)| !taken.contains(at))
                .take(VICTIMS_COMPARED)
                .min_by_key(|(at, key)| (self.density(key), **at))
                .map(|(at, key)| (*at, key.clone()))
        })
    }

    /// The time that keeping a mebibyte of a chunk saves.
    fn density(&self, key: &ChunkKey) -> u64 {
        self.entries.get(key).map_or(0, |entry| {
            let saved = self.saves(key, entry.cost, 0);
            saved.saturating_mul(1 << 20) / entry.bytes.max(1)
        })
    }

    /// It gives way to something else. If its table's level wants it on disk, it goes there when it is
    /// read again and finds no place: whoever needs memory now should not have to wait for that.
    fn evict_one(&mut self, key: &ChunkKey) {
        self.counts.evictions += 1;
        self.drop_one(key);
    }

    fn drop_one(&mut self, key: &ChunkKey) {
        if let Some(entry) = self.remove(key)
            && let Some(chunk) = entry.chunk
        {
            self.orders[entry.level.is_some() as usize].remove(&entry.used_at);
            self.evicted.push(chunk);
        }
    }

    fn remove(&mut self, key: &ChunkKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.total -= entry.bytes;
        let location = key.file.location();
        if let Some(file) = self.files.get_mut(location) {
            file.entries -= 1;
            file.bytes -= entry.bytes;
            if file.entries == 0 {
                self.files.remove(location);
            }
        }
        Some(entry)
    }

    /// A chunk comes in. Those of another version of its file are of no use.
    fn note_file(&mut self, key: &ChunkKey, bytes: u64, level: Option<StorageLevel>) {
        let location = key.file.location();
        let outdated = self
            .files
            .get(location)
            .is_some_and(|file| file.version != key.file);
        if outdated {
            let version = Arc::clone(&key.file);
            self.drop_all(|file| file.location() == version.location() && *file != *version);
        }
        let file = self
            .files
            .entry(location.clone())
            .or_insert_with(|| FileChunks {
                version: Arc::clone(&key.file),
                entries: 0,
                bytes: 0,
                level,
            });
        file.version = Arc::clone(&key.file);
        file.entries += 1;
        file.bytes += bytes;
        file.level = level;
    }

    fn drop_all(&mut self, which: impl Fn(&FileIdentity) -> bool) {
        let mut unheld = Vec::new();
        for (key, entry) in &mut self.entries {
            if which(&key.file) {
                entry.keep = false;
                if !entry.is_pinned() {
                    unheld.push(key.clone());
                }
            }
        }
        for key in unheld {
            self.drop_one(&key);
        }
    }

    /// The table of a chunk has this level now.
    fn set_level(&mut self, key: &ChunkKey, level: Option<StorageLevel>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.level == level {
            return;
        }
        let before = entry.class() as usize;
        entry.level = level;
        if let Some(file) = self.files.get_mut(key.file.location()) {
            file.level = level;
        }
        let after = entry.class() as usize;
        if before != after
            && let Some(key) = self.orders[before].remove(&entry.used_at)
        {
            self.orders[after].insert(entry.used_at, key);
        }
    }

    /// Checks that every total is the sum of its parts.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(
            self.total,
            self.entries.values().map(|e| e.bytes).sum::<u64>()
        );
        let pinned = self.entries.values().filter(|entry| entry.is_pinned());
        assert_eq!(self.pinned, pinned.map(|e| e.bytes).sum::<u64>());
        assert!(self.pinned <= self.limits.floor, "{self:?}");
        let free = self.entries.iter().filter(|(_, entry)| !entry.is_pinned());
        let ordered: usize = self.orders.iter().map(BTreeMap::len).sum();
        assert_eq!(free.clone().count(), ordered);
        for (key, entry) in free {
            let order = &self.orders[entry.class() as usize];
            assert_eq!(order.get(&entry.used_at), Some(key));
            assert!(entry.keep, "{self:?}");
        }
        let counted: usize = self.files.values().map(|file| file.entries).sum();
        assert_eq!(counted, self.entries.len());
        let bytes: u64 = self.files.values().map(|file| file.bytes).sum();
        assert_eq!(bytes, self.total);
    }
}
