//! Row 1: clients ask all day while executors are killed and come back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Tally, ask};
use crate::cluster::{Cluster, Options, World, open_files};
use crate::dice::Dice;
use crate::oracle::QUERIES;
use crate::report::Report;
use crate::{Result, Run, watch};

const CLIENTS_SHORT: usize = 6;
const CLIENTS_LONG: usize = 32;
/// Before the first kill: for caches, and for the times to compare with.
const CALM_SHORT: Duration = Duration::from_secs(6);
const CALM_LONG: Duration = Duration::from_secs(60);
const PAUSE_SHORT: Duration = Duration::from_secs(2);
const PAUSE_LONG: Duration = Duration::from_secs(30);
const KILLS_SHORT: u64 = 5;
/// What the driver may grow by under load: sessions, and footers of the files in its cache.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
const OPEN_FILES_MORE: usize = 16;
/// Twelve times as in the calm; the table's five times needs a machine of one's own.
const SLOWER_MAX: u32 = 12;

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(1, "soak", run);
    let world = World::get()?;
    let mut cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut dice = Dice::new(run.seed);
    let (clients, calm, pause) = if run.is_short() {
        (CLIENTS_SHORT, CALM_SHORT, PAUSE_SHORT)
    } else {
        (CLIENTS_LONG, CALM_LONG, PAUSE_LONG)
    };
    let (done, killing) = (AtomicBool::new(false), AtomicBool::new(false));
    let tallies = Mutex::new((Tally::default(), Tally::default()));
    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push((cluster.staged()?, dice.fork()));
    }
    let before = std::thread::scope(|scope| -> Result<_> {
        for (mut wire, mut dice) in sessions {
            let (done, killing, tallies) = (&done, &killing, &tallies);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let query = *dice.pick(&QUERIES);
                    let stormy = killing.load(Ordering::Relaxed);
                    let asked = ask(&mut wire, query, world.oracle.answer(query), |_| {});
                    let mut tallies = tallies.lock().unwrap_or_else(|e| e.into_inner());
                    let (calm, storm) = &mut *tallies;
                    if stormy {
                        storm.add(asked)
                    } else {
                        calm.add(asked)
                    };
                }
            });
        }
        let storm = (|| -> Result<_> {
            std::thread::sleep(calm);
            let before = watch::resident_bytes(cluster.driver.pid())?;
            killing.store(true, Ordering::Relaxed);
            let mut kills = 0;
            while run.goes_on(kills, KILLS_SHORT) {
                let since = Instant::now();
                let victim = dice.index(cluster.nodes.len());
                cluster.kill(victim)?;
                std::thread::sleep(dice.duration(Duration::from_millis(500)));
                cluster.make_whole()?;
                kills += 1;
                std::thread::sleep(pause.saturating_sub(since.elapsed()));
            }
            Ok(before)
        })();
        done.store(true, Ordering::Relaxed);
        storm
    })?;
    let (calm, storm) = tallies.into_inner().unwrap_or_else(|e| e.into_inner());
    report.fired("SIGKILL of an executor", cluster.logged("executor lost"));
    report.require(&["SIGKILL of an executor"]);
    report.figure(
        "asked",
        format!("{} calm, {} in the storm", calm.asked(), storm.asked()),
    );
    report.figure("broken off after the first row", storm.broken_off);
    let (p99_calm, p99) = (calm.percentile(99), storm.percentile(99));
    report.figure(
        "p99",
        format!("{p99_calm:.2?} calm, {p99:.2?} in the storm"),
    );
    report.check_time(p99 < p99_calm * SLOWER_MAX + pause, || {
        format!("p99 {p99:.2?} in the storm, {p99_calm:.2?} in the calm")
    });
    for what in calm.failed.into_iter().chain(storm.failed) {
        report.problem(format!("a read failed: {what}"));
    }
    for what in calm.wrong.into_iter().chain(storm.wrong) {
        report.problem(format!("a wrong answer: {what}"));
    }
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    let after = watch::resident_bytes(cluster.driver.pid())?;
    report.figure(
        "driver MiB",
        format!("{} before, {} after", before >> 20, after >> 20),
    );
    report.check(after < before + GROWTH_BYTES_MAX, || {
        format!("the driver grew from {before} to {after} bytes")
    });
    let files = open_files(&cluster.pids())?;
    report.figure("open files", format!("{files:?}"));
    let most = files.iter().skip(1).max().copied().unwrap_or(0);
    let least = files.iter().skip(1).min().copied().unwrap_or(0);
    report.check(most <= least + OPEN_FILES_MORE, || {
        format!("executors have {files:?} open files")
    });
    Ok(report.done())
}
