//! What an executor of this process may use: the embedded one, or that of `firesteel executor`.

use std::path::{Path, PathBuf};

use executor::ExecutorConfig;
use job::{Epoch, ExecutorId};

use crate::config::{Config, KeyId};
use crate::machine;

/// Of the machine's memory, where `memory` is not configured.
const MEMORY_SHARE_PERCENT: u64 = 60;
/// Used where neither configuration nor the system tells.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;

/// Slots and memory, settled.
pub(crate) struct ExecutorSize {
    pub(crate) slots: u32,
    /// What the process may hold.
    process_bytes: u64,
    /// What of that it may hand out.
    pub(crate) memory_bytes: u64,
}

/// From the configuration, or else the machine.
pub(crate) fn executor_size(config: &Config) -> ExecutorSize {
    let slots = match config.int(KeyId::Slots) {
        0 => machine::cores(),
        slots => u32::try_from(slots).unwrap_or(u32::MAX),
    };
    let process_bytes = match config.size(KeyId::Memory) as u64 {
        0 => machine::memory_bytes()
            .map_or(MEMORY_BYTES_UNKNOWN, |all| all / 100 * MEMORY_SHARE_PERCENT),
        bytes => bytes,
    };
    ExecutorSize {
        slots,
        process_bytes,
        memory_bytes: ExecutorConfig::budget_within(process_bytes),
    }
}

impl ExecutorSize {
    /// Without the numbers that a registration gives.
    pub(crate) fn config(&self, config: &Config, data_dir: &Path) -> ExecutorConfig {
        let percent = |key| self.memory_bytes / 100 * config.int(key).unsigned_abs();
        ExecutorConfig {
            id: ExecutorId(0),
            epoch: Epoch(0),
            slots: self.slots,
            memory_bytes: self.memory_bytes,
            process_bytes: Some(self.process_bytes),
            cache_bytes_max: percent(KeyId::CachePercent),
            cache_bytes_protected: percent(KeyId::CacheProtectedPercent),
            work_dir: work_dir(config, data_dir),
            spill_bytes_max: config.size(KeyId::SpillQuota) as u64,
            result_buffer_bytes: config.size(KeyId::ResultBuffer) as u64,
            result_spool_bytes: config.size(KeyId::ResultSpool) as u64,
        }
    }
}

fn work_dir(config: &Config, data_dir: &Path) -> PathBuf {
    match config.text(KeyId::WorkDir) {
        "" => data_dir.join("work"),
        dir => PathBuf::from(dir),
    }
}
