//! The ledger: who holds how much of the executor's one memory budget, and what gives way.
//!
//! ```text
//!   |<------------------------------ budget ------------------------------>|
//!   | execution: joins, sorts, aggregates | stored blocks | results | cached chunks | free |
//!            grows to the right --->        moves to disk             evicted
//!                                             when execution needs room
//! ```
//!
//! It decides and never does: every call returns at once, touches no file and takes no lock.
//! [`crate::blocks::BlockManager`] keeps it behind a mutex, performs the moves it orders and
//! reports them back. Seven rules:
//!
//! 1. Execution may push stored blocks to disk; storage never takes from execution.
//! 2. A consumer that can spill may take more than its fair share only while a quarter of the
//!    budget stays free of execution: a lone sort uses most of the memory, and yet a hash join
//!    or a second sort that comes later finds room. Its share of what others that can't spill have
//!    left is not all of that, so that these may grow.
//! 3. Nothing is moved for a request that could not be met anyway.
//! 4. Pinned bytes (a writer still holds them) are charged but can't be moved.
//! 5. Cached chunks ([`CachedChunks`]) take only what is free, and give way to everything else, at
//!    once and before anything goes to disk: down to their protected floor for what can spill, and
//!    down to what scans hold for what can't.
//! 6. What the process holds and nobody was charged for ([`Ledger::note_unaccounted`]) is not there to
//!    be given out: for it, cached chunks and blocks give way and consumers spill, but no request fails that
//!    a spill would not answer. It counts for half of the budget at most.
//! 7. A consumer that holds half of the budget leaves a sixteenth of it to others: a small statement
//!    finds room beside a join that takes all it can get.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{CachedFiles, Chunk, ChunkKey, Prospect, Wanted};
use datafusion::object_store::path::Path;
use job::{AttemptId, StorageLevel};

use super::cached::{Admission, CacheCounts, CacheLimits, CachedChunks, FileChunks};

/// A `MemoryConsumer` of DataFusion: one operator in one partition of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConsumerId(pub(crate) usize);

/// Please write about `bytes` of this block to disk and free their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoveOrder {
    pub(crate) block: AttemptId,
    pub(crate) bytes: u64,
}

/// The answer to a request for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The bytes are charged.
    Granted,
    /// Nothing is charged yet: perform these moves, end each by `end_move`, then ask again.
    MoveFirst(Vec<MoveOrder>),
    /// Nothing is charged yet: moves that others perform will free enough. Ask again after one.
    Wait,
    /// Nothing is charged, and no move would make it fit.
    Refused { available: u64 },
}

#[derive(Debug)]
struct Consumer {
    name: String,
    attempt: AttemptId,
    can_spill: bool,
    reserved: u64,
}

/// A block's bytes in memory. `pinned` and `moving` are parts of `bytes`.
#[derive(Debug, Default)]
struct Stored {
    bytes: u64,
    /// Held by a writer: not yet movable.
    pinned: u64,
    /// Ordered to disk; the memory is freed when the order is reported back.
    moving: u64,
    /// Already read to the end: the least likely to be read again, so the first to go.
    read: u64,
    /// The disk would not take it: not asked again until something changes.
    stuck: bool,
    /// Its job is gone; only moves under way keep the entry.
    dropped: bool,
}

impl Stored {
    fn movable(&self) -> u64 {
        if self.stuck || self.dropped {
            return 0;
        }
        self.bytes
            .saturating_sub(self.pinned)
            .saturating_sub(self.moving)
    }
}

/// One memory budget, two kinds of user.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: u64,
    consumers: BTreeMap<ConsumerId, Consumer>,
    blocks: BTreeMap<AttemptId, Stored>,
    /// Sum of all consumers' reservations.
    execution: u64,
    /// The part of `execution` that can't spill.
    unspillable: u64,
    /// Sum of all blocks' bytes.
    stored: u64,
    /// Sum of all blocks' `moving`.
    moving: u64,
    /// Encoded rows waiting for their reader.
    results: u64,
    /// Decoded column chunks of tables.
    cached: CachedChunks,
    /// Held by the process, charged to nobody.
    unaccounted: u64,
    /// Spillable consumers that hold at least `active_bytes`: those that share.
    active_spillers: u64,
    active_bytes: u64,
    /// Moves are ordered in at least this many bytes, so that the file's runs stay long.
    move_bytes_min: u64,
}

/// What one consumer holds, for errors and views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerShare {
    pub(crate) name: String,
    pub(crate) attempt: AttemptId,
    pub(crate) reserved: u64,
    pub(crate) can_spill: bool,
}

