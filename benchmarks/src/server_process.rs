//! A `firesteel` process of a benchmark's own: free ports, a fresh data directory, killed and
//! cleaned up when its handle is dropped. It also reads what Linux and the server's metrics page
//! say of the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::Result;
use crate::places;

/// Makes a server a pure driver.
const CLUSTER: &[&str] = &["--no-local-executor", "--cluster-listen", "127.0.0.1:0"];

/// A server starts in well under a second.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// The metrics page has some dozens of lines.
const HTTP_BYTES_MAX: u64 = 1 << 20;
/// Of the log, when the server ends unasked.
const LOG_LINES_SHOWN: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One server process with an embedded executor.
    Local,
    /// A driver and executor processes, which share the slots; each has all of `--memory`.
    Cluster,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Cluster => "cluster",
        }
    }
}

/// The processes a benchmark runs ours in.
#[derive(Debug, Args)]
pub(crate) struct Deployment {
    /// Where queries run.
    #[arg(long, value_enum, default_value_t = Mode::Local)]
    pub(crate) mode: Mode,
    /// Executor processes of `--mode cluster`.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    executors: u32,
    /// The server's `--slots`, and the peers' threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: u32,
    /// The server's `--memory`. Peers may use all the machine has.
    #[arg(long, default_value = "4GiB")]
    pub(crate) memory: String,
}

impl Deployment {
    pub(crate) fn options(&self) -> ServerOptions {
        match self.mode {
            Mode::Local => self.local(),
            Mode::Cluster => ServerOptions {
                slots: self.slots.div_ceil(self.executors),
                executors: self.executors,
                ..self.local()
            },
        }
    }

    /// The same in one process.
    pub(crate) fn local(&self) -> ServerOptions {
        ServerOptions {
            slots: self.slots,
            memory: self.memory.clone(),
            http: false,
            cache: true,
            executors: 0,
        }
    }
}

/// What differs between benchmarks.
#[derive(Debug, Clone)]
pub(crate) struct ServerOptions {
    pub(crate) slots: u32,
    pub(crate) memory: String,
    /// Whether the metrics page is served.
    pub(crate) http: bool,
    /// Whether columns of tables may stay in memory.
    pub(crate) cache: bool,
    /// Executor processes, which have the slots and the memory each; none means that the server
    /// runs everything itself.
    pub(crate) executors: u32,
}

impl ServerOptions {
    /// What there is no argument for.
    fn environment(&self) -> Option<(&'static str, &'static str)> {
        (!self.cache).then_some(("FIRESTEEL__EXECUTOR__CACHE_PERCENT", "0"))
    }
}

#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    /// Of a cluster.
    executors: Vec<Child>,
    postgres: SocketAddr,
    http: Option<SocketAddr>,
    started_in: Duration,
    log: PathBuf,
    // Dropped last: the process is dead by then.
    _directory: TempDir,
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most there ever was.
    pub(crate) peak: u64,
}

impl ServerProcess {
    pub(crate) fn start(options: &ServerOptions) -> Result<Self> {
        let directory = TempDir::with_prefix("firesteel-bench-")?;
        let log = directory.path().join("server.log");
        let mut command = Command::new(places::firesteel()?);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args([
                "--http-listen",
                if options.http { "127.0.0.1:0" } else { "" },
            ])
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--slots", &options.slots.to_string()])
            .args(["--memory", &options.memory])
            .args(if options.executors > 0 { CLUSTER } else { &[] })
            .envs(options.environment())
            // Where there is no configuration file.
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let start = Instant::now();
        let mut child = command.spawn()?;
        let line = child.stdout.take().and_then(first_line);
        let started_in = start.elapsed();
        let Some(ready) = line.as_deref().and_then(parse_ready_line) else {
            // Fails only if it has ended already.
            drop(child.kill());
            drop(child.wait());
            return Err(format!(
                "the server did not start: {}{}",
                line.unwrap_or_default(),
                tail(&log)
            )
            .into());
        };
        let mut server = Self {
            child,
            executors: Vec::new(),
            postgres: ready.postgres,
            http: ready.http,
            started_in,
            log,
            _directory: directory,
        };
        for index in 0..options.executors {
            server.join(options, index, ready.cluster)?;
        }
        Ok(server)
    }

    /// One more executor process.
    fn join(
        &mut self,
        options: &ServerOptions,
        index: u32,
        driver: Option<SocketAddr>,
    ) -> Result<()> {
        let driver = driver.ok_or("the server has no cluster port")?;
        let directory = self._directory.path().join(format!("executor-{index}"));
        std::fs::create_dir_all(&directory)?;
        let log = directory.join("executor.log");
        let child = Command::new(places::firesteel()?)
            .args(["executor", "--driver", &driver.to_string()])
            .args(["--slots", &options.slots.to_string()])
            .args(["--memory", &options.memory, "--work-dir", "work"])
            .envs(options.environment())
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        self.executors.push(child);
        let stdout = self
            .executors
            .last_mut()
            .and_then(|child| child.stdout.take());
        match stdout.and_then(first_line) {
            Some(line) if line.starts_with("firesteel executor ready") => Ok(()),
            line => Err(format!(
                "an executor did not start: {}{}",
                line.unwrap_or_default(),
                tail(&log)
            )
            .into()),
        }
    }

