//! Row 14: every executor is drained and started again, in turn; then the driver is killed and
//! started again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Outcome, Tally, ask};
use crate::cluster::{Cluster, Options, World};
use crate::dice::Dice;
use crate::oracle::{GROUPS, JOIN, QUERIES};
use crate::report::Report;
use crate::{Result, Run};

const CLIENTS: usize = 4;
const ROUNDS_SHORT: u64 = 1;
const DRIVER_KILLS_SHORT: u64 = 2;
const REJOIN_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(14, "rolling drain and restarts", run);
    let mut cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut dice = Dice::new(run.seed);
    let mut rounds = 0;
    while run.goes_on(rounds, ROUNDS_SHORT) {
        roll(&mut cluster, &mut dice, &mut report)?;
        for _ in 0..if run.is_short() {
            DRIVER_KILLS_SHORT
        } else {
            1
        } {
            kill_driver(&mut cluster, &mut report)?;
        }
        rounds += 1;
    }
    report.require(&["executor drained", "SIGKILL of the driver"]);
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

fn roll(cluster: &mut Cluster, dice: &mut Dice, report: &mut Report) -> Result {
    let world = World::get()?;
    let done = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push((cluster.staged()?, dice.fork()));
    }
    std::thread::scope(|scope| -> Result {
        for (mut wire, mut dice) in sessions {
            let (done, tally) = (&done, &tally);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let query = *dice.pick(&QUERIES);
                    let asked = ask(&mut wire, query, world.oracle.answer(query), |_| {});
                    tally.lock().unwrap_or_else(|e| e.into_inner()).add(asked);
                }
            });
        }
        let rolled = (|| -> Result {
            for number in 0..cluster.nodes.len() {
                std::thread::sleep(dice.duration(Duration::from_millis(300)));
                let leaving = &mut cluster.nodes[number].executor;
                leaving.signal("TERM")?;
                let status = leaving.wait()?;
                report.check(status.success(), || format!("a drained executor: {status}"));
                report.fired("executor drained", 1);
                cluster.make_whole()?;
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        rolled
    })?;
    let tally = tally.into_inner().unwrap_or_else(|e| e.into_inner());
    report.figure("asked while executors drained", tally.asked());
    for what in &tally.wrong {
        report.problem(format!("a wrong answer: {what}"));
    }
    for what in &tally.failed {
        report.problem(format!("a read failed: {what}"));
    }
    report.check(tally.broken_off == 0, || {
        format!("{} reads were broken off", tally.broken_off)
    });
    Ok(())
}

fn kill_driver(cluster: &mut Cluster, report: &mut Report) -> Result {
    let world = World::get()?;
    let mut wire = cluster.staged()?;
    let asked = std::thread::scope(|scope| -> Result<_> {
        let expected = world.oracle.answer(JOIN);
        let asking = scope.spawn(move || ask(&mut wire, JOIN, expected, |_| {}));
        std::thread::sleep(Duration::from_millis(100));
        cluster.driver.kill9()?;
        report.fired("SIGKILL of the driver", 1);
        asking.join().map_err(|_| "the client panicked".into())
    })?;
    match asked.outcome {
        // It was quicker than the signal.
        Outcome::Right => {}
        Outcome::Failed(what, None) if what.contains("connection:") => {}
        other => report.problem(format!("the client of a killed driver got {other:?}")),
    }
    cluster.driver.start_again()?;
    let all = cluster.nodes.len() as u64;
    let start = Instant::now();
    let rejoined = cluster.wait_until("executors rejoin", Duration::from_secs(30), |metrics| {
        metrics.get("executors") == all
    })?;
    report.figure("executors rejoined after", format!("{rejoined:.2?}"));
    report.check_time(rejoined < REJOIN_TIMEOUT, || {
        format!("executors rejoined after {rejoined:?}")
    });
    let mut wire = cluster.staged()?;
    match ask(&mut wire, GROUPS, world.oracle.answer(GROUPS), |_| {}).outcome {
        Outcome::Right => {}
        other => report.problem(format!("the first query of a new driver: {other:?}")),
    }
    report.figure("first answer after", format!("{:.2?}", start.elapsed()));
    Ok(())
}
