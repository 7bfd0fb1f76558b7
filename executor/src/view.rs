//! What an executor holds and does, as plain data for logs and system tables.

use std::collections::BTreeMap;

use job::{AttemptId, CacheUse, CachedFile, ExecutorId, ExecutorUsage};

use crate::blocks::BlockManager;
use crate::config::ExecutorConfig;
use crate::memory::cached::CacheCounts;

/// How many files with cached columns a view names.
const FILES_NAMED: usize = 256;
/// How many memory holders a view names.
const HOLDERS_NAMED: usize = 16;

/// One executor at one instant. Bytes, unless named otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorView {
    pub executor: ExecutorId,
    pub slots: u32,
    pub running_attempts: usize,
    /// Jobs whose result rows were opened or produced here and not dropped yet.
    pub result_jobs: usize,
    pub memory: MemoryView,
    /// Map outputs that hold memory.
    pub blocks_in_memory: usize,
    /// Map outputs that are readable or being written.
    pub map_outputs: usize,
    /// Files of spilled data, and what they take.
    pub spill_files: u64,
    pub spill_bytes: u64,
    /// Ever written to disk.
    pub spill_bytes_written: u64,
    /// Exchange data ever moved out of memory.
    pub moved_bytes: u64,
    /// Exchange data ever read from other executors, as it came over the network.
    pub fetched_bytes: u64,
    pub cache: CacheView,
}

/// The column chunk cache: what it has, and what it did since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheView {
    /// Chunks in memory.
    pub chunks: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    pub counts: CacheCounts,
    /// Chunks ever read from disk, and bytes ever written there.
    pub disk_hits: u64,
    pub disk_bytes_written: u64,
}

/// The ledger's totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryView {
    pub budget: u64,
    pub execution: u64,
    pub storage: u64,
    pub results: u64,
    /// Decoded column chunks of tables: free as soon as anything else needs it.
    pub cached: u64,
    /// Held by the process, charged to nobody, and beyond what is left to that: the others have so much less.
    pub unaccounted: u64,
    /// The operators that hold most, largest first.
    pub holders: Vec<MemoryHolder>,
}

impl MemoryView {
    /// What jobs hold.
    pub fn used(&self) -> u64 {
        self.execution + self.storage + self.results
    }
}

/// An operator in one partition of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryHolder {
    pub attempt: AttemptId,
    pub operator: String,
    pub bytes: u64,
    pub can_spill: bool,
}

impl ExecutorView {
    pub(crate) fn new(
        config: &ExecutorConfig,
        running_attempts: usize,
        result_jobs: usize,
        blocks: &BlockManager,
    ) -> Self {
        let ledger = blocks.ledger();
        let totals = ledger.totals();
        let counts = ledger.cache_counts();
        let holders = ledger.largest_consumers(HOLDERS_NAMED);
        drop(ledger);
        let (disk_hits, disk_bytes_written) = blocks.disk_chunks().counts();
        Self {
            executor: config.id,
            slots: config.slots,
            running_attempts,
            result_jobs,
            memory: MemoryView {
                budget: totals.budget,
                execution: totals.execution,
                storage: totals.stored,
                results: totals.results,
                cached: totals.cached,
                unaccounted: totals.unaccounted,
                holders: holders
                    .into_iter()
                    .map(|share| MemoryHolder {
                        attempt: share.attempt,
                        operator: share.name,
                        bytes: share.reserved,
                        can_spill: share.can_spill,
                    })
                    .collect(),
            },
            blocks_in_memory: totals.blocks,
            map_outputs: blocks.output_count(),
            spill_files: blocks.disk().files(),
            spill_bytes: blocks.disk().used_bytes(),
            spill_bytes_written: blocks.disk().written_bytes(),
            moved_bytes: blocks.moved_bytes(),
            fetched_bytes: blocks.fetched_bytes(),
            cache: CacheView {
                chunks: totals.cached_chunks,
                disk_bytes: blocks.disk_chunks().bytes(),
                counts,
                disk_hits,
                disk_bytes_written,
            },
        }
    }
}

/// What an executor has handed out, and keeps of tables.
pub(crate) fn usage(blocks: &BlockManager) -> ExecutorUsage {
    let ledger = blocks.ledger();
    let totals = ledger.totals();
    let counts = ledger.cache_counts();
    drop(ledger);
    let disk = blocks.disk_chunks();
    let (disk_hits, disk_bytes_written) = disk.counts();
    let cached_files = cached_files(blocks);
    ExecutorUsage {
        execution: totals.execution,
        storage: totals.stored,
        results: totals.results,
        cached: totals.cached,
        unaccounted: totals.unaccounted,
        disk: blocks.disk().used_bytes(),
        memory_cache: CacheUse {
            chunks: totals.cached_chunks as u64,
            bytes: totals.cached,
            hits: counts.hits,
            misses: counts.misses,
            evictions: counts.evictions,
            loaded_bytes: counts.loaded_bytes,
        },
        disk_cache: CacheUse {
            chunks: cached_files.iter().map(|file| file.disk_chunks).sum(),
            bytes: disk.bytes(),
            hits: disk_hits,
            misses: 0,
            evictions: 0,
            loaded_bytes: disk_bytes_written,
        },
        cached_files,
    }
}

/// The files that the cache has most bytes of, in memory or on disk.
fn cached_files(blocks: &BlockManager) -> Vec<CachedFile> {
    let mut files: BTreeMap<String, CachedFile> = BTreeMap::new();
    for (path, kept) in blocks.ledger().cached_files() {
        let file = files.entry(path.to_string()).or_default();
        file.level = kept.level;
        file.memory_chunks = kept.entries as u64;
        file.memory_bytes = kept.bytes;
    }
    for (path, level, chunks, bytes) in blocks.disk_chunks().files() {
        let file = files.entry(path.to_string()).or_default();
        file.level = file.level.or(Some(level));
        file.disk_chunks = chunks as u64;
        file.disk_bytes = bytes;
    }
    let named = files.into_iter().map(|(path, file)| CachedFile {
        // Without its slash it is an object store's word.
        path: format!("/{path}"),
        ..file
    });
    let mut named: Vec<CachedFile> = named.collect();
    named.sort_by_key(|file| std::cmp::Reverse(file.memory_bytes + file.disk_bytes));
    named.truncate(FILES_NAMED);
    named
}
