//! Row 4: links between driver and executors, and between executors, that carry nothing any more,
//! both ways or one way.

use std::time::{Duration, Instant};

use crate::client::{Outcome, ask};
use crate::cluster::{Cluster, Options, World};
use crate::dice::Dice;
use crate::network::{Counts, Faults, Link};
use crate::oracle::{JOIN, SORTED};
use crate::report::Report;
use crate::{Result, Run};

const ROUNDS_SHORT: u64 = 1;
/// Longer is a hang: pings find a dead peer after six seconds, and a fetch is tried five times.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a statement, before a control stream is cut.
const LAUNCHES_MAX: u64 = 12;
const LOST: &str = "executor lost";
/// How long a link stays cut at most.
const CUT_FOR: Duration = Duration::from_secs(8);
/// The driver gives an executor up after one second. Pings, which would find a dead link too,
/// take six.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(5);

/// What is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The control stream of an executor.
    Control,
    ControlToward,
    ControlBack,
    /// An executor's blocks, for one other executor.
    Peers,
    PeersToward,
    PeersBack,
    /// An executor's rows, for the driver.
    Rows,
}

impl Cut {
    const ALL: [Self; 7] = [
        Self::Control,
        Self::ControlToward,
        Self::ControlBack,
        Self::Peers,
        Self::PeersToward,
        Self::PeersBack,
        Self::Rows,
    ];

    const fn fault(self) -> &'static str {
        match self {
            Self::Control => "driver–executor cut",
            Self::ControlToward | Self::ControlBack => "driver–executor half open",
            Self::Peers => "executor–executor cut",
            Self::PeersToward | Self::PeersBack => "executor–executor half open",
            Self::Rows => "rows cut",
        }
    }

    fn faults(self, only_from: Option<u32>) -> Faults {
        Faults {
            only_from,
            cut_toward: !matches!(self, Self::ControlBack | Self::PeersBack),
            cut_back: !matches!(self, Self::ControlToward | Self::PeersToward),
            ..Faults::default()
        }
    }
}

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(4, "partition", run);
    let mut cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let mut dice = Dice::new(run.seed);
    let mut longest = Duration::ZERO;
    let mut rounds = 0;
    let cuts = Cut::ALL.map(Cut::fault);
    while run.wants_more(rounds, ROUNDS_SHORT, &report, &cuts) {
        for cut in Cut::ALL {
            if run.spares(rounds, ROUNDS_SHORT, &report, cut.fault()) {
                continue;
            }
            let took = one(&cluster, cut, &mut dice, &mut report)?;
            longest = longest.max(took);
            cluster.make_whole()?;
        }
        rounds += 1;
    }
    report.figure("longest answer", format!("{longest:.1?}"));
    report.require(&cuts);
    if let Err(error) = cluster.idle_within(Duration::from_secs(30)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

fn one(cluster: &Cluster, cut: Cut, dice: &mut Dice, report: &mut Report) -> Result<Duration> {
    let world = World::get()?;
    let query = if matches!(cut, Cut::Rows) {
        SORTED
    } else {
        JOIN
    };
    let victim = dice.index(cluster.nodes.len());
    let other = (victim + 1) % cluster.nodes.len();
    let node = &cluster.nodes[victim];
    let (links, from): (Vec<&Link>, _) = match cut {
        Cut::Control | Cut::ControlToward | Cut::ControlBack => (vec![&node.control], None),
        Cut::Peers | Cut::PeersToward | Cut::PeersBack => {
            let reader = cluster.nodes[other].executor.pid();
            (vec![&node.blocks], Some(reader))
        }
        // Whichever has them.
        Cut::Rows => {
            let all = cluster.nodes.iter().map(|node| &node.blocks);
            (all.collect(), Some(cluster.driver.pid()))
        }
    };
    let set = |faults: Faults| links.iter().for_each(|link| link.set(faults.clone()));
    let withheld = || -> u64 {
        let counts = links.iter().map(|link| &link.counts().withheld);
        counts.map(Counts::read).sum()
    };
    let (before, launched) = (withheld(), cluster.metrics()?);
    let lost = cluster.logged(LOST);
    let mut wire = cluster.staged()?;
    let is_control = matches!(cut, Cut::Control | Cut::ControlToward | Cut::ControlBack);
    if !is_control {
        set(cut.faults(from));
    }
    let asked = std::thread::scope(|scope| -> Result<_> {
        let expected = world.oracle.answer(query);
        let asking = scope.spawn(move || ask(&mut wire, query, expected, |_| {}));
        if is_control {
            // An executor that is lost before anything begins is not missed.
            let launches = 3 + dice.below(LAUNCHES_MAX);
            cluster.await_launches(&launched, launches, || asking.is_finished())?;
            set(cut.faults(from));
        }
        let start = Instant::now();
        let settled = || asking.is_finished() && (!is_control || cluster.logged(LOST) > lost);
        while !settled() && start.elapsed() < CUT_FOR {
            std::thread::sleep(Duration::from_millis(10));
        }
        if is_control {
            let (settled, took) = (settled(), start.elapsed());
            report.check(settled, || {
                format!("{cut:?}: no answer, or no executor was given up, for {CUT_FOR:?}")
            });
            report.check_time(took < GIVEN_UP_WITHIN, || {
                format!("{cut:?}: answered and given up after {took:?}")
            });
        }
        set(Faults::default());
        asking.join().map_err(|_| "the client panicked".into())
    })?;
    report.fired(cut.fault(), withheld() - before);
    match asked.outcome {
        Outcome::Right => {}
        Outcome::BrokenOff(_) => report.fired("results broken off", 1),
        other => report.problem(format!("{cut:?}: {other:?}")),
    }
    report.check(asked.took < ANSWER_TIMEOUT, || {
        format!("{cut:?}: answered after {:?}", asked.took)
    });
    Ok(asked.took)
}
