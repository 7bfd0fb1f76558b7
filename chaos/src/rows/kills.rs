//! Row 2: one, two or all executors are killed in each phase of a statement.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::client::{Asked, Outcome, ask};
use crate::cluster::{BLOCKABLE, Cluster, Options, World, block};
use crate::dice::Dice;
use crate::network::{Counts, Faults};
use crate::oracle::{JOIN, SORTED};
use crate::report::Report;
use crate::watch::Metrics;
use crate::{Result, Run};

/// Rounds over all phases and numbers of victims; each case has dice of its own.
const ROUNDS_SHORT: u64 = 2;
/// Rounds in which more than one executor dies.
const ALL_EVERY: u64 = 10;
/// For a phase to come.
const PHASE_TIMEOUT: Duration = Duration::from_secs(20);
/// For an answer, or a clear error where all executors are gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Slow enough to meet a fetch in its middle.
const FETCH_BYTES_PER_SECOND: u64 = 2 << 20;
const FETCHED_BYTES: u64 = 64 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Where a statement is when executors die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Scanning,
    MapWritten,
    MidFetch,
    FirstRow,
    MidResult,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Scanning,
        Self::MapWritten,
        Self::MidFetch,
        Self::FirstRow,
        Self::MidResult,
    ];

    const fn fault(self) -> &'static str {
        match self {
            Self::Queued => "kill while queued",
            Self::Scanning => "kill while scanning",
            Self::MapWritten => "kill after a map output was written",
            Self::MidFetch => "kill in the middle of a fetch",
            Self::FirstRow => "kill after the first row",
            Self::MidResult => "kill in the middle of the result",
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Self::Queued | Self::Scanning | Self::MapWritten | Self::MidFetch => JOIN,
            Self::FirstRow | Self::MidResult => SORTED,
        }
    }

    /// The row after which to kill.
    const fn row(self) -> Option<usize> {
        match self {
            Self::FirstRow => Some(1),
            Self::MidResult => Some(20_000),
            Self::Queued | Self::Scanning | Self::MapWritten | Self::MidFetch => None,
        }
    }
}

/// One statement and its victims.
struct Case {
    phase: Phase,
    victims: Vec<usize>,
    /// All are killed: do they come back before the answer?
    come_back: bool,
}

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(2, "kill matrix", run);
    let mut cluster = Cluster::start(&Options {
        config: format!("no_executor_timeout = \"5s\"\n{BLOCKABLE}"),
        ..Options::new(run.seed, run.without)
    })?;
    let mut dice = Dice::new(run.seed);
    let tasks = undisturbed(&cluster)?;
    let (mut cases, mut missed, mut rounds) = (0_u64, 0_u64, 0);
    let phases = Phase::ALL.map(Phase::fault);
    while run.wants_more(rounds, ROUNDS_SHORT, &report, &phases) {
        for phase in Phase::ALL {
            if run.spares(rounds, ROUNDS_SHORT, &report, phase.fault()) {
                continue;
            }
            let most = if rounds % ALL_EVERY == 0 {
                cluster.nodes.len()
            } else {
                1
            };
            for count in 1..=most {
                let case = Case {
                    phase,
                    victims: dice.indices(count, cluster.nodes.len()),
                    come_back: dice.below(2) == 0,
                };
                cases += 1;
                if case.run(&mut cluster, &mut report, tasks)? {
                    report.fired(phase.fault(), 1);
                    report.fired("SIGKILL of an executor", count as u64);
                } else {
                    missed += 1;
                }
                cluster.make_whole()?;
            }
        }
        rounds += 1;
    }
    report.figure("rounds", rounds);
    report.figure(
        "cases",
        format!("{cases}, of which {missed} missed their phase"),
    );
    report.figure("tasks of the join", tasks);
    report.require(&phases);
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

/// Attempts of [`JOIN`] when nothing happens.
fn undisturbed(cluster: &Cluster) -> Result<u64> {
    let world = World::get()?;
    let mut wire = cluster.staged()?;
    let before = cluster.metrics()?;
    let asked = ask(&mut wire, JOIN, world.oracle.answer(JOIN), |_| {});
    let after = cluster.metrics()?;
    match asked.outcome {
        Outcome::Right => Ok(after.since(&before, "attempts_launched_total")),
        other => Err(format!("without any fault: {other:?}").into()),
    }
}