    pub(crate) fn postgres(&self) -> SocketAddr {
        self.postgres
    }

    /// From starting the process to its ready line.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        resident(self.child.id())
            .map_err(|error| format!("the server is gone: {error}{}", tail(&self.log)).into())
    }

    /// The metrics page, as names and values.
    pub(crate) fn metrics(&self) -> Result<BTreeMap<String, u64>> {
        let address = self.http.ok_or("the server has no metrics page")?;
        let mut socket = TcpStream::connect_timeout(&address, HTTP_TIMEOUT)?;
        socket.set_read_timeout(Some(HTTP_TIMEOUT))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut page = String::new();
        socket.take(HTTP_BYTES_MAX).read_to_string(&mut page)?;
        Ok(parse_metrics(&page))
    }

    /// Its memory and cached columns, to end a note; nothing if executors, which are other
    /// processes, have them.
    pub(crate) fn state(&self) -> Result<String> {
        if !self.executors.is_empty() {
            return Ok(String::new());
        }
        let metrics = self.metrics()?;
        let value = |name: &str| -> Result<u64> {
            let value = metrics.get(name).copied();
            value.ok_or_else(|| format!("the metrics page has no {name}").into())
        };
        let memory = self.memory()?;
        Ok(format!(
            ": {} MB resident, at most {}, {} of it cached columns; column chunks: {} hits, \
             {} misses, {} evictions",
            memory.now >> 20,
            memory.peak >> 20,
            value("firesteel_memory_cached_bytes")? >> 20,
            value("firesteel_cache_hits_total")?,
            value("firesteel_cache_misses_total")?,
            value("firesteel_cache_evictions_total")?
        ))
    }

    /// The end of the log, for errors.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        for child in self.executors.iter_mut().chain([&mut self.child]) {
            // Fails only if it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What Linux says of a process.
pub(crate) fn resident(process: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let bytes = |name: &str| -> Result<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or_else(|| format!("no {name}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    };
    Ok(Memory {
        now: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

/// The first line, if it comes in time.
fn first_line(stdout: ChildStdout) -> Option<String> {
    let (sender, line) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        // Nobody listens any more if it came too late.
        drop(sender.send(lines.next()));
        // Keeps the pipe empty; ends with the server.
        lines.for_each(drop);
    });
    line.recv_timeout(START_TIMEOUT).ok()??.ok()
}

/// What the ready line says.
struct Ready {
    postgres: SocketAddr,
    http: Option<SocketAddr>,
    cluster: Option<SocketAddr>,
}

/// `firesteel ready: postgres on ADDRESS, http on ADDRESS` (or `http off`), and perhaps
/// `, executors on ADDRESS`.
fn parse_ready_line(line: &str) -> Option<Ready> {
    let mut parts = line.strip_prefix("firesteel ready: ")?.split(", ");
    let postgres = parts.next()?.strip_prefix("postgres on ")?.parse().ok()?;
    let http = parts.next()?.strip_prefix("http ")?.strip_prefix("on ");
    let cluster = parts
        .next()
        .and_then(|part| part.strip_prefix("executors on "));
    Some(Ready {
        postgres,
        http: http.map(str::parse).transpose().ok()?,
        cluster: cluster.map(str::parse).transpose().ok()?,
    })
}

/// Lines of a name without labels and a whole number; the rest is for others.
fn parse_metrics(page: &str) -> BTreeMap<String, u64> {
    page.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    if shown.is_empty() {
        return String::new();
    }
    format!("; its log ends:\n{}", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_addresses() {
        let both = "firesteel ready: postgres on 127.0.0.1:40213, http on 127.0.0.1:8080";
        let ports = |line| {
            let ready = parse_ready_line(line)?;
            let port = |address: SocketAddr| address.port();
            Some((
                ready.postgres.port(),
                ready.http.map(port),
                ready.cluster.map(port),
            ))
        };
        assert_eq!(ports(both), Some((40213, Some(8080), None)));
        let off = "firesteel ready: postgres on 127.0.0.1:7, http off, executors on 127.0.0.1:9";
        assert_eq!(ports(off), Some((7, None, Some(9))));
        assert_eq!(ports("error: address in use"), None);
    }

    #[test]
    fn metrics_are_names_and_numbers() {
        let page =
            "HTTP/1.1 200 OK\r\n\r\n# HELP a_b Some.\n# TYPE a_b gauge\na_b 12\nc{d=\"e\"} 1\n";
        let metrics = parse_metrics(page);
        assert_eq!(metrics.get("a_b"), Some(&12));
        assert_eq!(metrics.get("HTTP/1.1"), None);
    }
}
