//! One task or stages, and how many partitions: a decision over sizes alone.
//!
//! One task is the faster form whenever it fits: nothing is stored, everything is pipelined. It
//! stops fitting when hash tables outgrow memory (DataFusion's hash join does not spill) or, with
//! several executors, when there is enough to read that sharing it out pays.

use super::estimate::Estimate;
use super::spilling_joins::Builds;
use super::{Joins, SplitOptions};

/// How a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One stage, one task.
    Fused,
    /// Stages of this many partitions.
    Staged { partitions: u32 },
}

/// In-memory bytes a partition should read. 64 to 256 MiB is right; estimates are on the high
/// side, and fewer partitions deal larger batches.
const PARTITION_BYTES: u64 = 256 << 20;

/// Bounds segments per map output and tasks per stage.
const PARTITIONS_MAX: u32 = 1024;

pub(super) fn decide(estimate: &Estimate, options: &SplitOptions) -> Decision {
    if !options.force_exchange && options.joins == Joins::Auto {
        // Hash tables may take 60 % of memory: estimates are rough, and sorts, scans and the
        // neighbours need some.
        let fits = estimate.state_bytes <= options.memory_bytes / 5 * 3;
        let small = options.executors <= 1 || estimate.scan_bytes <= options.fuse_bytes_max;
        if fits && small {
            return Decision::Fused;
        }
    }
    let partitions = options
        .partitions
        .unwrap_or_else(|| partitions(estimate, options));
    Decision::Staged {
        partitions: partitions.clamp(1, PARTITIONS_MAX),
    }
}

/// Bounds the partitions of plans whose joins spill: more cost more than larger sorts do.
const SPILLING_PARTITIONS_MAX: u64 = 128;

/// What a partition of a hash join's build may take: an executor's slots run one each, in a quarter
/// of memory together.
fn share(options: &SplitOptions) -> u64 {
    (options.memory_bytes / 4 / u64::from(options.slots_each())).max(1)
}

/// The builds that are too large for their shares of memory: twice as large, because estimates are
/// on the high side. `partitions` are those of a staged plan; in one task all builds are held at
/// once.
pub(super) fn too_large(partitions: Option<u32>, options: &SplitOptions) -> Builds {
    match (options.joins, partitions) {
        (Joins::Auto, Some(partitions)) => Builds::Over(
            share(options)
                .saturating_mul(2)
                .saturating_mul(u64::from(partitions)),
        ),
        (Joins::Auto, None) => Builds::Over(options.memory_bytes / 4),
        (Joins::Spilling, _) => Builds::All {
            but: options.memory_bytes / 64,
        },
        (Joins::SortMerge, _) => Builds::All { but: 0 },
    }
}

/// The bytes that a sort with a limit may keep, as it cannot spill: a share like a build's. What was tried in
/// vain keeps next to nothing.
pub(super) fn top_bytes_max(options: &SplitOptions) -> u64 {
    match options.joins {
        Joins::Auto | Joins::SortMerge => share(options),
        Joins::Spilling => options.memory_bytes / 64,
    }
}

fn partitions(estimate: &Estimate, options: &SplitOptions) -> u32 {
    let by_bytes = estimate.scan_bytes.div_ceil(PARTITION_BYTES);
    let by_memory = estimate.largest_state_bytes.div_ceil(share(options));
    let by_input = match options.joins {
        Joins::Auto => 0,
        // What was estimated did not come true. Sorts that seldom spill are the quicker ones.
        Joins::Spilling | Joins::SortMerge => estimate
            .scan_bytes
            .div_ceil(share(options))
            .min(SPILLING_PARTITIONS_MAX),
    };
    let wanted = by_bytes
        .max(by_memory)
        .max(by_input)
        .max(u64::from(options.slots))
        .max(2);
    // Powers of two: dealing rows to segments is then a mask instead of a division.
    wanted
        .checked_next_power_of_two()
        .unwrap_or(u64::from(PARTITIONS_MAX))
        .min(u64::from(PARTITIONS_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn estimate(scan_bytes: u64, state_bytes: u64) -> Estimate {
        Estimate {
            scan_bytes,
            state_bytes,
            largest_state_bytes: state_bytes,
        }
    }

    fn local() -> SplitOptions {
        SplitOptions {
            slots: 2,
            memory_bytes: 4 * GIB,
            ..SplitOptions::default()
        }
    }

    #[test]
    fn a_large_scan_is_one_task_where_one_task_has_all_slots() {
        assert_eq!(decide(&estimate(100 * GIB, 0), &local()), Decision::Fused);
        let cluster = SplitOptions {
            executors: 2,
            ..local()
        };
        assert_eq!(
            decide(&estimate(100 * GIB, 0), &cluster),
            Decision::Staged { partitions: 512 }
        );
        assert_eq!(decide(&estimate(1 << 20, 0), &cluster), Decision::Fused);
    }

    #[test]
    fn builds_that_do_not_fit_are_cut_until_all_slots_fit_a_quarter_of_memory() {
        assert_eq!(
            decide(&estimate(0, 8 * GIB), &local()),
            Decision::Staged { partitions: 16 }
        );
    }

    #[test]
    fn force_exchange_cuts_the_smallest_query_into_at_least_two() {
        let forced = SplitOptions {
            force_exchange: true,
            slots: 1,
            ..local()
        };
        assert_eq!(
            decide(&estimate(0, 0), &forced),
            Decision::Staged { partitions: 2 }
        );
        let fixed = SplitOptions {
            partitions: Some(1),
            ..forced
        };
        assert_eq!(
            decide(&estimate(0, 0), &fixed),
            Decision::Staged { partitions: 1 }
        );
    }
}
