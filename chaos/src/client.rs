//! A client with an opinion: it knows the right answer, and which errors a fault excuses.

use std::time::{Duration, Instant};

use sql_tests::wire::{Wire, WireError};

use crate::oracle::Row;

/// How a question ended.
#[derive(Debug)]
pub enum Outcome {
    Right,
    /// The server said something that is not so.
    Wrong(String),
    /// A clear error that says that another try may do, after rows had come.
    BrokenOff(String),
    /// Any other error: before the first row, or not a clear one.
    Failed(String, Option<String>),
}

/// An answer, and how long it took.
#[derive(Debug)]
pub struct Asked {
    pub outcome: Outcome,
    pub took: Duration,
}

/// Asks, compares row by row, and calls `on_row` with the number of rows so far.
pub fn ask(wire: &mut Wire, sql: &str, expected: &[Row], mut on_row: impl FnMut(usize)) -> Asked {
    let start = Instant::now();
    let mut rows = 0;
    let mut wrong = None;
    let result = wire.stream(sql, |row| {
        if wrong.is_none() && expected.get(rows) != Some(&row) {
            wrong = Some(format!(
                "row {rows} is {row:?} instead of {:?}",
                expected.get(rows)
            ));
        }
        rows += 1;
        on_row(rows);
    });
    let outcome = match (result, wrong) {
        (_, Some(wrong)) => Outcome::Wrong(wrong),
        (Ok(()), None) if rows != expected.len() => {
            Outcome::Wrong(format!("{rows} rows instead of {}", expected.len()))
        }
        (Ok(()), None) => Outcome::Right,
        (Err(error), None) if rows > 0 && is_retryable(&error) => {
            Outcome::BrokenOff(error.to_string())
        }
        (Err(error), None) => {
            let sqlstate = error.sqlstate().map(str::to_owned);
            Outcome::Failed(format!("after {rows} rows: {}", words(&error)), sqlstate)
        }
    };
    Asked {
        outcome,
        took: start.elapsed(),
    }
}

/// Errors that say: run it again.
pub fn is_retryable(error: &WireError) -> bool {
    matches!(error.sqlstate(), Some("58030" | "08006"))
}

fn words(error: &WireError) -> String {
    match error {
        WireError::Server(error) => format!(
            "{} {}{}",
            error.sqlstate,
            error.message,
            error
                .detail
                .as_deref()
                .map(|detail| format!(" ({detail})"))
                .unwrap_or_default()
        ),
        WireError::Connection(error) => format!("connection: {error}"),
    }
}

/// Counts of outcomes.
#[derive(Debug, Default)]
pub struct Tally {
    pub right: u64,
    pub broken_off: u64,
    pub wrong: Vec<String>,
    pub failed: Vec<String>,
    pub times: Vec<Duration>,
}

impl Tally {
    pub fn add(&mut self, asked: Asked) {
        self.times.push(asked.took);
        match asked.outcome {
            Outcome::Right => self.right += 1,
            Outcome::BrokenOff(_) => self.broken_off += 1,
            Outcome::Wrong(what) => self.wrong.push(what),
            Outcome::Failed(what, _) => self.failed.push(what),
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.broken_off += other.broken_off;
        self.wrong.extend(other.wrong);
        self.failed.extend(other.failed);
        self.times.extend(other.times);
    }

    pub fn asked(&self) -> usize {
        self.times.len()
    }

    /// A percentile of the times.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or_default()
    }
}
