//! `cargo xtask …`: the project's own commands. `test` is the one test command, `bench` runs the
//! benchmarks, `chaos` injects faults, `docs` writes the generated pages, `tidy` checks the house rules alone.
//!
//! Nothing here knows the server: it runs cargo, package installers and the benchmark binary. The
//! rules of the house (crate arrows, features, licences, sources) live in [`tidy`] and run as
//! tests of this crate, so that `cargo test` alone finds what breaks them.

#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: it talks on standard output"
)]

mod clients;
mod command;
mod tidy;

use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [ARGS…]    everything: installs test clients, builds, runs all tests. ARGS go to `cargo test`
  bench [ARGS…]   benchmarks; `cargo xtask bench --help` lists them
  bench scheduler [EXECUTORS…]   task events per second, by size of the cluster
  chaos [ARGS…]   faults against a real cluster; `--minutes N`, `--row R`, `--seed S`, `--control`
  docs            writes the generated pages of docs/
  tidy            the house rules alone: crate arrows, features, licences, sources
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match command.as_str() {
        "test" => test(&rest),
        "bench" => bench(&rest),
        "chaos" => chaos(&rest),
        "docs" => docs(),
        "tidy" => tidy::report(),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Clients first (a missing one is said and its tests are skipped), then one build of all binaries
/// and tests, so that the tests over the wire find a `firesteel` of the same sources.
fn test(arguments: &[String]) -> Result<()> {
    clients::install();
    // `--tests` in the same build: features of dev-dependencies would otherwise make a second set.
    command::cargo(
        &["build", "--release", "--workspace", "--bins", "--tests"],
        &[],
    )?;
    let mut test = vec!["test", "--release", "--workspace"];
    test.extend(arguments.iter().map(String::as_str));
    command::cargo(&test, &[])?;
    if arguments.is_empty() {
        cluster_test()?;
    }
    Ok(())
}

/// Tests over the wire that a driver with executor processes has nothing to add to.
const SAME_WITH_EXECUTORS: [(&str, &str); 4] = [
    ("cluster::", "these start clusters of their own"),
    ("modes::", "these start one of each"),
    ("slt::ours_in_postgres", "this asks PostgreSQL"),
    ("lifecycle::bad_configuration", "no server starts"),
];

/// All other suites over the wire once more, against a driver with executor processes.
fn cluster_test() -> Result<()> {
    let mut test = vec![
        "test",
        "--release",
        "--package",
        "sql-tests",
        "--test",
        "it",
        "--",
    ];
    for (name, why) in SAME_WITH_EXECUTORS {
        println!("not once more against a cluster: {name}: {why}");
        test.extend(["--skip", name]);
    }
    command::cargo(&test, &[("FIRESTEEL_EXECUTORS", "3")])
}

fn bench(arguments: &[String]) -> Result<()> {
    if let Some((_, clusters)) = arguments
        .split_first()
        .filter(|(name, _)| *name == "scheduler")
    {
        // It needs no server, so none is built.
        let mut run = vec!["run", "--release", "--quiet", "--package", "scheduler"];
        run.extend(["--example", "throughput", "--"]);
        run.extend(clusters.iter().map(String::as_str));
        return command::cargo(&run, &[]);
    }
    command::cargo(&["build", "--release", "--workspace", "--bins"], &[])?;
    let mut run = vec![
        "run",
        "--release",
        "--quiet",
        "--package",
        "benchmarks",
        "--",
    ];
    run.extend(arguments.iter().map(String::as_str));
    command::cargo(&run, &[])
}

fn chaos(arguments: &[String]) -> Result<()> {
    command::cargo(&["build", "--release", "--workspace", "--bins"], &[])?;
    let mut run = vec!["run", "--release", "--quiet", "--package", "chaos", "--"];
    run.extend(arguments.iter().map(String::as_str));
    command::cargo(&run, &[])
}

/// The tests that compare the checked-in pages with what the code renders, told to write instead.
fn docs() -> Result<()> {
    command::cargo(
        &[
            "test",
            "--release",
            "--package",
            "server",
            "--lib",
            "config::docs",
        ],
        &[("UPDATE_EXPECT", "1")],
    )
}