impl Case {
    /// Whether its executors died in its phase.
    fn run(&self, cluster: &mut Cluster, report: &mut Report, tasks: u64) -> Result<bool> {
        let world = World::get()?;
        let query = self.phase.query();
        let mut wire = cluster.staged()?;
        let blockers = match self.phase {
            Phase::Queued => block(cluster)?,
            _ => Vec::new(),
        };
        if self.phase == Phase::MidFetch {
            slow_down(cluster, Some(FETCH_BYTES_PER_SECOND));
        }
        let before = cluster.metrics()?;
        let (seen, rows_seen) = mpsc::sync_channel(1);
        let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
        let (asked, killed, struck) = std::thread::scope(|scope| -> Result<_> {
            let row = self.phase.row();
            let asking = scope.spawn(move || {
                ask(&mut wire, query, world.oracle.answer(query), |rows| {
                    if Some(rows) == row && seen.send(()).is_ok() {
                        // Until the executors are dead.
                        let _ = may_go_on.recv();
                    }
                })
            });
            let reached = match row {
                Some(_) => rows_seen.recv_timeout(ANSWER_TIMEOUT).is_ok(),
                None => self.await_phase(cluster, &before, || asking.is_finished())?,
            };
            let at_risk = if reached { self.at_risk(cluster)? } else { 0 };
            let killed = Instant::now();
            if reached {
                for victim in &self.victims {
                    cluster.kill(*victim)?;
                }
            }
            drop(go_on);
            drop(blockers);
            slow_down(cluster, None);
            if self.victims.len() == cluster.nodes.len() && self.come_back {
                cluster.make_whole()?;
            }
            let asked = asking.join().map_err(|_| "the client panicked")?;
            Ok((asked, killed, reached.then_some(at_risk)))
        })?;
        let after = cluster.metrics()?;
        let Some(at_risk) = struck else {
            self.judge(&asked, killed, report);
            return Ok(false);
        };
        self.judge(&asked, killed, report);
        let redone = after.since(&before, "attempts_failed_total")
            + after.since(&before, "outputs_lost_total");
        let is_join = query == JOIN && self.phase != Phase::Queued;
        if is_join && matches!(asked.outcome, Outcome::Right) && self.victims.len() < 3 {
            let launched = after.since(&before, "attempts_launched_total");
            let speculated = after.since(&before, "attempts_speculated_total");
            report.check(launched <= tasks + redone + speculated && redone <= at_risk, || {
                format!(
                    "{:?}: {launched} attempts for {tasks} tasks, {redone} lost, {at_risk} at risk",
                    self.phase
                )
            });
        }
        Ok(self.phase.row().is_some() || self.phase == Phase::Queued || redone > 0)
    }

    /// Waits for the phase; `false` if the statement was quicker.
    fn await_phase(
        &self,
        cluster: &Cluster,
        before: &Metrics,
        is_over: impl Fn() -> bool,
    ) -> Result<bool> {
        let start = Instant::now();
        let passed = bytes_passed(cluster);
        while !is_over() && start.elapsed() < PHASE_TIMEOUT {
            let now = cluster.metrics()?;
            let accepted = now.since(before, "attempts_accepted_total");
            let is_here = match self.phase {
                Phase::Queued => now.get("jobs_queued") > 0,
                Phase::Scanning => {
                    now.since(before, "attempts_launched_total") > 0 && accepted == 0
                }
                Phase::MapWritten => accepted > 1 && self.holds_outputs(cluster)?,
                Phase::MidFetch => bytes_passed(cluster) > passed + FETCHED_BYTES,
                Phase::FirstRow | Phase::MidResult => true,
            };
            if is_here {
                return Ok(true);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(false)
    }

    fn holds_outputs(&self, cluster: &Cluster) -> Result<bool> {
        for victim in &self.victims {
            let page = cluster.metrics_of(*victim)?;
            if page.get("map_outputs") > page.get("attempts_running") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What may have to run again: what victims run and hold, and what others read from them.
    fn at_risk(&self, cluster: &Cluster) -> Result<u64> {
        let mut at_risk = 0;
        for node in 0..cluster.nodes.len() {
            let page = cluster.metrics_of(node)?;
            // One more may have begun on each slot since.
            at_risk += page.get("attempts_running") + 1;
            if self.victims.contains(&node) {
                at_risk += page.get("map_outputs") + 1;
            }
        }
        Ok(at_risk)
    }

    fn judge(&self, asked: &Asked, killed: Instant, report: &mut Report) {
        let all = self.victims.len() == 3;
        let name = format!("{} × {}", self.phase.fault(), self.victims.len());
        match &asked.outcome {
            Outcome::Right => {}
            // The client excuses these only after the first row.
            Outcome::BrokenOff(_) => report.fired("results broken off", 1),
            Outcome::Wrong(what) => report.problem(format!("{name}: {what}")),
            Outcome::Failed(what, sqlstate) => {
                let is_clear = matches!(sqlstate.as_deref(), Some("58030" | "08006" | "53000"));
                if all && !self.come_back && is_clear {
                    report.fired("clear errors without executors", 1);
                } else {
                    report.problem(format!("{name}: {what}"));
                }
            }
        }
        let waited = killed.elapsed();
        report.check(waited < ANSWER_TIMEOUT, || {
            format!("{name}: answered {waited:?} after the kill")
        });
    }
}

fn slow_down(cluster: &Cluster, rate: Option<u64>) {
    for node in &cluster.nodes {
        node.blocks.set(Faults {
            rate,
            ..Faults::default()
        });
    }
}

/// Over all links to blocks.
fn bytes_passed(cluster: &Cluster) -> u64 {
    let links = cluster.nodes.iter().map(|node| node.blocks.counts());
    links.map(|counts| Counts::read(&counts.back)).sum()
}
