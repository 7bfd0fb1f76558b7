//! `cargo xtask chaos`: rows by hand, for as long as one likes.

#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: it talks on standard output"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chaos::rows::{ROWS, Row};
use chaos::{Result, Run};
use clap::Parser;

/// Runs rows of the chaos table against a real cluster.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos")]
struct Cli {
    /// Minutes for all rows together; without it, each runs as short as in CI.
    #[arg(long)]
    minutes: Option<f64>,
    /// Rows, by number; all without it.
    #[arg(long)]
    row: Vec<u32>,
    /// The first seed. The same seed throws the same dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Switch each row's protection off: all must turn red.
    #[arg(long)]
    control: bool,
    /// TPC-H tables for rows 7 and 18, in place of small ones that are generated.
    #[arg(long, requires = "memory")]
    data: Option<PathBuf>,
    /// What each of their executors has then: for row 7, a fifth of lineitem or less.
    #[arg(long, requires = "data")]
    memory: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen = |row: &Row| cli.row.is_empty() || cli.row.contains(&row.number);
    let rows: Vec<Row> = ROWS.into_iter().filter(chosen).collect();
    let share = cli
        .minutes
        .map(|minutes| minutes / rows.len().max(1) as f64);
    let large = cli.memory.zip(cli.data).map(|(memory, data)| {
        // For as long as the process lives.
        let data = data.canonicalize().unwrap_or(data);
        let data: &'static Path = Box::leak(data.into_boxed_path());
        let memory: &'static str = Box::leak(memory.into_boxed_str());
        (memory, data)
    });
    let mut as_wanted = !rows.is_empty();
    for row in rows {
        let until = share.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
        let run = Run {
            seed: cli.seed,
            until,
            without: cli.control.then_some(row.control),
            large,
        };
        as_wanted &= one(row, &run) == !cli.control;
    }
    if as_wanted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether it was green.
fn one(row: Row, run: &Run) -> bool {
    let report: Result<_> = (row.run)(run);
    match report {
        Ok(report) => {
            println!("{report}");
            report.is_green()
        }
        Err(error) => {
            println!("row {} could not be run: {error}\n", row.number);
            false
        }
    }
}
