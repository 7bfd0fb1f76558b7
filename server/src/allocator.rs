//! How soon the process gives memory back to the system.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::config::Config;
use crate::executor_size::executor_size;

/// Executors with less than this count their megabytes.
const SMALL_BUDGET: u64 = 4 << 30;
/// Those with less than this count them before processor time: at once costs some percent more than soon.
const TINY_BUDGET: u64 = 1 << 30;

/// The allocator's options: where there is little, and where there is least.
const OPTIONS: [(&str, &str, &str); 3] = [
    // Milliseconds after which ranges that were freed go back. It would be a second, in case that they are wanted again.
    ("MIMALLOC_PURGE_DELAY", "10", "0"),
    // Threads look for pages of theirs that others emptied after 1,000 allocations of a page's kind, not 10,000.
    ("MIMALLOC_GENERIC_COLLECT", "1", "1"),
    // A page that fell to nobody is taken by who needs one of its kind, and not by who frees something in it.
    ("MIMALLOC_PAGE_RECLAIM_ON_FREE", "-1", "-1"),
];

/// mimalloc keeps what was freed, in case it is wanted again. Under load that is some hundred megabytes:
/// nothing beside a large budget, and as much as a small one. So for small ones it is told not to.
///
/// The allocator reads its options from the environment, once, before anything of ours runs. So the
/// process becomes itself again, with the options set; call it before there is anything to lose.
pub fn return_pages_early(config: &Config) {
    let budget = executor_size(config).memory_bytes;
    let options: Vec<(&str, &str)> = OPTIONS
        .into_iter()
        .filter(|(name, _, _)| std::env::var_os(name).is_none())
        .map(|(name, small, tiny)| (name, if budget < TINY_BUDGET { tiny } else { small }))
        .collect();
    if budget >= SMALL_BUDGET || options.is_empty() {
        return;
    }
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(options)
            .exec(),
        Err(error) => error,
    };
    tracing::warn!(%error, "freed memory is given back late: the process could not start itself again");
}
