//! What a row did: its seed, the faults that really fired, measured figures, and the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::Run;

/// Problems beyond these are only counted.
const PROBLEMS_SHOWN: usize = 8;

/// Filled in while a row runs.
#[derive(Debug)]
pub struct Report {
    row: u32,
    name: &'static str,
    seed: u64,
    judges_times: bool,
    /// From evidence: a process seen dead, bytes withheld, a file that was there to be damaged.
    faults: BTreeMap<&'static str, u64>,
    figures: BTreeMap<&'static str, String>,
    problems: Vec<String>,
    started: Instant,
    took: Duration,
}

impl Report {
    pub fn new(row: u32, name: &'static str, run: &Run) -> Self {
        Self {
            row,
            name,
            seed: run.seed,
            judges_times: run.judges_times(),
            faults: BTreeMap::new(),
            figures: BTreeMap::new(),
            problems: Vec::new(),
            started: Instant::now(),
            took: Duration::ZERO,
        }
    }

    /// A fault happened so many times.
    pub fn fired(&mut self, fault: &'static str, times: u64) {
        *self.faults.entry(fault).or_default() += times;
    }

    pub fn figure(&mut self, name: &'static str, value: impl fmt::Display) {
        self.figures.insert(name, value.to_string());
    }

    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    pub fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problem(otherwise());
        }
    }

    /// A bound on how long something takes, which a short run on a busy machine may miss.
    pub fn check_time(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if self.judges_times {
            self.check(holds, otherwise);
        }
    }

    /// A row whose faults did not fire proves nothing.
    pub fn require(&mut self, faults: &[&'static str]) {
        for fault in faults {
            if self.times_fired(fault) == 0 {
                self.problem(format!("the fault \"{fault}\" never fired"));
            }
        }
    }

    pub fn times_fired(&self, fault: &str) -> u64 {
        self.faults.get(fault).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn done(mut self) -> Self {
        self.took = self.started.elapsed();
        self
    }

    pub fn is_green(&self) -> bool {
        self.problems.is_empty()
    }

    /// Red for what happened, and not for want of faults.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_green() { "GREEN" } else { "RED" };
        writeln!(
            f,
            "row {} {}: {verdict}, seed {}, {:.1} s",
            self.row,
            self.name,
            self.seed,
            self.took.as_secs_f64()
        )?;
        let faults = self
            .faults
            .iter()
            .map(|(fault, times)| format!("{fault} {times}"));
        writeln!(
            f,
            "  faults fired: {}",
            faults.collect::<Vec<_>>().join(", ")
        )?;
        for (name, value) in &self.figures {
            writeln!(f, "  {name}: {value}")?;
        }
        for problem in self.problems.iter().take(PROBLEMS_SHOWN) {
            writeln!(f, "  PROBLEM: {problem}")?;
        }
        if self.problems.len() > PROBLEMS_SHOWN {
            writeln!(f, "  … and {} more", self.problems.len() - PROBLEMS_SHOWN)?;
        }
        Ok(())
    }
}
