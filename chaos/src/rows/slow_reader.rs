//! Row 8: a large result, and a client that takes a megabyte a second of it.

use std::time::{Duration, Instant};

use crate::client::{Outcome, Tally, ask};
use crate::cluster::{Cluster, Options, World};
use crate::oracle::{LARGE, SHORT};
use crate::report::Report;
use crate::{Result, Run, watch};

const BYTES_PER_SECOND: f64 = 1e6;
const READ_SHORT: Duration = Duration::from_secs(8);
const READ_LONG: Duration = Duration::from_secs(120);
/// What the driver may hold for the result.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// Its rows must be out of the executors' way by then.
const SLOTS_FREE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(8, "slow reader", run);
    let world = World::get()?;
    let cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut wire = cluster.driver.connect()?;
    let mut calm = Tally::default();
    let expected = world.oracle.answer(SHORT);
    for _ in 0..50 {
        calm.add(ask(&mut wire, SHORT, expected, |_| {}));
    }
    let base = watch::resident_bytes(cluster.driver.pid())?;
    let reading_for = if run.is_short() {
        READ_SHORT
    } else {
        READ_LONG
    };
    let mut slow = cluster.driver.connect()?;
    let (read, most, beside) = std::thread::scope(|scope| -> Result<_> {
        let reading = scope.spawn(move || -> Result<u64> {
            let mut body = LARGE.as_bytes().to_vec();
            body.push(0);
            slow.send(b'Q', &body)?;
            let (start, mut bytes) = (Instant::now(), 0_u64);
            while start.elapsed() < reading_for {
                let message = slow.receive()?;
                if message.kind == b'E' || message.kind == b'C' {
                    return Err(format!("the result ended after {bytes} bytes").into());
                }
                bytes += message.body.len() as u64;
                let due = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
                let ahead = due.saturating_sub(start.elapsed());
                if ahead > Duration::from_millis(20) {
                    std::thread::sleep(ahead);
                }
            }
            Ok(bytes)
        });
        let mut most = base;
        let freed =
            cluster.wait_until("the reader's tasks have ended", SLOTS_FREE_WITHIN, |page| {
                most_of(&cluster).is_ok() && page.get("cluster_slots_free") == 3
            });
        if let Err(error) = freed {
            report.problem(error.to_string());
        }
        let mut beside = Tally::default();
        while !reading.is_finished() {
            beside.add(ask(&mut wire, SHORT, expected, |_| {}));
            most = most.max(most_of(&cluster)?);
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = reading.join().map_err(|_| "the reader panicked")?;
        Ok((read, most, beside))
    })?;
    match read {
        Ok(bytes) => {
            report.fired("MB read slowly", bytes / 1_000_000);
            report.require(&["MB read slowly"]);
        }
        Err(error) => report.problem(error.to_string()),
    }
    report.figure(
        "driver MiB",
        format!("{} before, {} at most", base >> 20, most >> 20),
    );
    report.check(most <= base + GROWTH_BYTES_MAX, || {
        format!("the driver grew from {base} to {most} bytes")
    });
    let (before, after) = (calm.percentile(50), beside.percentile(50));
    report.figure(
        "others' median",
        format!("{before:.2?} before, {after:.2?} beside"),
    );
    report.check_time(after < before * 4 + Duration::from_millis(50), || {
        format!("others took {after:?} instead of {before:?}")
    });
    for what in beside.wrong.into_iter().chain(beside.failed) {
        report.problem(format!("beside a slow reader: {what}"));
    }
    if let Err(error) = cluster.idle_within(Duration::from_secs(10)) {
        report.problem(error.to_string());
    }
    // It still answers.
    let last = ask(&mut wire, SHORT, expected, |_| {});
    report.check(matches!(last.outcome, Outcome::Right), || {
        format!("after the slow reader: {:?}", last.outcome)
    });
    Ok(report.done())
}

fn most_of(cluster: &Cluster) -> std::io::Result<u64> {
    watch::resident_bytes(cluster.driver.pid())
}
