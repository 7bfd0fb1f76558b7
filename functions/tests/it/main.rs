//! Our answers against PostgreSQL's.
//!
//! `expressions/*.txt` hold one expression or query per line. Each is run by a session built with
//! `functions::install` and by a PostgreSQL started for the purpose, and the two must agree on
//! the rows as text, the column's type, and on failure the SQLSTATE. `known_differences.txt`
//! lists the lines that do not agree, under the reason; it is exact: a line that agrees again, or is
//! not tested, fails too.

mod ours;
mod plans;
mod postgres;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a statement gives: rows of text with the first column's type, or an SQLSTATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Rows {
        rows: Vec<Vec<Option<String>>>,
        types: Vec<u32>,
    },
    Error {
        sqlstate: String,
        message: String,
    },
}

impl Answer {
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rows { .. }, Self::Rows { .. }) => self == other,
            (Self::Error { sqlstate: a, .. }, Self::Error { sqlstate: b, .. }) => a == b,
            _ => false,
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A line is a query, or an expression to select.
fn statement(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default();
    match first.to_ascii_lowercase().as_str() {
        "select" | "with" | "values" => line.to_owned(),
        _ => format!("SELECT {line}"),
    }
}

fn expressions() -> BTreeMap<String, Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/expressions");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).unwrap();
            (name, lines(&text).map(str::to_owned).collect())
        })
        .collect()
}

fn known_differences() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/known_differences.txt");
    lines(&std::fs::read_to_string(path).unwrap())
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_postgres_answers() {
    let Some(server) = postgres::Server::start().await else {
        eprintln!("SKIPPED: no PostgreSQL in {}", postgres::BIN);
        return;
    };
    let only = std::env::var("FUNCTIONS_TOPIC").ok();
    let known = known_differences();
    let mut seen = BTreeSet::new();
    let mut report = Vec::new();
    let mut stale = Vec::new();
    let mut count = 0;
    for (topic, lines) in expressions() {
        if only.as_ref().is_some_and(|only| *only != topic) {
            continue;
        }
        for line in lines {
            count += 1;
            let sql = statement(&line);
            let theirs = server.answer(&sql).await;
            let ours = ours::answer(&sql).await;
            let agree = ours.agrees(&theirs);
            if known.contains(&line) {
                seen.insert(line.clone());
                if agree {
                    stale.push(format!(
                        "[{topic}] {line}\n    agrees now: take it out of known_differences.txt"
                    ));
                }
            } else if !agree {
                report.push(format!(
                    "[{topic}] {line}\n    postgres:  {theirs:?}\n    firesteel: {ours:?}"
                ));
            }
        }
    }
    if only.is_none() {
        for line in known.difference(&seen) {
            stale.push(format!("known difference that is not tested: {line}"));
        }
    }
    report.append(&mut stale);
    server.stop().await;
    assert!(
        report.is_empty(),
        "{} of {count} statements:\n{}",
        report.len(),
        report.join("\n")
    );
}
