//! Row 13: two thousand connections that all want something at once.

use std::time::{Duration, Instant};

use sql_tests::wire::{Wire, WireError};

use crate::cluster::{BLOCKABLE, Cluster, Options, World, block};
use crate::oracle::SHORT;
use crate::report::Report;
use crate::{Result, Run};

const CONNECTIONS: usize = 2_000;
/// Jobs that may wait.
const QUEUE: u64 = 1_000;
const PHASE_TIMEOUT: Duration = Duration::from_secs(60);
/// `SELECT 1` while a thousand jobs wait.
const PROBES: usize = 100;
const PROBE_P95_MAX: Duration = Duration::from_millis(50);

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(13, "overload", run);
    let world = World::get()?;
    let cluster = Cluster::start(&Options {
        config: format!("{BLOCKABLE}[connections]\nmax_connections = 2100\n"),
        // A driver that plans two thousand statements at once may be silent for a second.
        short_timeouts: false,
        ..Options::new(run.seed, run.without)
    })?;
    let mut rounds = 0;
    while run.goes_on(rounds, 1) {
        let mut crowd = Vec::new();
        for _ in 0..CONNECTIONS {
            crowd.push(cluster.driver.connect()?);
        }
        let mut probe = cluster.driver.connect()?;
        let blockers = block(&cluster)?;
        for wire in &mut crowd {
            send(wire, SHORT)?;
        }
        let refused = CONNECTIONS as u64 - QUEUE;
        let full = cluster.wait_until("the queue is full", PHASE_TIMEOUT, |page| {
            page.get("jobs_queued") >= QUEUE
        });
        if let Err(error) = full {
            report.problem(error.to_string());
        }
        let mut times = Vec::new();
        for _ in 0..PROBES {
            let start = Instant::now();
            let one = probe.value("SELECT 1")?;
            times.push(start.elapsed());
            report.check(one.as_deref() == Some("1"), || format!("SELECT {one:?}"));
        }
        times.sort_unstable();
        let p95 = times[PROBES * 95 / 100];
        report.figure("SELECT 1, p95", format!("{p95:.2?}"));
        report.check_time(p95 <= PROBE_P95_MAX, || format!("SELECT 1 took {p95:?}"));
        drop(blockers);
        let (mut answered, mut turned_away) = (0, 0);
        for wire in &mut crowd {
            match wire.until_ready() {
                Ok(answers) => {
                    answered += 1;
                    let rows = answers.into_iter().flat_map(|answer| answer.rows);
                    if rows.ne(world.oracle.answer(SHORT).iter().cloned()) {
                        report.problem("a wrong answer");
                    }
                }
                Err(WireError::Server(error)) if error.sqlstate == "53300" => turned_away += 1,
                Err(error) => report.problem(format!("neither an answer nor 53300: {error}")),
            }
        }
        report.fired("refused with 53300", turned_away);
        report.fired("waited and answered", answered);
        report.check(
            turned_away + 10 >= refused && turned_away <= refused,
            || format!("{turned_away} were refused, {answered} answered"),
        );
        drop(crowd);
        rounds += 1;
    }
    report.figure("connections", CONNECTIONS);
    report.require(&["refused with 53300", "waited and answered"]);
    if let Err(error) = cluster.idle_within(Duration::from_secs(10)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

fn send(wire: &mut Wire, sql: &str) -> Result {
    let mut body = sql.as_bytes().to_vec();
    body.push(0);
    Ok(wire.send(b'Q', &body)?)
}
