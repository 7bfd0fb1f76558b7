//! Row 12: files of cached tables are replaced, overwritten in place, deleted and added under
//! their readers. Every row tells its file's generation, so every answer can be judged.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sql_tests::generations::{ROWS, bytes};
use sql_tests::process::Environment;
use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError};
use tempfile::TempDir;

use crate::cluster::{Cluster, Options};
use crate::dice::Dice;
use crate::report::Report;
use crate::watch::Metrics;
use crate::{Result, Run};

/// Tables, and how they are cached: `auto` by being read.
const TABLES: [(&str, Option<&str>); 6] = [
    ("auto", None),
    ("memory", Some("MEMORY_ONLY")),
    ("compressed", Some("MEMORY_ONLY_SER")),
    ("both", Some("MEMORY_AND_DISK")),
    ("disk", Some("DISK_ONLY")),
    ("twice", Some("MEMORY_AND_DISK_2")),
];
/// Of each table. A file is cached when it has been the same for two seconds.
const FILES: usize = 32;
const READERS: usize = 3;
const CHANGES_SHORT: u64 = 250;
const PAUSE: Duration = Duration::from_millis(30);
/// Before the first change: so that all is cached.
const SETTLE: Duration = Duration::from_millis(2_500);
const MEMORY: &str = "256MiB";
const CHANGES: [&str; 4] = [
    "replaced, same size and time",
    "overwritten in place, same size and time",
    "deleted",
    "added",
];
const FOUND: [&str; 2] = ["chunks found in memory", "chunks found on disk"];
/// What a scan says when a file is not the version that the statement began with, and of one that is
/// gone (`catalog/README.md`).
const CHANGED: [&str; 2] = ["40001", "58P01"];

/// What is asked of a table, and of which of each file's rows: those from this one on.
const QUERIES: [(&str, i64); 4] = [
    ("SELECT file, count(*), min(a), max(a), sum(c) FROM", 0),
    ("SELECT file, count(*), min(b), max(b), sum(c) FROM", 0),
    ("SELECT file, count(*), min(b), max(a), sum(c) FROM", 700),
    (
        "SELECT file, count(*), max(b), max(b), sum(a * 2000 + n) FROM",
        1_600,
    ),
];

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(12, "changing files", run);
    let mut dice = Dice::new(run.seed);
    let now = Instant::now();
    let half = run
        .until
        .map(|until| now + until.saturating_duration_since(now) / 2);
    let first = Run {
        until: half,
        ..*run
    };
    local(&first, &mut dice, &mut report)?;
    cluster(run, &mut dice, &mut report)?;
    report.require(&CHANGES);
    report.require(&FOUND);
    Ok(report.done())
}

/// A server that runs its tasks itself.
fn local(run: &Run, dice: &mut Dice, report: &mut Report) -> Result {
    let mut environment = Environment::new();
    if let Some(without) = run.without {
        environment.insert("FIRESTEEL_CHAOS_DISABLE".to_owned(), without.to_owned());
    }
    let mut server = Server::start_in(
        &environment,
        0,
        &[
            "--slots",
            "2",
            "--memory",
            MEMORY,
            "--http-listen",
            "127.0.0.1:0",
        ],
    )?;
    if run.without.is_some() {
        server.forgive_panics();
    }
    let port = server.http_port().ok_or("the server has no metrics")?;
    storm(
        run,
        "local",
        &server,
        || Ok(vec![Metrics::scrape(port)?]),
        dice,
        report,
    )
}

fn cluster(run: &Run, dice: &mut Dice, report: &mut Report) -> Result {
    let cluster = Cluster::start(&Options {
        memory: MEMORY,
        short_timeouts: false,
        ..Options::new(run.seed, run.without)
    })?;
    let pages = || {
        (0..cluster.nodes.len())
            .map(|node| cluster.metrics_of(node))
            .collect()
    };
    storm(run, "cluster", &cluster.driver, pages, dice, report)
}

