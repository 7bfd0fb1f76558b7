//! What an executor is given at start.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::cache::cache_manager::CacheManager;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use job::{Epoch, ExecutorId};
use wire::Security;

use crate::cluster::Peers;

/// Sizes and places of one executor.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    pub id: ExecutorId,
    pub epoch: Epoch,
    /// Partitions that run at once, and threads that compute.
    pub slots: u32,
    /// What execution, blocks and results may hold together. The process needs more than that:
    /// see [`ExecutorConfig::budget_within`].
    pub memory_bytes: u64,
    /// What the process may hold in memory, all in all: an executor that has one to itself keeps to that. `None`:
    /// nobody watches, as where several executors share a process.
    pub process_bytes: Option<u64>,
    /// Of `memory_bytes`, what decoded column chunks of tables may take while nothing else needs
    /// it. Zero: none are kept.
    pub cache_bytes_max: u64,
    /// What of that gives way only to operators that can't spill. Scans hold no more than that.
    pub cache_bytes_protected: u64,
    /// Directory for spilled data. It may be shared: each executor makes its own directory in
    /// it, and removes those that dead processes left.
    pub work_dir: PathBuf,
    /// Spilled data on disk at most, operators and exchange together.
    pub spill_bytes_max: u64,
    /// Encoded rows of one job that wait for their reader in memory at most.
    pub result_buffer_bytes: u64,
    /// Encoded rows of one job that wait on disk beyond that at most; then its tasks wait.
    pub result_spool_bytes: u64,
}

impl ExecutorConfig {
    pub const RESULT_BUFFER_BYTES: u64 = 8 << 20;

    /// The share of a process's memory that is handed out by the ledger: the rest is for what
    /// no operator accounts for (decoded pages, batches in flight, the allocator's slack).
    pub fn budget_within(process_bytes: u64) -> u64 {
        process_bytes - process_bytes / 5
    }
}

/// What an executor shares with the rest of its process.
#[derive(Clone)]
pub struct ExecutorServices {
    pub object_stores: Arc<dyn ObjectStoreRegistry>,
    /// Caches of file metadata; one of its own if `None`.
    pub caches: Option<Arc<CacheManager>>,
    /// How it reads from other executors; `None` if it is the only one.
    pub membership: Option<Membership>,
}

/// An executor's place among others.
#[derive(Clone)]
pub struct Membership {
    /// The life of the driver that it is registered with.
    pub(crate) incarnation: u64,
    pub(crate) peers: Arc<Peers>,
}

impl Membership {
    pub fn new(incarnation: u64, security: Security) -> Self {
        Self {
            incarnation,
            peers: Arc::new(Peers::new(security)),
        }
    }

    /// Another executor's blocks are at this HOST:PORT since this registration of it.
    pub fn learn(&self, executor: ExecutorId, epoch: Epoch, address: &str) {
        self.peers.learn(executor, epoch, address);
    }

    /// The driver gave this registration of another executor up.
    pub fn lost(&self, executor: ExecutorId, epoch: Epoch) {
        self.peers.lost(executor, epoch);
    }
}

impl Default for ExecutorServices {
    /// Local files, no shared caches.
    fn default() -> Self {
        Self {
            object_stores: Arc::new(DefaultObjectStoreRegistry::default()),
            caches: None,
            membership: None,
        }
    }
}
