//! Row 5: a network that is slow, resets connections, flips bits and cuts messages off.
//!
//! Connections here are plain, as on loopback: with TLS, no flipped bit gets as far as our
//! checksums.

use std::time::Duration;

use crate::client::{Tally, ask};
use crate::cluster::{Cluster, Options, World};
use crate::network::{Counts, Faults};
use crate::oracle::{GROUPS, JOIN, SORTED, TOP};
use crate::report::Report;
use crate::{Result, Run};

const ROUNDS_SHORT: u64 = 1;
/// How often each query is asked with each fault.
const ASKED: u64 = 1;

/// A fault of all links to blocks, and of the control streams.
struct Weather {
    name: &'static str,
    blocks: Faults,
    control: Faults,
}

fn weathers() -> [Weather; 6] {
    let none = Faults::default;
    [
        Weather {
            name: "chunks delayed",
            blocks: Faults {
                delay: Duration::from_millis(5),
                ..none()
            },
            control: Faults {
                delay: Duration::from_millis(200),
                ..none()
            },
        },
        Weather {
            name: "resets",
            blocks: Faults {
                reset_every: Some(2 << 20),
                ..none()
            },
            control: none(),
        },
        Weather {
            name: "bits flipped",
            blocks: Faults {
                flip_back_every: Some(1 << 20),
                ..none()
            },
            control: none(),
        },
        Weather {
            name: "bits flipped in requests",
            blocks: Faults {
                flip_toward_every: Some(2 << 10),
                ..none()
            },
            control: none(),
        },
        Weather {
            name: "connections cut off",
            blocks: Faults {
                truncate_every: Some(2 << 20),
                ..none()
            },
            control: none(),
        },
        Weather {
            name: "bits flipped in control messages",
            blocks: none(),
            control: Faults {
                flip_toward_every: Some(16 << 10),
                flip_back_every: Some(64 << 10),
                ..none()
            },
        },
    ]
}

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(5, "slow and dirty network", run);
    let world = World::get()?;
    let mut cluster = Cluster::start(&Options::new(run.seed, run.without))?;
    let (mut rounds, mut all) = (0, Tally::default());
    let names = weathers().map(|weather| weather.name);
    while run.wants_more(rounds, ROUNDS_SHORT, &report, &names) {
        for weather in weathers() {
            if run.spares(rounds, ROUNDS_SHORT, &report, weather.name) {
                continue;
            }
            let before = damage(&cluster);
            for node in &cluster.nodes {
                node.blocks.set(weather.blocks.clone());
                node.control.set(weather.control.clone());
            }
            let mut tally = Tally::default();
            for _ in 0..ASKED {
                for query in [JOIN, GROUPS, SORTED, TOP] {
                    let mut wire = cluster.staged()?;
                    tally.add(ask(&mut wire, query, world.oracle.answer(query), |_| {}));
                }
            }
            for node in &cluster.nodes {
                node.blocks.heal();
                node.control.heal();
            }
            report.fired(weather.name, damage(&cluster) - before);
            for what in &tally.wrong {
                report.problem(format!("{}: a wrong answer: {what}", weather.name));
            }
            for what in &tally.failed {
                report.problem(format!("{}: a read failed: {what}", weather.name));
            }
            all.merge(tally);
            cluster.make_whole()?;
        }
        rounds += 1;
    }
    report.require(&names);
    report.figure("asked", all.asked());
    report.figure("broken off after the first row", all.broken_off);
    if let Err(error) = cluster.idle_within(Duration::from_secs(30)) {
        report.problem(error.to_string());
    }
    Ok(report.done())
}

/// What the links did so far.
fn damage(cluster: &Cluster) -> u64 {
    let links = cluster
        .nodes
        .iter()
        .flat_map(|node| [node.blocks.counts(), node.control.counts()]);
    links
        .map(|counts| {
            Counts::read(&counts.flips)
                + Counts::read(&counts.resets)
                + Counts::read(&counts.truncations)
                + Counts::read(&counts.delayed)
        })
        .sum()
}
