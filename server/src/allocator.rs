//! How soon the process gives memory back to the system.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::Config;
use crate::executor_size::executor_size;

/// Executors with less than this count their megabytes.
const SMALL_BUDGET: u64 = 4 << 30;
const DELAY_VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
const DELAY_MILLISECONDS: &str = "10";

/// mimalloc keeps pages that were freed for a second, in case they are wanted again. Under load that is
/// some hundred megabytes: nothing beside a large budget, and as much as a small one. Giving them back at
/// once costs about a twentieth of the processor's time, so it is for small budgets.
///
/// The allocator reads its options from the environment, once, before anything of ours runs. So the
/// process becomes itself again, with the option set; call it before there is anything to lose.
pub fn return_pages_early(config: &Config) {
    let is_small = executor_size(config).memory_bytes < SMALL_BUDGET;
    if !is_small || std::env::var_os(DELAY_VARIABLE).is_some() {
        return;
    }
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(DELAY_VARIABLE, DELAY_MILLISECONDS)
            .exec(),
        Err(error) => error,
    };
    tracing::warn!(%error, "freed memory is given back late: the process could not start itself again");
}
