//! The rows, by their numbers in the table of `README.md`.

mod cancels;
mod changing_files;
mod damaged_files;
mod dirty_network;
mod drain;
mod kills;
mod little_memory;
mod lost_cache;
mod overload;
mod partition;
mod slow_reader;
mod soak;
mod zombie;

use crate::report::Report;
use crate::{Result, Run};

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub number: u32,
    pub run: fn(&Run) -> Result<Report>,
    /// What to switch off to see it turn red.
    pub control: &'static str,
}

/// All there are.
pub const ROWS: [Row; 13] = [
    Row {
        number: 1,
        run: soak::run,
        control: "retries",
    },
    Row {
        number: 2,
        run: kills::run,
        control: "retries",
    },
    Row {
        number: 3,
        run: zombie::run,
        control: "liveness",
    },
    Row {
        number: 4,
        run: partition::run,
        control: "liveness",
    },
    Row {
        number: 5,
        run: dirty_network::run,
        control: "checksums",
    },
    Row {
        number: 6,
        run: damaged_files::run,
        control: "checksums",
    },
    Row {
        number: 7,
        run: little_memory::run,
        control: "memory",
    },
    Row {
        number: 8,
        run: slow_reader::run,
        control: "backpressure",
    },
    Row {
        number: 9,
        run: cancels::run,
        control: "cancels",
    },
    Row {
        number: 12,
        run: changing_files::run,
        control: "versions",
    },
    Row {
        number: 13,
        run: overload::run,
        control: "queue",
    },
    Row {
        number: 14,
        run: drain::run,
        control: "drain,retries",
    },
    Row {
        number: 18,
        run: lost_cache::run,
        control: "retries",
    },
];

/// A row by its number.
pub fn by_number(number: u32) -> Option<Row> {
    ROWS.into_iter().find(|row| row.number == number)
}
