//! Row 9: statements are cancelled, time out, or lose their client, at random instants.

use std::sync::Mutex;
use std::time::Duration;

use sql_tests::wire::{Wire, WireError};

use crate::cluster::{Cluster, Options, open_files};
use crate::dice::Dice;
use crate::oracle::{ENDLESS, GROUPS, JOIN, SORTED, TOP};
use crate::report::Report;
use crate::{Result, Run, watch};

const CLIENTS: usize = 4;
/// Ways for a statement to end: see [`one`].
const MODES: u64 = 4;
/// Per client.
const STATEMENTS_SHORT: u64 = 75;
const STATEMENTS_LONG: u64 = 2_500;
const IDLE_WITHIN: Duration = Duration::from_secs(2);
/// Then nothing will ever be freed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_millis(250);
/// Sockets that the kernel has not closed yet, and threads that come and go.
const OPEN_FILES_MORE: usize = 12;
const GROWTH_BYTES_MAX: u64 = 128 << 20;
const WRITE: &str = "CREATE TEMP TABLE t AS SELECT * FROM lineitem ORDER BY l_comment";
const STATEMENTS: [&str; 6] = [JOIN, GROUPS, TOP, SORTED, ENDLESS, WRITE];

/// What happened to a statement.
#[derive(Debug, Default)]
struct Ends {
    cancelled: u64,
    timed_out: u64,
    vanished: u64,
    finished: u64,
    problems: Vec<String>,
}

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(9, "cancels, timeouts, disconnects", run);
    let cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut dice = Dice::new(run.seed);
    let (statements, modes) = match (run.without, run.is_short()) {
        // Without cancellation there is soon no slot for anything that needs an answer.
        (Some(_), _) => (3, MODES - 1),
        (None, true) => (STATEMENTS_SHORT, MODES),
        (None, false) => (STATEMENTS_LONG, MODES),
    };
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while run.goes_on(rounds, 1) {
        if run.without.is_none() {
            // Everything has been done once before anything is counted.
            batch(&cluster, &mut dice, 4, MODES)?;
            cluster.idle_within(Duration::from_secs(20))?;
        }
        let files = open_files(&cluster.pids())?;
        let resident = resident(&cluster)?;
        let ends = batch(&cluster, &mut dice, statements, modes)?;
        match cluster.idle_within(IDLE_TIMEOUT) {
            Ok(took) => {
                slowest = slowest.max(took);
                report.check_time(took < IDLE_WITHIN, || format!("idle after {took:?}"));
            }
            Err(error) => report.problem(error.to_string()),
        }
        report.fired("cancel requests", ends.cancelled);
        report.fired("timeouts", ends.timed_out);
        report.fired("disconnects", ends.vanished);
        report.fired("ended by themselves", ends.finished);
        for problem in ends.problems {
            report.problem(problem);
        }
        // Sockets of clients that went a moment ago are still being closed.
        std::thread::sleep(Duration::from_millis(500));
        let files_after = open_files(&cluster.pids())?;
        report.figure(
            "open files",
            format!("{files:?} before, {files_after:?} after"),
        );
        for (before, after) in files.iter().zip(&files_after) {
            report.check(*after <= before + OPEN_FILES_MORE, || {
                format!("{files:?} open files before, {files_after:?} after")
            });
        }
        let resident_after = self::resident(&cluster)?;
        let show = |all: &[u64]| all.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>();
        report.figure(
            "MiB",
            format!(
                "{:?} before, {:?} after",
                show(&resident),
                show(&resident_after)
            ),
        );
        for (before, after) in resident.iter().zip(&resident_after) {
            report.check(*after <= before + GROWTH_BYTES_MAX, || {
                format!("a process grew from {before} to {after} bytes")
            });
        }
        rounds += 1;
    }
    report.figure("idle again after", format!("{slowest:.2?}"));
    if run.without.is_none() {
        report.require(&["cancel requests", "timeouts", "disconnects"]);
    }
    Ok(report.done())
}

fn resident(cluster: &Cluster) -> Result<Vec<u64>> {
    let pids = cluster.pids().into_iter();
    Ok(pids
        .map(watch::resident_bytes)
        .collect::<std::io::Result<_>>()?)
}

fn batch(cluster: &Cluster, dice: &mut Dice, statements: u64, modes: u64) -> Result<Ends> {
    let all = Mutex::new(Ends::default());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (mut dice, all) = (dice.fork(), &all);
            scope.spawn(move || {
                for _ in 0..statements {
                    let mut ends = Ends::default();
                    if let Err(error) = one(cluster, &mut dice, modes, &mut ends) {
                        ends.problems.push(error.to_string());
                    }
                    let mut all = all.lock().unwrap_or_else(|e| e.into_inner());
                    all.cancelled += ends.cancelled;
                    all.timed_out += ends.timed_out;
                    all.vanished += ends.vanished;
                    all.finished += ends.finished;
                    all.problems.extend(ends.problems);
                }
            });
        }
    });
    Ok(all.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// A session, a statement, and its end.
fn one(cluster: &Cluster, dice: &mut Dice, modes: u64, ends: &mut Ends) -> Result {
    let mut wire = cluster.staged()?;
    let sql = *dice.pick(&STATEMENTS);
    match dice.below(modes) {
        0 => {
            let (port, key) = (cluster.driver.port(), wire.key);
            let pause = dice.duration(LONGEST);
            let cancelling = std::thread::spawn(move || {
                std::thread::sleep(pause);
                Wire::cancel_request(port, key)
            });
            let mut answer = wire.simple(sql).map(drop);
            cancelling
                .join()
                .map_err(|_| "the cancelling client panicked")??;
            if answer.is_ok() {
                // It was quicker; the request may hit nothing, or this.
                answer = wire.simple("SELECT 1").map(drop);
            }
            settle(
                answer,
                "user request",
                &mut ends.cancelled,
                &mut ends.finished,
            )?;
        }
        1 => {
            let timeout = 1 + dice.below(LONGEST.as_millis() as u64);
            wire.simple(&format!("SET statement_timeout = {timeout}"))?;
            let answer = wire.simple(sql).map(drop);
            settle(
                answer,
                "statement timeout",
                &mut ends.timed_out,
                &mut ends.finished,
            )?;
        }
        2 => {
            // In the middle of the work: this never answers.
            send(&mut wire, ENDLESS)?;
            std::thread::sleep(dice.duration(LONGEST));
            ends.vanished += 1;
        }
        _ => {
            // In the middle of the rows.
            send(&mut wire, SORTED)?;
            let rows = dice.below(5_000);
            for _ in 0..rows {
                if wire.receive()?.kind == b'E' {
                    return Err("a read failed before its client went".into());
                }
            }
            ends.vanished += 1;
        }
    }
    Ok(())
}

fn send(wire: &mut Wire, sql: &str) -> Result {
    let mut body = sql.as_bytes().to_vec();
    body.push(0);
    Ok(wire.send(b'Q', &body)?)
}

/// It was stopped as asked, or was quicker; anything else is a problem.
fn settle(
    answer: std::result::Result<(), WireError>,
    why: &str,
    stopped: &mut u64,
    finished: &mut u64,
) -> Result {
    match answer {
        Ok(()) => *finished += 1,
        Err(WireError::Server(error))
            if error.sqlstate == "57014" && error.message.contains(why) =>
        {
            *stopped += 1;
        }
        Err(error) => return Err(format!("instead of {why}: {error}").into()),
    }
    Ok(())
}
