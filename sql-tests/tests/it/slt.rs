//! The sqllogictest suites: our own files by topic, and the shared corpora.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sql_tests::known_failures;
use sql_tests::places::{corpus, root};
use sql_tests::postgres::TemporaryPostgres;
use sql_tests::server::Server;
use sql_tests::slt::{Dialect, FileReport, Protocol, Target, run_files};

type Result = std::result::Result<(), Box<dyn Error>>;

/// Sessions at once. More than cores: each waits for its server half of the time.
const THREADS: usize = 4;

/// Files that take longer are named, so that the suite stays quick.
const SLOW: Duration = Duration::from_secs(20);

/// A file whose expectations are PostgreSQL's has this among its first lines.
const SAME_IN_POSTGRES: &str = "# postgres: yes";

#[test]
fn ours_simple() -> Result {
    ours("ours-simple.txt", Protocol::Simple, &[])
}

#[test]
fn ours_extended() -> Result {
    ours("ours-extended.txt", Protocol::Extended, &[])
}

#[test]
fn ours_through_exchanges() -> Result {
    ours(
        "ours-exchanges.txt",
        Protocol::Simple,
        &[
            "SET firesteel.force_exchange = on",
            "SET firesteel.partitions = 3",
        ],
    )
}

#[test]
fn ours_by_sort_merge_joins() -> Result {
    ours(
        "ours-exchanges.txt",
        Protocol::Simple,
        &[
            "SET firesteel.joins = sort_merge",
            "SET firesteel.force_exchange = on",
            "SET firesteel.partitions = 3",
        ],
    )
}

/// What our files expect is what PostgreSQL answers.
#[test]
fn ours_in_postgres() -> Result {
    let Some(postgres) = TemporaryPostgres::start()? else {
        return Ok(());
    };
    let folder = root().join("sql-tests/slt");
    let files: Vec<String> = files(&folder)?
        .into_iter()
        .filter(|name| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            text.lines().take(5).any(|line| line == SAME_IN_POSTGRES)
        })
        .collect();
    assert!(!files.is_empty(), "no file says {SAME_IN_POSTGRES}");
    // One at a time: files make schemas in the same database.
    let reports = run_files(&folder, &files, 1, |_| Target {
        port: postgres.port(),
        user: "postgres",
        database: "postgres",
        engine: "postgres",
        protocol: Protocol::Simple,
        dialect: Dialect::Ours,
        settings: Vec::new(),
        variables: Vec::new(),
    });
    judge("in-postgres.txt", &reports)
}

#[test]
fn sqlite_corpus() -> Result {
    corpus_suite("sqlite", |_| true)
}

#[test]
fn risinglight_corpus() -> Result {
    corpus_suite("risinglight", is_risinglight)
}

fn is_risinglight(name: &str) -> bool {
    // The others read files of their own repository, or its own catalogs and types.
    !["copy/", "tpch/", "tpch-full/"]
        .iter()
        .any(|folder| name.starts_with(folder))
        && ![
            "catalog.slt",
            "internal.slt",
            "pragma.slt",
            "statistics.slt",
            "blob.slt",
        ]
        .contains(&name)
        && !name.starts_with("vector")
}

/// Which records of the corpora's lists PostgreSQL fails too: run after rewriting the lists.
#[test]
#[ignore = "a tool: gives the records that PostgreSQL fails too that as their reason"]
fn corpora_in_postgres() -> Result {
    let Some(postgres) = TemporaryPostgres::start()? else {
        return Ok(());
    };
    for (name, wanted) in [
        ("sqlite", (|_| true) as fn(&str) -> bool),
        ("risinglight", is_risinglight),
    ] {
        let Some(folder) = corpus(name) else {
            continue;
        };
        let mut files = files(&folder)?;
        files.retain(|name| wanted(name));
        let reports = run_files(&folder, &files, THREADS, |_| Target {
            port: postgres.port(),
            user: "postgres",
            database: "postgres",
            engine: "postgres",
            protocol: Protocol::Simple,
            dialect: Dialect::Corpus,
            settings: Vec::new(),
            variables: Vec::new(),
        });
        let list = root().join(format!("sql-tests/known-failures/{name}.txt"));
        known_failures::explain(&list, "PostgreSQL", &reports)?;
    }
    Ok(())
}

fn corpus_suite(name: &str, wanted: impl Fn(&str) -> bool) -> Result {
    let Some(folder) = corpus(name) else {
        return Ok(());
    };
    let server = Server::start()?;
    let mut files = files(&folder)?;
    files.retain(|name| wanted(name));
    let reports = run_files(&folder, &files, THREADS, |file| {
        // Every other file by the other protocol: the same for a file on every run.
        let extended = file.bytes().map(usize::from).sum::<usize>() % 2 == 0;
        Target {
            protocol: if extended {
                Protocol::Extended
            } else {
                Protocol::Simple
            },
            dialect: Dialect::Corpus,
            ..target(&server)
        }
    });
    judge(&format!("{name}.txt"), &reports)
}

fn ours(list: &str, protocol: Protocol, settings: &[&str]) -> Result {
    let folder = root().join("sql-tests/slt");
    let server = Server::start()?;
    let data = server.scratch().join("files");
    crate::data_files::write(&data)?;
    let files = files(&folder)?;
    // One at a time: files make schemas in the same database.
    let reports = run_files(&folder, &files, 1, |_| Target {
        protocol,
        settings: settings.iter().map(ToString::to_string).collect(),
        variables: vec![("DATA".to_owned(), data.display().to_string())],
        ..target(&server)
    });
    judge(list, &reports)
}

fn target(server: &Server) -> Target {
    Target {
        port: server.port(),
        user: "firesteel",
        database: "firesteel",
        engine: "firesteel",
        protocol: Protocol::Simple,
        dialect: Dialect::Ours,
        settings: Vec::new(),
        variables: Vec::new(),
    }
}

fn judge(list: &str, reports: &[FileReport]) -> Result {
    let records: usize = reports.iter().map(|report| report.records).sum();
    let failures: usize = reports.iter().map(|report| report.failures.len()).sum();
    assert!(records > 0, "no record ran");
    say(&format!(
        "{list}: {records} records, {failures} known failures"
    ));
    for report in reports.iter().filter(|report| report.took > SLOW) {
        say(&format!("slow: {} took {:?}", report.name, report.took));
    }
    let list = root().join("sql-tests/known-failures").join(list);
    Ok(known_failures::check(&list, reports)?)
}

#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// All `.slt` files below a folder, by their names relative to it.
pub(crate) fn files(folder: &Path) -> std::result::Result<Vec<String>, Box<dyn Error>> {
    let mut open: Vec<PathBuf> = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder_open) = open.pop() {
        for entry in std::fs::read_dir(&folder_open)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                let name = path.strip_prefix(folder)?;
                files.push(name.display().to_string());
            }
        }
    }
    files.sort();
    Ok(files)
}
