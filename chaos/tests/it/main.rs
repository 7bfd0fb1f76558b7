//! Every row, short; and, by hand, each with its protection switched off, when it must turn red.
//!
//! One at a time: rows measure times and take both cores.

use std::sync::{Mutex, PoisonError};

use chaos::rows::by_number;
use chaos::{Result, Run};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SEED: u64 = 1;

#[expect(
    clippy::print_stdout,
    reason = "seed, faults and verdict, with --nocapture or a failure"
)]
fn green(number: u32) -> Result {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let row = by_number(number).ok_or("no such row")?;
    let report = (row.run)(&Run::short(SEED))?;
    println!("{report}");
    assert!(report.is_green(), "{report}");
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "seed, faults and verdict, with --nocapture or a failure"
)]
fn red(number: u32) -> Result {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let row = by_number(number).ok_or("no such row")?;
    let report = (row.run)(&Run {
        without: Some(row.control),
        ..Run::short(SEED)
    })?;
    println!("without {}: {report}", row.control);
    assert!(!report.is_green(), "it does not notice: {report}");
    Ok(())
}

macro_rules! rows {
    ($($number:literal $holds:ident $control:ident;)*) => {
        $(
            #[test]
            fn $holds() -> Result {
                green($number)
            }

            // Without its protection a row turns red when a fault hits at the right moment, which
            // is likely and not certain: too little for CI.
            #[test]
            #[ignore = "a control: `cargo xtask chaos --control` runs them"]
            fn $control() -> Result {
                red($number)
            }
        )*
    };
}

rows! {
    1 row_01_soak row_01_turns_red_without_retries;
    2 row_02_kill_matrix row_02_turns_red_without_retries;
    3 row_03_zombie row_03_turns_red_without_liveness;
    4 row_04_partition row_04_turns_red_without_liveness;
    5 row_05_dirty_network row_05_turns_red_without_checksums;
    6 row_06_damaged_files row_06_turns_red_without_checksums;
    7 row_07_little_memory row_07_turns_red_without_memory_limits;
    8 row_08_slow_reader row_08_turns_red_without_backpressure;
    9 row_09_cancels row_09_turns_red_without_cancels;
    12 row_12_changing_files row_12_turns_red_without_versions;
    13 row_13_overload row_13_turns_red_without_a_queue_limit;
    14 row_14_drain row_14_turns_red_without_draining;
    18 row_18_lost_cache row_18_turns_red_without_retries;
}
