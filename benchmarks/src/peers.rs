//! Other people's engines, from their own Python wheels: one long-lived Python process per engine,
//! spoken to in lines of JSON (`peers/peer.py` says how), in an environment below cargo's target
//! directory that is made when it is missing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};
use server::demo::tpch::TABLES;
use tempfile::TempDir;

use crate::Result;
use crate::answers::Rows;
use crate::engines::{Answer, Engine, LOAD_TIMEOUT};
use crate::places;
use crate::server_process::resident;

/// Some hundred megabytes of wheels over a slow network.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
const INSTALL_POLL: Duration = Duration::from_millis(100);
/// Importing a wheel and reading the footers of some files.
const START_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerKind {
    /// DataFusion in one process, over the files.
    Datafusion,
    /// DataFusion over tables in its memory.
    DatafusionMemory,
    /// DuckDB, over the files.
    Duckdb,
    /// DuckDB over tables in a database file of its own.
    DuckdbNative,
}

impl PeerKind {
    fn name(self) -> &'static str {
        match self {
            PeerKind::Datafusion => "datafusion",
            PeerKind::DatafusionMemory => "datafusion-memory",
            PeerKind::Duckdb => "duckdb",
            PeerKind::DuckdbNative => "duckdb-native",
        }
    }

    fn script(self) -> PathBuf {
        places::peers().join(match self {
            PeerKind::Datafusion | PeerKind::DatafusionMemory => "datafusion_peer.py",
            PeerKind::Duckdb | PeerKind::DuckdbNative => "duckdb_peer.py",
        })
    }

    /// Whether it makes tables of its own from the files before it is asked.
    pub(crate) fn loads(self) -> bool {
        matches!(self, Self::DatafusionMemory | Self::DuckdbNative)
    }
}

/// The Python that has the peers' wheels; installs them if the list changed or none are there.
pub(crate) fn python() -> Result<PathBuf> {
    let requirements = places::peers().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    let environment = places::peer_environment()?;
    let python = environment.join("bin/python");
    let stamp = environment.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    println!("installing the peers in {}", environment.display());
    let explain = |error| {
        format!(
            "could not install the peers: {error}\n(run without --against, or install python3 \
             with venv and see that pip reaches a package index)"
        )
    };
    within(
        INSTALL_TIMEOUT,
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )
    .map_err(explain)?;
    within(
        INSTALL_TIMEOUT,
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
    )
    .map_err(explain)?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// Runs a program to its end; kills it when it takes too long. Its errors go to our stderr.
fn within(limit: Duration, command: &mut Command) -> Result<()> {
    let name = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let give_up = Instant::now() + limit;
    while Instant::now() < give_up {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{name}: {status}").into()),
            // The standard library has no wait with a timeout.
            None => std::thread::sleep(INSTALL_POLL),
        }
    }
    child.kill()?;
    child.wait()?;
    Err(format!("{name}: not done in {} s", limit.as_secs()).into())
}

/// One peer, started again after it failed.
#[derive(Debug)]
pub(crate) struct PythonPeer {
    kind: PeerKind,
    python: PathBuf,
    tables: BTreeMap<&'static str, String>,
    /// What a peer that loads keeps of the tables.
    columns: Vec<String>,
    threads: u32,
    query_timeout: Duration,
    version: String,
    notes: Vec<String>,
    process: Option<Process>,
}

impl PythonPeer {
    /// A peer on the tables below `data`, with `threads` threads and partitions. If it loads them,
    /// then those of `columns` that they have.
    pub(crate) fn new(
        kind: PeerKind,
        python: PathBuf,
        data: &Path,
        columns: Vec<String>,
        threads: u32,
        query_timeout: Duration,
    ) -> Self {
        Self {
            kind,
            python,
            tables: TABLES
                .iter()
                .map(|table| (*table, data.join(table).display().to_string()))
                .collect(),
            columns,
            threads,
            query_timeout,
            version: String::new(),
            notes: Vec::new(),
            process: None,
        }
    }

    fn ensure_started(&mut self) -> Result<&mut Process> {
        let process = match self.process.take() {
            Some(process) => process,
            None => self.started()?,
        };
        Ok(self.process.insert(process))
    }

    fn started(&mut self) -> Result<Process> {
        let mut process = Process::start(&self.python, self.kind, self.threads)?;
        let load = self
            .kind
            .loads()
            .then(|| json!({ "columns": self.columns, "directory": process.directory.path() }));
        let setup = json!({ "tables": self.tables, "threads": self.threads, "load": load });
        let limit = if load.is_some() {
            LOAD_TIMEOUT
        } else {
            START_TIMEOUT
        };
        let reply = process.ask(&setup, limit)?;
        self.version = reply.version.ok_or("the peer did not say its version")?;
        if let (true, Some(seconds)) = (self.kind.loads(), reply.seconds) {
            self.notes.push(format!(
                "{}: loading took {seconds:.1} s, then {} MB resident; \
                 columns that no query names were left out",
                self.kind.name(),
                resident(process.child.id())?.now >> 20
            ));
        }
        Ok(process)
    }
}

impl Engine for PythonPeer {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn ready(&mut self) -> Result<()> {
        self.ensure_started().map(drop)
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn answer(&mut self, sql: &str) -> Result<Answer> {
        let query_timeout = self.query_timeout;
        let asked = self
            .ensure_started()?
            .ask(&json!({ "sql": sql }), query_timeout);
        let reply = match asked {
            Ok(reply) => reply,
            Err(error) => {
                // It may still compute, or be gone.
                self.process = None;
                return Err(error);
            }
        };
        match (reply.seconds, reply.rows, reply.error) {
            (Some(seconds), Some(rows), None) => Ok(Answer { seconds, rows }),
            (_, _, Some(error)) => Err(error.into()),
            (_, _, None) => Err("the peer gave neither rows nor an error".into()),
        }
    }
}

/// Which fields are there depends on what was asked.
#[derive(Debug, Deserialize)]
struct Reply {
    version: Option<String>,
    seconds: Option<f64>,
    rows: Option<Rows>,
    error: Option<String>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    // Dropped last: the process is dead by then.
    directory: TempDir,
}

impl Process {
    fn start(python: &Path, kind: PeerKind, threads: u32) -> Result<Self> {
        let directory = TempDir::with_prefix("firesteel-bench-peer-")?;
        let mut child = Command::new(python)
            .arg(kind.script())
            .env("TOKIO_WORKER_THREADS", threads.to_string())
            // No __pycache__ among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self {
                child,
                stdin,
                lines: read_lines(stdout),
                directory,
            }),
            // Both were piped; without them it ends by itself.
            _ => Err("the peer has no input or output".into()),
        }
    }

    fn ask(&mut self, message: &Value, limit: Duration) -> Result<Reply> {
        writeln!(self.stdin, "{message}")?;
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no answer in {} s", limit.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => Err("the peer's process ended".into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lines as they come, from a thread that ends with the process.
fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    // One question is open at a time, so one answer waits at most.
    let (sender, lines) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok)
        {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