/// Changes files of tables of `server` under its readers.
fn storm(
    run: &Run,
    mode: &'static str,
    server: &Server,
    pages: impl Fn() -> Result<Vec<Metrics>>,
    dice: &mut Dice,
    report: &mut Report,
) -> Result {
    let folder = TempDir::with_prefix("firesteel-chaos-files-")?;
    let mut tables = Vec::new();
    let mut wire = server.connect()?;
    for (name, level) in TABLES {
        let table = Table::create(name, folder.path())?;
        wire.simple(&format!(
            "CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'; \
             CREATE EXTERNAL TABLE {name}_0 STORED AS PARQUET LOCATION '{}'",
            table.folder.display(),
            table.path(0).display()
        ))?;
        tables.push((table, level));
    }
    std::thread::sleep(SETTLE);
    for (table, level) in &tables {
        if let Some(level) = level {
            wire.simple(&format!(
                "CACHE TABLE {} OPTIONS (storage_level {level})",
                table.name
            ))?;
        }
    }
    let tables: Vec<Table> = tables.into_iter().map(|(table, _)| table).collect();
    let before = found(&pages()?);
    let done = AtomicBool::new(false);
    let (changes, seen) = std::thread::scope(|scope| -> Result<_> {
        let (tables, done) = (&tables[..], &done);
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let mut dice = dice.fork();
                scope.spawn(move || -> Result<Seen> {
                    let mut wire = server.connect()?;
                    if number == 0 {
                        wire.simple(
                            "SET firesteel.force_exchange = on; SET firesteel.partitions = 5",
                        )?;
                    }
                    let mut seen = Seen::default();
                    while !done.load(Ordering::Relaxed) {
                        dice.pick(tables).read(&mut wire, &mut dice, &mut seen)?;
                    }
                    Ok(seen)
                })
            })
            .collect();
        let changed = (|| -> Result<u64> {
            let mut changes = 0;
            // A control may need them all.
            while run.goes_on(changes, CHANGES_SHORT) || (run.is_short() && changes < CHANGES_SHORT)
            {
                report.fired(dice.pick(tables).change(changes, dice)?, 1);
                changes += 1;
                std::thread::sleep(PAUSE);
            }
            Ok(changes)
        })();
        done.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        for reader in readers {
            seen.merge(reader.join().map_err(|_| "a reader panicked")??);
        }
        Ok((changed?, seen))
    })?;
    for (what, (now, before)) in FOUND
        .into_iter()
        .zip(found(&pages()?).into_iter().zip(before))
    {
        report.fired(what, now - before);
    }
    report.figure(
        mode,
        format!(
            "{changes} changes; {} statements judged, {} files' rows, of which {} of a generation that \
             was not the last one any more when the statement ended; {:?} errors",
            seen.right, seen.files, seen.overtaken, seen.changed
        ),
    );
    report.check(seen.right > changes / 4, || {
        format!("{mode}: only {} statements were answered", seen.right)
    });
    for what in seen.problems {
        report.problem(format!("{mode}: {what}"));
    }
    Ok(())
}

/// What scans had from memory and from disk.
fn found(pages: &[Metrics]) -> [u64; 2] {
    ["cache_hits_total", "cache_disk_hits_total"]
        .map(|name| pages.iter().map(|page| page.get(name)).sum())
}

/// What a reader has seen.
#[derive(Debug, Default)]
struct Seen {
    right: u64,
    files: u64,
    overtaken: u64,
    changed: BTreeMap<String, u64>,
    problems: Vec<String>,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.files += other.files;
        self.overtaken += other.overtaken;
        for (sqlstate, times) in other.changed {
            *self.changed.entry(sqlstate).or_default() += times;
        }
        self.problems.extend(other.problems);
    }
}

/// What a file was, and when that began.
#[derive(Debug, Clone, Copy)]
struct State {
    /// `None`: it was not there.
    generation: Option<i64>,
    not_before: Instant,
    /// `None` while it is being changed.
    not_after: Option<Instant>,
}

struct Table {
    name: &'static str,
    folder: PathBuf,
    /// Of each file, oldest first.
    histories: Mutex<Vec<Vec<State>>>,
    /// Of all files, always.
    modified: SystemTime,
}

impl Table {
    fn create(name: &'static str, below: &Path) -> Result<Self> {
        let table = Self {
            name,
            folder: below.join(name),
            histories: Mutex::new(Vec::new()),
            modified: SystemTime::now() - Duration::from_secs(3600),
        };
        std::fs::create_dir_all(&table.folder)?;
        let mut histories = Vec::new();
        for file in 0..FILES {
            let not_before = Instant::now();
            table.replace(file, &bytes(i64::try_from(file)?, 0)?)?;
            histories.push(vec![State {
                generation: Some(0),
                not_before,
                not_after: Some(Instant::now()),
            }]);
        }
        *table.histories() = histories;
        Ok(table)
    }

