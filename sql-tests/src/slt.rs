//! Runs sqllogictest files over the wire, record by record, and reports every failing record
//! instead of stopping at the first.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqllogictest::{
    DB, DBOutput, DefaultColumnType, QueryExpect, Record, Runner, SortMode, TestError,
    TestErrorKind,
};

use crate::wire::{Answer, Wire, WireError};

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One Query message per record.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
}

/// Which files' statements are changed before they are sent, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours: sent as written.
    Ours,
    /// The corpora's: their permanent tables become temporary ones, and indexes, which never
    /// change an answer and which we don't have, are not created.
    Corpus,
}

/// Where and how a file's records run.
#[derive(Debug, Clone)]
pub struct Target {
    pub port: u16,
    pub user: &'static str,
    pub database: &'static str,
    /// The label that `onlyif` and `skipif` see: `firesteel` or `postgres`.
    pub engine: &'static str,
    pub protocol: Protocol,
    pub dialect: Dialect,
    /// Run at the start of every session.
    pub settings: Vec<String>,
    /// Substituted for `$name` in files that turn substitution on.
    pub variables: Vec<(String, String)>,
}

/// A record that did not do what its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub line: u32,
    /// One line: enough to group failures by.
    pub summary: String,
    /// Everything: the statement, the expected and the actual rows.
    pub detail: String,
}

/// What became of a file.
#[derive(Debug)]
pub struct FileReport {
    /// Relative to the suite's folder.
    pub name: String,
    pub records: usize,
    pub failures: Vec<Failure>,
    pub took: Duration,
}

/// Runs the files, several at once, each in sessions of its own. Reports come back in the order
/// of the files.
pub fn run_files(
    folder: &Path,
    files: &[String],
    threads: usize,
    target: impl Fn(&str) -> Target + Sync,
) -> Vec<FileReport> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(name) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run_file(folder, name, &target(name));
                    let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
                    reports.push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

/// Runs one file.
pub fn run_file(folder: &Path, name: &str, target: &Target) -> FileReport {
    let began = Instant::now();
    let mut report = FileReport {
        name: name.to_owned(),
        records: 0,
        failures: Vec::new(),
        took: Duration::ZERO,
    };
    let records = match sqllogictest::parse_file::<DefaultColumnType>(folder.join(name)) {
        Ok(records) => records,
        Err(error) => {
            report.failures.push(Failure {
                line: error.location().line(),
                summary: "not a sqllogictest file".to_owned(),
                detail: error.to_string(),
            });
            return report;
        }
    };
    let mut runner = runner(target);
    for mut record in records {
        if target.dialect == Dialect::Corpus {
            ignore_order(&mut record);
        }
        match &record {
            Record::Statement { .. } | Record::Query { .. } => report.records += 1,
            Record::Halt { .. } => break,
            _ => {}
        }
        if let Err(error) = runner.run(record) {
            report.failures.push(failure(&error));
        }
    }
    runner.shutdown();
    report.took = began.elapsed();
    report
}

/// The statements of a file, each with its line, for who compares something else than its answers.
pub fn statements(file: &Path) -> Result<Vec<(u32, String)>, sqllogictest::ParseError> {
    let records = sqllogictest::parse_file::<DefaultColumnType>(file)?;
    Ok(records
        .into_iter()
        .filter_map(|record| match record {
            Record::Statement { loc, sql, .. } | Record::Query { loc, sql, .. } => {
                Some((loc.line(), sql))
            }
            _ => None,
        })
        .collect())
}