/// Totals at one instant, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) budget: u64,
    pub(crate) execution: u64,
    pub(crate) stored: u64,
    pub(crate) results: u64,
    pub(crate) consumers: usize,
    pub(crate) blocks: usize,
    pub(crate) cached: u64,
    /// The part of `cached` that scans hold or load.
    pub(crate) cached_pinned: u64,
    pub(crate) cached_chunks: usize,
    pub(crate) unaccounted: u64,
}

impl Totals {
    /// What is charged to somebody.
    pub(crate) fn used(&self) -> u64 {
        self.execution + self.stored + self.results + self.cached
    }

    /// What belongs to jobs. Cached chunks that no scan holds belong to nobody.
    pub(crate) fn used_by_jobs(&self) -> u64 {
        self.execution + self.stored + self.results + self.cached_pinned
    }
}

impl Ledger {
    pub(crate) fn new(budget: u64, cache: CacheLimits) -> Self {
        Self {
            budget,
            cached: CachedChunks::new(cache),
            consumers: BTreeMap::new(),
            blocks: BTreeMap::new(),
            execution: 0,
            unspillable: 0,
            stored: 0,
            moving: 0,
            results: 0,
            unaccounted: 0,
            active_spillers: 0,
            active_bytes: (budget / 256).max(1),
            move_bytes_min: (budget / 32).clamp(1, 32 << 20),
        }
    }

    pub(crate) fn register(
        &mut self,
        id: ConsumerId,
        name: &str,
        attempt: AttemptId,
        can_spill: bool,
    ) {
        let consumer = Consumer {
            name: name.to_owned(),
            attempt,
            can_spill,
            reserved: 0,
        };
        let before = self.consumers.insert(id, consumer);
        assert!(before.is_none(), "a memory consumer is registered once");
    }

    /// Forgets a consumer; what it still held is free again.
    pub(crate) fn unregister(&mut self, id: ConsumerId) {
        if let Some(held) = self.consumers.get(&id).map(|consumer| consumer.reserved) {
            self.shrink(id, held);
            self.consumers.remove(&id);
        }
    }

    /// Execution asks for `bytes` more.
    pub(crate) fn try_grow(&mut self, id: ConsumerId, bytes: u64) -> Grant {
        let Some(consumer) = self.consumers.get(&id) else {
            return Grant::Refused { available: 0 };
        };
        if bytes == 0 {
            // There is always so much, also when others have taken more than there is.
            return Grant::Granted;
        }
        // Those have something to spill.
        let gives_way = consumer.can_spill && consumer.reserved >= self.active_bytes;
        let excused = if gives_way { 0 } else { self.unaccounted };
        if consumer.can_spill {
            let wanted = consumer.reserved.saturating_add(bytes);
            let others_active =
                self.active_spillers - u64::from(consumer.reserved >= self.active_bytes);
            let there = self.budget - (self.unaccounted - excused);
            let unspoilt = there - there / 4;
            let share = self.spillable(there, gives_way) / (others_active + 1);
            if wanted > share && self.execution.saturating_add(bytes) > unspoilt {
                let available = share
                    .saturating_sub(consumer.reserved)
                    .max(unspoilt.saturating_sub(self.execution));
                return Grant::Refused { available };
            }
        }
        let limit = if consumer.reserved.saturating_add(bytes) > self.budget / 2 {
            self.common_limit()
        } else {
            self.budget
        };
        match self.make_room(bytes, limit, consumer.can_spill, excused) {
            Grant::Granted => {
                self.grow(id, bytes);
                Grant::Granted
            }
            other @ (Grant::MoveFirst(_) | Grant::Wait | Grant::Refused { .. }) => other,
        }
    }

    /// What of `there` consumers that can spill may have together. One that has something to spill
    /// leaves some to those that hold what they can't, such as a merge of what a sort has spilled.
    fn spillable(&self, there: u64, gives_way: bool) -> u64 {
        let left = there.saturating_sub(self.unspillable);
        if gives_way && self.unspillable > 0 {
            left - (there / 4).min(left / 2)
        } else {
            left
        }
    }

    /// Execution takes `bytes` more without asking, if need be beyond the budget.
    pub(crate) fn grow(&mut self, id: ConsumerId, bytes: u64) {
        let active_bytes = self.active_bytes;
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_active = consumer.reserved >= active_bytes;
        consumer.reserved += bytes;
        let is_active = consumer.reserved >= active_bytes;
        self.execution += bytes;
        if !consumer.can_spill {
            self.unspillable += bytes;
        } else if is_active && !was_active {
            self.active_spillers += 1;
        }
        self.relieve();
    }

