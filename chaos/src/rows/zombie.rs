//! Row 3: an executor freezes for longer than its driver waits, and comes back.

use std::time::{Duration, Instant};

use crate::client::{Outcome, ask};
use crate::cluster::{Cluster, Options, World};
use crate::dice::Dice;
use crate::oracle::{GROUPS, JOIN, SORTED};
use crate::report::Report;
use crate::{Result, Run};

const ROUNDS_SHORT: u64 = 4;
/// The driver gives it up after one second; the rest is for the statement itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Of a statement, before an executor freezes.
const LAUNCHES_MAX: u64 = 12;
const FROZEN: &str = "frozen past the timeout";
/// Rows that must be written once each, whoever writes them.
const WRITE: &str = "CREATE TEMP TABLE written AS \
     SELECT l_partkey, count(*) AS lines FROM lineitem GROUP BY l_partkey";
const WRITTEN: &str =
    "SELECT count(*), sum(lines), count(*) - count(DISTINCT l_partkey) FROM written";

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(3, "zombie", run);
    let world = World::get()?;
    let mut cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut dice = Dice::new(run.seed);
    let expected = {
        let mut wire = cluster.staged()?;
        wire.simple(WRITE)?;
        wire.simple(WRITTEN)?
    };
    let mut rounds = 0;
    while run.wants_more(rounds, ROUNDS_SHORT, &report, &[FROZEN]) {
        let query = *dice.pick(&[JOIN, GROUPS, SORTED]);
        let writes = rounds % 2 == 1;
        let mut wire = cluster.staged()?;
        let frozen = &cluster.nodes[dice.index(cluster.nodes.len())].executor;
        let lost = cluster.logged("executor lost");
        let (before, launches) = (cluster.metrics()?, 1 + dice.below(LAUNCHES_MAX));
        let (answered, asked) = std::thread::scope(|scope| -> Result<_> {
            let asking = scope.spawn(move || -> (Option<_>, Option<Result<_>>) {
                if writes {
                    let written = wire.simple(WRITE).and_then(|_| wire.simple(WRITTEN));
                    (None, Some(written.map_err(Into::into)))
                } else {
                    let expected = world.oracle.answer(query);
                    (Some(ask(&mut wire, query, expected, |_| {})), None)
                }
            });
            cluster.await_launches(&before, launches, || asking.is_finished())?;
            frozen.signal("STOP")?;
            let start = Instant::now();
            // Past its time, and until the answer is there without it.
            while start.elapsed() < Duration::from_millis(1500)
                || (!asking.is_finished() && start.elapsed() < ANSWER_TIMEOUT)
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            let answered = asking.is_finished();
            frozen.signal("CONT")?;
            let asked = asking.join().map_err(|_| "the client panicked")?;
            Ok((answered, asked))
        })?;
        report.check(answered, || {
            format!("no answer for {ANSWER_TIMEOUT:?} while an executor was frozen")
        });
        match asked {
            (Some(asked), _) => match asked.outcome {
                Outcome::Right => {}
                Outcome::BrokenOff(_) => report.fired("results broken off", 1),
                other => report.problem(format!("{other:?}")),
            },
            (None, Some(Ok(rows))) => report.check(rows == expected, || {
                format!("{rows:?} was written instead of {expected:?}")
            }),
            (None, Some(Err(error))) => report.problem(format!("a write failed: {error}")),
            (None, None) => {}
        }
        if cluster.logged("executor lost") > lost {
            report.fired(FROZEN, 1);
        }
        // It comes back with a newer epoch and nothing in its hands.
        cluster.make_whole()?;
        rounds += 1;
    }
    if run.without.is_none() {
        report.require(&[FROZEN]);
    }
    report.figure("rejoined", cluster.logged("executor joined") - 3);
    report.figure(
        "reports fenced",
        cluster.metrics()?.get("reports_fenced_total"),
    );
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}