    fn histories(&self) -> MutexGuard<'_, Vec<Vec<State>>> {
        self.histories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.join(format!("{file}.parquet"))
    }

    /// Another file in its place, at once.
    fn replace(&self, file: usize, bytes: &[u8]) -> Result {
        let other = self.folder.with_extension("new");
        std::fs::write(&other, bytes)?;
        File::options()
            .write(true)
            .open(&other)?
            .set_modified(self.modified)?;
        Ok(std::fs::rename(other, self.path(file))?)
    }

    /// Does something to one of the files. The first one is always there.
    fn change(&self, number: u64, dice: &mut Dice) -> Result<&'static str> {
        let at = dice.index(FILES);
        let last = self.last(at);
        let generation = i64::try_from(number)? + 1;
        let new = bytes(i64::try_from(at)?, generation)?;
        let path = self.path(at);
        let what = if last.is_none() {
            "added"
        } else if at > 0 && dice.below(5) == 0 {
            "deleted"
        } else {
            dice.pick(&CHANGES[..2])
        };
        self.histories()[at].push(State {
            generation: (what != "deleted").then_some(generation),
            not_before: Instant::now(),
            not_after: None,
        });
        match what {
            "deleted" => std::fs::remove_file(&path)?,
            "overwritten in place, same size and time" => {
                let file = File::options().write(true).open(&path)?;
                file.write_all_at(&new, 0)?;
                file.set_modified(self.modified)?;
            }
            _ => self.replace(at, &new)?,
        }
        if let Some(state) = self.histories()[at].last_mut() {
            state.not_after = Some(Instant::now());
        }
        Ok(what)
    }

    fn last(&self, file: usize) -> Option<i64> {
        self.histories()[file].last()?.generation
    }

    /// Whether a file was that between two moments.
    fn was(&self, file: usize, generation: Option<i64>, from: Instant, until: Instant) -> bool {
        let history = &self.histories()[file];
        history.iter().enumerate().any(|(at, state)| {
            let next = history.get(at + 1).and_then(|next| next.not_after);
            let over = next.is_some_and(|next| next < from);
            state.generation == generation && state.not_before <= until && !over
        })
    }

    /// Asks something, and judges the answer.
    fn read(&self, wire: &mut Wire, dice: &mut Dice, seen: &mut Seen) -> Result {
        let (first, asked) = (dice.below(8), *dice.pick(&QUERIES));
        let sql = match first {
            // By the footers' statistics alone.
            0 => format!(
                "SELECT 0, count(*), min(a), max(b), NULL FROM {}_0",
                self.name
            ),
            // Both sides are one version.
            1 => format!(
                "SELECT x.file, count(*), min(x.a), max(y.b), sum(x.c) FROM {0} x JOIN {0} y \
                 ON x.file = y.file AND x.n = y.n GROUP BY x.file",
                self.name
            ),
            _ => format!(
                "{} {} WHERE n >= {} GROUP BY file",
                asked.0, self.name, asked.1
            ),
        };
        let from_row = if first < 2 { 0 } else { asked.1 };
        let from = Instant::now();
        let answers = wire.simple(&sql);
        let until = Instant::now();
        let answers = match answers {
            Ok(answers) => answers,
            Err(WireError::Server(error)) if CHANGED.contains(&error.sqlstate.as_str()) => {
                *seen.changed.entry(error.sqlstate).or_default() += 1;
                return Ok(());
            }
            Err(WireError::Server(error)) => {
                seen.problems
                    .push(format!("{} {}: {sql}", error.sqlstate, error.message));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut files: BTreeMap<usize, i64> = BTreeMap::new();
        for row in answers.into_iter().flat_map(|answer| answer.rows) {
            match judged(&row, from_row) {
                Some((file, generation)) if file < FILES => {
                    files.insert(file, generation);
                }
                _ => seen.problems.push(format!("torn: {row:?}: {sql}")),
            }
        }
        let all = if first == 0 { 1 } else { FILES };
        for file in 0..all {
            let generation = files.get(&file).copied();
            if !self.was(file, generation, from, until) {
                seen.problems.push(format!(
                    "file {file} was {generation:?}, which it was not then (now {:?}): {sql}",
                    self.last(file)
                ));
            }
            seen.overtaken += u64::from(generation != self.last(file));
        }
        seen.right += 1;
        seen.files += files.len() as u64;
        Ok(())
    }
}

/// The file and the generation of a row, if all it says is of one.
fn judged(row: &[Option<String>], from: i64) -> Option<(usize, i64)> {
    let value = |at: usize| row.get(at)?.as_deref()?.parse::<i64>().ok();
    let (file, rows, least, most) = (value(0)?, value(1)?, value(2)?, value(3)?);
    let sum = least * ROWS * rows + (from..ROWS).sum::<i64>();
    let adds_up = row.get(4)?.is_none() || value(4) == Some(sum);
    let whole = rows == ROWS - from && least == most && adds_up;
    whole.then_some((usize::try_from(file).ok()?, least))
}