    pub(crate) fn shrink(&mut self, id: ConsumerId, bytes: u64) {
        let active_bytes = self.active_bytes;
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_active = consumer.reserved >= active_bytes;
        let bytes = bytes.min(consumer.reserved);
        consumer.reserved -= bytes;
        let is_active = consumer.reserved >= active_bytes;
        self.execution -= bytes;
        if !consumer.can_spill {
            self.unspillable -= bytes;
        } else if was_active && !is_active {
            self.active_spillers -= 1;
        }
    }

    /// A writer asks to keep `bytes` more of a block in memory; granted bytes start pinned.
    ///
    /// A sixteenth of the budget is left to execution, so that its small requests don't each
    /// have to move something.
    pub(crate) fn try_store(&mut self, block: AttemptId, bytes: u64) -> Grant {
        match self.make_room(bytes, self.common_limit(), true, 0) {
            Grant::Granted => {
                self.store(block, bytes);
                Grant::Granted
            }
            other @ (Grant::MoveFirst(_) | Grant::Wait | Grant::Refused { .. }) => other,
        }
    }

    /// Keeps `bytes` more of a block, pinned, without asking: the caller moves the block next.
    pub(crate) fn store(&mut self, block: AttemptId, bytes: u64) {
        let entry = self.blocks.entry(block).or_default();
        entry.bytes += bytes;
        entry.pinned += bytes;
        self.stored += bytes;
        self.relieve();
    }

    /// A writer hands `pinned` bytes over as `kept` movable ones (compaction may shrink them).
    pub(crate) fn unpin(&mut self, block: AttemptId, pinned: u64, kept: u64) {
        let Some(entry) = self.blocks.get_mut(&block) else {
            return;
        };
        if entry.dropped {
            return;
        }
        // Only a writer whose block was dropped under it can be wrong about this.
        let pinned = pinned.min(entry.pinned);
        entry.pinned -= pinned;
        entry.bytes = entry.bytes - pinned + kept;
        entry.stuck = false;
        self.stored = self.stored - pinned + kept;
        self.forget_if_empty(block);
    }

    /// Some reader took these bytes to their end.
    pub(crate) fn mark_read(&mut self, block: AttemptId, bytes: u64) {
        if let Some(entry) = self.blocks.get_mut(&block) {
            entry.read = (entry.read + bytes).min(entry.bytes);
        }
    }

    /// Orders all movable bytes of one block to disk: its writer found no room.
    pub(crate) fn order_whole(&mut self, block: AttemptId) -> Option<MoveOrder> {
        let entry = self.blocks.get_mut(&block)?;
        let bytes = entry.movable();
        if bytes == 0 {
            return None;
        }
        entry.moving += bytes;
        self.moving += bytes;
        Some(MoveOrder { block, bytes })
    }

    /// The store chose what to move: parts are moved whole, so often a bit more than ordered,
    /// and less where another order was faster.
    pub(crate) fn begin_move(&mut self, order: &mut MoveOrder, selected: u64) {
        if let Some(entry) = self.blocks.get_mut(&order.block) {
            entry.moving = entry.moving - order.bytes + selected;
            self.moving = self.moving - order.bytes + selected;
            order.bytes = selected;
        }
    }

    /// So many of an order's bytes are on disk and their memory is free.
    pub(crate) fn moved(&mut self, order: &mut MoveOrder, bytes: u64) {
        assert!(bytes <= order.bytes, "more moved than selected");
        if let Some(entry) = self.blocks.get_mut(&order.block) {
            entry.moving -= bytes;
            entry.bytes -= bytes;
            entry.read = entry.read.saturating_sub(bytes);
            self.moving -= bytes;
            self.stored -= bytes;
            order.bytes -= bytes;
        }
    }

    /// An order is over. What is left of it stayed in memory; `failed` says that the disk would
    /// not take it.
    pub(crate) fn end_move(&mut self, order: MoveOrder, failed: bool) {
        let Some(entry) = self.blocks.get_mut(&order.block) else {
            return;
        };
        entry.moving -= order.bytes;
        entry.stuck |= failed;
        self.moving -= order.bytes;
        if entry.dropped && entry.moving == 0 {
            self.stored -= entry.bytes;
            entry.bytes = 0;
            entry.pinned = 0;
        }
        self.forget_if_empty(order.block);
    }

    /// Forgets a block. Bytes under a move are free when that move ends.
    pub(crate) fn drop_block(&mut self, block: AttemptId) {
        let Some(entry) = self.blocks.get_mut(&block) else {
            return;
        };
        let kept = entry.moving.min(entry.bytes);
        self.stored -= entry.bytes - kept;
        entry.bytes = kept;
        entry.pinned = 0;
        entry.dropped = true;
        self.forget_if_empty(block);
        // Its files are gone, so a full disk may have room again.
        for entry in self.blocks.values_mut() {
            entry.stuck = false;
        }
    }

