//! The chaos harness: a real cluster, faults from outside, and what must hold all the same.
//!
//! In reading order: [`rows`] are the tests of the table in `README.md`, each a function from a
//! [`Run`] to a [`report::Report`]. [`cluster`] starts processes with a [`network`] between them,
//! [`oracle`] and [`heavy`] know what is asked and the right answers, [`client`] asks and judges, [`watch`]
//! gathers evidence, [`dice`] makes chance repeatable.

pub mod client;
pub mod cluster;
pub mod dice;
pub mod heavy;
pub mod network;
pub mod oracle;
pub mod report;
pub mod rows;
pub mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use report::Report;

/// What does not happen in so many rounds never will.
const ROUNDS_MAX: u64 = 20;

/// Anything that keeps a row from being run; what a row finds is in its report.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How a row is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub seed: u64,
    /// Until then; a short run has its own number of rounds.
    pub until: Option<Instant>,
    /// Protections to switch off.
    pub without: Option<&'static str>,
    /// Memory of executors and TPC-H tables for rows 7 and 18, if not small ones.
    pub large: Option<(&'static str, &'static Path)>,
}

impl Run {
    /// As in CI.
    pub fn short(seed: u64) -> Self {
        Self {
            seed,
            until: None,
            without: None,
            large: None,
        }
    }

    /// The same run, begun after so long a preparation that is not part of it.
    #[must_use]
    pub fn later_by(self, preparation: Duration) -> Self {
        Self {
            until: self.until.map(|until| until + preparation),
            ..self
        }
    }

    /// Whether its time is up; never that of a short run.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether a round after `rounds` others is wanted.
    pub fn goes_on(&self, rounds: u64, short: u64) -> bool {
        match self.until {
            // A control need not be red twice.
            None if self.without.is_some() => rounds == 0,
            None => rounds < short,
            // One round at least, however long the others took.
            Some(_) => rounds == 0 || !self.is_over(),
        }
    }

    /// [`Self::goes_on`], or a short run whose faults have not all fired, or a control that is not
    /// red yet: both need luck.
    pub fn wants_more(&self, rounds: u64, short: u64, report: &Report, faults: &[&str]) -> bool {
        let wanting = if self.without.is_some() {
            report.is_green()
        } else {
            faults.iter().any(|fault| report.times_fired(fault) == 0)
        };
        self.goes_on(rounds, short) || (self.is_short() && wanting && rounds < ROUNDS_MAX)
    }

    /// Whether a fault of many is left out this time: the short run's own rounds are over, and go on
    /// for those that have not fired yet.
    pub fn spares(&self, rounds: u64, short: u64, report: &Report, fault: &str) -> bool {
        self.is_short() && rounds >= short && report.times_fired(fault) > 0
    }

    /// In CI, over small tables, it says nothing how long something takes.
    pub fn judges_times(&self) -> bool {
        !self.is_short() || self.large.is_some() || self.without.is_some()
    }

    pub fn is_short(&self) -> bool {
        self.until.is_none()
    }
}