/// The corpora expect the order in which another engine happens to give rows: without ORDER BY
/// there is none. Rows that are one value to a line, or a hash, stay as they are.
fn ignore_order(record: &mut Record<DefaultColumnType>) {
    if let Record::Query {
        sql,
        expected:
            QueryExpect::Results {
                types,
                sort_mode: sort_mode @ (None | Some(SortMode::NoSort)),
                results,
                ..
            },
        ..
    } = record
        && results.len() > 1
        && results
            .iter()
            .all(|row| row.split_whitespace().count() == types.len())
        && !is_ordered(sql)
    {
        *sort_mode = Some(SortMode::RowSort);
        for row in results.iter_mut() {
            *row = row.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        results.sort_unstable();
    }
}

/// An ORDER BY in brackets is a subquery's or a window's.
pub fn is_ordered(sql: &str) -> bool {
    let outside = sql.rsplit(')').next().unwrap_or(sql);
    outside.to_ascii_lowercase().contains("order by")
}

type Connect = Box<dyn FnMut() -> std::future::Ready<Result<Session, WireError>>>;

fn runner(target: &Target) -> Runner<Session, Connect> {
    let connect = target.clone();
    let connect: Connect = Box::new(move || std::future::ready(Session::open(&connect)));
    let mut runner = Runner::new(connect);
    runner.add_label(target.engine);
    runner.with_column_validator(columns_agree);
    for (name, value) in &target.variables {
        runner.set_var(name.clone(), value.clone());
    }
    runner
}

/// Files say `I`, `R`, `T`, or `?` for any; the corpora's types are another engine's, so that only
/// the number counts there.
fn columns_agree(actual: &Vec<DefaultColumnType>, expected: &Vec<DefaultColumnType>) -> bool {
    actual.len() == expected.len()
        && actual.iter().zip(expected).all(|(actual, expected)| {
            actual == expected || [actual, expected].contains(&&DefaultColumnType::Any)
        })
}

fn failure(error: &TestError) -> Failure {
    let summary = match error.kind() {
        TestErrorKind::Fail { err, .. } => match err.downcast_ref::<WireError>() {
            Some(WireError::Server(error)) => format!("{}: {}", error.sqlstate, error.message),
            Some(WireError::Connection(error)) => format!("connection: {error}"),
            None => err.to_string(),
        },
        TestErrorKind::Ok { .. } => "succeeds where it should fail".to_owned(),
        TestErrorKind::ErrorMismatch { err, .. } => format!("another error: {err}"),
        TestErrorKind::StatementResultMismatch { actual, .. } => format!("count: {actual}"),
        TestErrorKind::QueryResultMismatch { .. } => "wrong answer".to_owned(),
        TestErrorKind::QueryResultColumnsMismatch { actual, .. } => {
            format!("column types {actual}")
        }
        other => other.to_string(),
    };
    let summary = summary.lines().next().unwrap_or_default().to_owned();
    Failure {
        line: error.location().line(),
        summary,
        detail: error.to_string(),
    }
}

/// A connection as sqllogictest sees it.
struct Session {
    wire: Wire,
    protocol: Protocol,
    dialect: Dialect,
}

impl Session {
    fn open(target: &Target) -> Result<Self, WireError> {
        let mut wire = Wire::connect(target.port, target.user, target.database)?;
        for setting in &target.settings {
            wire.simple(setting)?;
        }
        Ok(Self {
            wire,
            protocol: target.protocol,
            dialect: target.dialect,
        })
    }
}

impl DB for Session {
    type Error = WireError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, WireError> {
        let Some(sql) = self.dialect.rewritten(sql) else {
            return Ok(DBOutput::StatementComplete(0));
        };
        let answer = match self.protocol {
            Protocol::Simple => self.wire.simple(&sql)?.pop().unwrap_or_default(),
            Protocol::Extended => self.wire.extended(&sql)?,
        };
        Ok(output(answer, self.dialect))
    }

    fn error_sql_state(error: &WireError) -> Option<String> {
        error.sqlstate().map(str::to_owned)
    }
}

fn output(answer: Answer, dialect: Dialect) -> DBOutput<DefaultColumnType> {
    let Some(columns) = &answer.columns else {
        return DBOutput::StatementComplete(answer.count());
    };
    let types = columns
        .iter()
        .map(|column| match dialect {
            Dialect::Corpus => DefaultColumnType::Any,
            Dialect::Ours => column_type(column.type_oid),
        })
        .collect();
    let value = |value: Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => text,
    };
    let rows = answer.rows.into_iter();
    DBOutput::Rows {
        types,
        rows: rows
            .map(|row| row.into_iter().map(value).collect())
            .collect(),
    }
}

/// By OID: integers, other numbers, and all else, which is compared as text.
fn column_type(oid: u32) -> DefaultColumnType {
    match oid {
        20 | 21 | 23 | 26 => DefaultColumnType::Integer,
        700 | 701 | 1700 => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

impl Dialect {
    /// What to send for a statement of a file; `None` for nothing.
    fn rewritten(self, sql: &str) -> Option<String> {
        match self {
            Self::Ours => Some(sql.to_owned()),
            Self::Corpus => {
                let mut words = sql.split_ascii_whitespace().map(str::to_ascii_lowercase);
                let first = [words.next(), words.next(), words.next()];
                match first.each_ref().map(Option::as_deref) {
                    [Some("create"), Some("index"), _]
                    | [Some("create"), Some("unique"), Some("index")] => None,
                    [Some("create"), Some("table"), _] => {
                        let rest = sql.trim_start();
                        Some(format!("CREATE TEMP {}", rest[6..].trim_start()))
                    }
                    _ => Some(sql.to_owned()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;

    #[test]
    fn permanent_tables_of_the_corpora_become_temporary_and_indexes_nothing() {
        let sent = |sql| Dialect::Corpus.rewritten(sql);
        assert_eq!(
            sent("create  table t (a INT)").as_deref(),
            Some("CREATE TEMP table t (a INT)")
        );
        assert_eq!(sent("CREATE UNIQUE INDEX i ON t (a)"), None);
        assert_eq!(sent("SELECT 1").as_deref(), Some("SELECT 1"));
        let ours = Dialect::Ours.rewritten("CREATE INDEX i ON t (a)");
        assert!(ours.is_some());
    }
}
