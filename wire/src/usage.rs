//! What executors say of themselves, as messages and back.

use job::{CacheUse, CachedFile, ExecutorUsage, StorageLevel};

use crate::proto;

impl From<ExecutorUsage> for proto::Usage {
    fn from(usage: ExecutorUsage) -> Self {
        Self {
            execution: usage.execution,
            storage: usage.storage,
            results: usage.results,
            cached: usage.cached,
            disk: usage.disk,
            unaccounted: usage.unaccounted,
            memory_cache: Some(usage.memory_cache.into()),
            disk_cache: Some(usage.disk_cache.into()),
            cached_files: usage.cached_files.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::Usage> for ExecutorUsage {
    fn from(usage: proto::Usage) -> Self {
        Self {
            execution: usage.execution,
            storage: usage.storage,
            results: usage.results,
            cached: usage.cached,
            disk: usage.disk,
            unaccounted: usage.unaccounted,
            memory_cache: usage.memory_cache.unwrap_or_default().into(),
            disk_cache: usage.disk_cache.unwrap_or_default().into(),
            cached_files: usage.cached_files.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<CacheUse> for proto::CacheUse {
    fn from(cache: CacheUse) -> Self {
        Self {
            chunks: cache.chunks,
            bytes: cache.bytes,
            hits: cache.hits,
            misses: cache.misses,
            evictions: cache.evictions,
            loaded_bytes: cache.loaded_bytes,
        }
    }
}

impl From<proto::CacheUse> for CacheUse {
    fn from(cache: proto::CacheUse) -> Self {
        Self {
            chunks: cache.chunks,
            bytes: cache.bytes,
            hits: cache.hits,
            misses: cache.misses,
            evictions: cache.evictions,
            loaded_bytes: cache.loaded_bytes,
        }
    }
}

impl From<CachedFile> for proto::CachedFile {
    fn from(file: CachedFile) -> Self {
        Self {
            path: file.path,
            storage_level: file.level.map(|level| level.to_string()),
            memory_chunks: file.memory_chunks,
            memory_bytes: file.memory_bytes,
            disk_chunks: file.disk_chunks,
            disk_bytes: file.disk_bytes,
        }
    }
}

impl From<proto::CachedFile> for CachedFile {
    fn from(file: proto::CachedFile) -> Self {
        Self {
            level: file.storage_level.as_deref().and_then(StorageLevel::parse),
            path: file.path,
            memory_chunks: file.memory_chunks,
            memory_bytes: file.memory_bytes,
            disk_chunks: file.disk_chunks,
            disk_bytes: file.disk_bytes,
        }
    }
}
