//! Benchmarks of Firesteel as its users meet it: a server process, SQL over the wire, and the peers
//! beside it on the same files in the same minutes. `cargo xtask bench …` runs this.
//!
//! In reading order: [`tpch`], [`dashboard`] (with its statements in [`mix`]), [`latency`] and
//! [`stream`] are the benchmarks. [`server_process`]
//! runs a server, [`session`] talks to it through a driver and [`raw_client`] frame by frame.
//! [`engines`] is what the TPC-H queries are put to, [`peers`] other people's engines, [`answers`]
//! whether two of them agree. [`statistics`], [`report`] and [`places`] are shared by all.
//!
//! Nothing here judges the numbers; it fails only where a query fails or answers differ.

#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: it talks on standard output"
)]

mod answers;
mod dashboard;
mod engines;
mod latency;
mod mix;
mod peers;
mod places;
mod raw_client;
mod report;
mod server_process;
mod session;
mod statistics;
mod stream;
mod tpch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Measures Firesteel, and its peers beside it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The 22 queries of TPC-H, alternating with the peers on the same files.
    Tpch(tpch::TpchArgs),
    /// A dashboard's mix of queries, and one pass over every column, with and without a cache.
    Dashboard(dashboard::DashboardArgs),
    /// `SELECT 1` and a prepared point query, beside PostgreSQL; start-up time and idle memory.
    Latency(latency::LatencyArgs),
    /// A large result to readers of several kinds: rows per second, first row, memory.
    Stream(stream::StreamArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Tpch(args) => tpch::run(&args),
        Command::Dashboard(args) => dashboard::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Stream(args) => stream::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The runtime of our side of the wire. Two threads: more would take the server's cores.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