    pub(crate) fn grow_results(&mut self, bytes: u64) {
        self.results += bytes;
        self.relieve();
    }

    pub(crate) fn shrink_results(&mut self, bytes: u64) {
        assert!(bytes <= self.results, "results freed twice");
        self.results -= bytes;
    }

    /// The process holds `bytes` more than was charged for and is left to that: what comes next
    /// has so much less, and cached chunks make room at once.
    pub(crate) fn note_unaccounted(&mut self, bytes: u64) {
        self.unaccounted = bytes.min(self.budget / 2);
        self.relieve();
    }

    /// Can `bytes` more fit under `limit`, or miss it by what is `excused`, and what has to move first?
    fn make_room(&mut self, bytes: u64, limit: u64, can_spill: bool, excused: u64) -> Grant {
        let wanted = self.used() + bytes;
        let Some(missing) = wanted.checked_sub(limit).filter(|missing| *missing > 0) else {
            return Grant::Granted;
        };
        let evictable = self.cached.evictable(can_spill);
        if evictable >= missing {
            self.cached.evict(missing);
            return Grant::Granted;
        }
        let movable: u64 = self.blocks.values().map(Stored::movable).sum();
        let can_go = evictable + movable + self.moving;
        if can_go + excused < missing {
            return Grant::Refused {
                available: (limit + can_go + excused).saturating_sub(self.used()),
            };
        }
        // Freed at once and without the disk, so it goes first; perhaps a bit more than asked for.
        self.cached.evict(evictable);
        let missing = (self.used() + bytes).saturating_sub(limit);
        let missing = missing.min(movable + self.moving);
        if missing == 0 {
            return Grant::Granted;
        }
        if self.moving >= missing {
            return Grant::Wait;
        }
        Grant::MoveFirst(self.order_moves((missing - self.moving).max(self.move_bytes_min)))
    }

    /// After memory was taken without asking, or found missing: cached chunks make up for it.
    fn relieve(&mut self) {
        let over = self.used().saturating_sub(self.budget);
        if over > 0 {
            self.cached.evict(over.min(self.cached.evictable(false)));
        }
    }

    /// What blocks, cached chunks and consumers that hold much may fill up to. The rest is for small
    /// requests of execution.
    fn common_limit(&self) -> u64 {
        self.budget - self.budget / 16
    }

    /// Whether a consumer that took what it did not get holds most of the memory, and there is none left.
    pub(crate) fn is_overdrawn_by(&self, id: ConsumerId) -> bool {
        let charged = self.totals().used();
        charged > self.common_limit() && self.reserved(id) > self.budget / 2
    }

    /// What cached chunks may take without anything giving way.
    fn free_to_cache(&self) -> u64 {
        self.common_limit().saturating_sub(self.used())
    }

    /// See [`CachedChunks::note`].
    pub(crate) fn note_wanted(&mut self, what: u64) -> bool {
        self.cached.note(what)
    }

    /// See [`CachedChunks::survey`].
    pub(crate) fn survey_chunks(
        &mut self,
        wanted: &[Wanted],
        level: Option<StorageLevel>,
    ) -> Vec<Prospect> {
        let free = self.free_to_cache();
        self.cached.survey(wanted, level, free)
    }

    /// See [`CachedChunks::hold`].
    pub(crate) fn hold_chunk(&mut self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.cached.hold(key)
    }

    /// See [`CachedChunks::release`].
    pub(crate) fn release_chunk(&mut self, key: &ChunkKey) {
        self.cached.release(key);
    }

    /// See [`CachedChunks::begin`].
    pub(crate) fn begin_chunk(
        &mut self,
        wanted: &Wanted,
        level: Option<StorageLevel>,
    ) -> Admission {
        let free = self.free_to_cache();
        self.cached.begin(wanted, level, free)
    }

    /// See [`CachedChunks::fill`].
    pub(crate) fn fill_chunk(&mut self, key: &ChunkKey, chunk: &Arc<Chunk>, bytes: u64) -> bool {
        let free = self.free_to_cache();
        self.cached.fill(key, chunk, bytes, free)
    }

    /// See [`CachedChunks::abandon`].
    pub(crate) fn abandon_chunk(&mut self, key: &ChunkKey) {
        self.cached.abandon(key);
    }

