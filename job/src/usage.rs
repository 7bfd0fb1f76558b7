//! What an executor says of its memory, disk and caches with each heartbeat.

use crate::StorageLevel;

/// Who has an executor's memory and disk, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutorUsage {
    /// Operators.
    pub execution: u64,
    /// Map outputs.
    pub storage: u64,
    /// Encoded rows.
    pub results: u64,
    /// Columns of tables, which give way to the others.
    pub cached: u64,
    /// What its process holds beside these, beyond what is left for that.
    pub unaccounted: u64,
    /// On disk.
    pub disk: u64,
    /// Cached columns in memory, and on disk.
    pub memory_cache: CacheUse,
    pub disk_cache: CacheUse,
    /// Of these the files that take most.
    pub cached_files: Vec<CachedFile>,
}

/// What an executor keeps of a file. Chunks are column chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachedFile {
    pub path: String,
    /// Of the table it was last read for; none if nobody asked for it to be cached.
    pub level: Option<StorageLevel>,
    pub memory_chunks: u64,
    pub memory_bytes: u64,
    pub disk_chunks: u64,
    pub disk_bytes: u64,
}

/// What one cache has, and has done since its executor started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    pub chunks: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    /// Bytes ever put in.
    pub loaded_bytes: u64,
}