    /// See [`CachedChunks::forget`].
    pub(crate) fn forget_chunks(&mut self, files: &CachedFiles) {
        self.cached.forget(files);
    }

    /// See [`CachedChunks::forget_level`].
    pub(crate) fn forget_level(&mut self, files: &CachedFiles) {
        self.cached.forget_level(files);
    }

    /// See [`CachedChunks::contents`].
    #[cfg(test)]
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&ChunkKey, u64, Option<StorageLevel>)> {
        self.cached.contents()
    }

    /// See [`CachedChunks::take_evicted`].
    pub(crate) fn take_evicted(&mut self) -> Vec<Arc<Chunk>> {
        self.cached.take_evicted()
    }

    /// See [`CachedChunks::files`].
    pub(crate) fn cached_files(&self) -> impl Iterator<Item = (&Path, &FileChunks)> {
        self.cached.files()
    }

    pub(crate) fn cache_counts(&self) -> CacheCounts {
        self.cached.counts()
    }

    /// Victims until `wanted` bytes are covered or nothing movable is left: blocks that were
    /// read come first, then the largest, because one long write frees most.
    fn order_moves(&mut self, wanted: u64) -> Vec<MoveOrder> {
        let mut candidates: Vec<(u64, u64, AttemptId)> = self
            .blocks
            .iter()
            .filter(|(_, entry)| entry.movable() > 0)
            .map(|(block, entry)| (entry.read.min(entry.movable()), entry.movable(), *block))
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        let mut orders = Vec::new();
        let mut covered = 0;
        for (_, movable, block) in candidates {
            if covered >= wanted {
                break;
            }
            let bytes = movable.min(wanted - covered);
            if let Some(entry) = self.blocks.get_mut(&block) {
                entry.moving += bytes;
                self.moving += bytes;
                covered += bytes;
                orders.push(MoveOrder { block, bytes });
            }
        }
        orders
    }

    fn forget_if_empty(&mut self, block: AttemptId) {
        if let Some(entry) = self.blocks.get(&block)
            && entry.bytes == 0
            && entry.moving == 0
        {
            self.blocks.remove(&block);
        }
    }

    fn used(&self) -> u64 {
        self.execution + self.stored + self.results + self.cached.total() + self.unaccounted
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            budget: self.budget,
            execution: self.execution,
            stored: self.stored,
            results: self.results,
            consumers: self.consumers.len(),
            blocks: self.blocks.len(),
            cached: self.cached.total(),
            cached_pinned: self.cached.pinned(),
            cached_chunks: self.cached.len(),
            unaccounted: self.unaccounted,
        }
    }

    pub(crate) fn reserved(&self, id: ConsumerId) -> u64 {
        self.consumers
            .get(&id)
            .map_or(0, |consumer| consumer.reserved)
    }

    /// The consumers that hold most, largest first.
    pub(crate) fn largest_consumers(&self, limit: usize) -> Vec<ConsumerShare> {
        let mut shares: Vec<ConsumerShare> = self
            .consumers
            .values()
            .filter(|consumer| consumer.reserved > 0)
            .map(|consumer| ConsumerShare {
                name: consumer.name.clone(),
                attempt: consumer.attempt,
                reserved: consumer.reserved,
                can_spill: consumer.can_spill,
            })
            .collect();
        shares.sort_by(|a, b| b.reserved.cmp(&a.reserved));
        shares.truncate(limit);
        shares
    }

    /// What the store holds of a block, apart from writers.
    #[cfg(test)]
    pub(crate) fn in_store(&self, block: AttemptId) -> u64 {
        self.blocks
            .get(&block)
            .filter(|entry| !entry.dropped)
            .map_or(0, |entry| entry.bytes - entry.pinned)
    }

    /// Checks that every total is the sum of its parts.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.cached.check();
        let sum = |f: &dyn Fn(&Consumer) -> u64| self.consumers.values().map(f).sum::<u64>();
        assert_eq!(self.execution, sum(&|c| c.reserved));
        assert_eq!(
            self.unspillable,
            sum(&|c| if c.can_spill { 0 } else { c.reserved })
        );
        assert_eq!(
            self.active_spillers,
            sum(&|c| u64::from(c.can_spill && c.reserved >= self.active_bytes))
        );
        assert_eq!(
            self.stored,
            self.blocks.values().map(|b| b.bytes).sum::<u64>()
        );
        assert_eq!(
            self.moving,
            self.blocks.values().map(|b| b.moving).sum::<u64>()
        );
        for entry in self.blocks.values() {
            assert!(entry.pinned <= entry.bytes, "{entry:?}");
            assert!(entry.bytes > 0 || entry.moving > 0, "{entry:?}");
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
