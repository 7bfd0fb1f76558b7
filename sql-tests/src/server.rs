//! A `firesteel` process of a test's own: on a free port, in a directory of its own, gone when its
//! handle is dropped. With `FIRESTEEL_EXECUTORS=3` it is a driver with three executor processes,
//! so that every test runs against a cluster as well.
//!
//! A panic in its log fails the test that owns it, whatever the test was looking at.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::executor::Executor;
use crate::places;
use crate::process::{Environment, first_line, port_after, signal, wait};
use crate::wire::{Wire, WireError};

/// How many executor processes every server gets.
pub const EXECUTORS_VAR: &str = "FIRESTEEL_EXECUTORS";

/// Most tests want no metrics, so that their servers never meet.
const HTTP_FLAG: &str = "--http-listen";

/// Flags of the server that are the executors' in a cluster.
const EXECUTOR_FLAGS: [&str; 2] = ["--slots", "--memory"];

/// A running (or, after [`Server::kill9`], dead) server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// They go first.
    executors: Vec<Executor>,
    port: u16,
    cluster_port: Option<u16>,
    http_port: Option<u16>,
    arguments: Vec<String>,
    environment: Environment,
    forgives_panics: bool,
    log: PathBuf,
    // Dropped last.
    directory: TempDir,
}

impl Server {
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts with further arguments, such as `["--slots", "2"]`.
    pub fn start_with(arguments: &[&str]) -> io::Result<Self> {
        let executors = std::env::var(EXECUTORS_VAR).ok();
        let executors = executors
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        Self::start_cluster(executors, arguments)
    }

    /// A driver with so many executor processes; an ordinary server with none.
    pub fn start_cluster(executors: usize, arguments: &[&str]) -> io::Result<Self> {
        Self::start_in(&Environment::new(), executors, arguments)
    }

    /// The same with further environment variables, for all of its processes.
    pub fn start_in(
        environment: &Environment,
        executors: usize,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let directory = TempDir::with_prefix("firesteel-test-")?;
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let executor_arguments: Vec<String> = arguments
            .windows(2)
            .filter(|pair| EXECUTOR_FLAGS.contains(&pair[0].as_str()))
            .flatten()
            .cloned()
            .collect();
        if executors > 0 {
            let cluster = ["--no-local-executor", "--cluster-listen", "127.0.0.1:0"];
            arguments.extend(cluster.map(str::to_owned));
        }
        let log = directory.path().join("server.log");
        let ready = spawn(
            &directory.path().join("data"),
            &log,
            &arguments,
            environment,
        )?;
        let mut server = Self {
            child: ready.child,
            executors: Vec::new(),
            port: ready.port,
            cluster_port: ready.cluster_port,
            http_port: ready.http_port,
            arguments,
            environment: environment.clone(),
            forgives_panics: false,
            log,
            directory,
        };
        for _ in 0..executors {
            server.add_executor(&executor_arguments)?;
        }
        Ok(server)
    }

    /// One more executor process.
    pub fn add_executor(&mut self, arguments: &[String]) -> io::Result<&mut Executor> {
        let Some(driver) = self.cluster_port else {
            return Err(io::Error::other("the server has no cluster port"));
        };
        let name = format!("executor-{}", self.executors.len());
        let directory = self.directory.path().join(name);
        let executor = Executor::start_in(&self.environment, driver, &directory, arguments)?;
        self.executors.push(executor);
        self.executors
            .last_mut()
            .ok_or_else(|| io::Error::other("no executor"))
    }

    pub fn executors(&mut self) -> &mut [Executor] {
        &mut self.executors
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where executors join.
    pub fn cluster_port(&self) -> Option<u16> {
        self.cluster_port
    }

    /// A number of the metrics page of a server that was started with `--http-listen`.
    pub fn metric(&self, name: &str) -> io::Result<u64> {
        let Some(port) = self.http_port else {
            return Err(io::Error::other("the server has no metrics page"));
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {name} in {page}")))
    }

    /// Where its metrics are; only if it was told to have any.
    pub fn http_port(&self) -> Option<u16> {
        self.http_port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A place for a test's own files, gone with the server.
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// For tokio-postgres and others that read connection strings.
    pub fn connection_string(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=firesteel dbname=firesteel",
            self.port
        )
    }

    pub fn connect(&self) -> Result<Wire, WireError> {
        Wire::connect(self.port, "firesteel", "firesteel")
    }

    /// Everything the server has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in bytes, as Linux counts it.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| {
                line.trim()
                    .trim_end_matches("kB")
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// Lets its panics pass: what keeps it from them was switched off.
    pub fn forgive_panics(&mut self) {
        self.forgives_panics = true;
    }

    /// Ends the process as a crash would: nothing is flushed.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        signal(self.child.id(), name)
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        wait(&mut self.child)
    }

    /// Starts again on the same data directory, with the same arguments. The old process must
    /// have ended.
    pub fn start_again(&mut self) -> io::Result<()> {
        // Executors find the driver where it was.
        if let (Some(port), Some(flag)) = (
            self.cluster_port,
            self.arguments.iter().position(|a| a == "--cluster-listen"),
        ) {
            self.arguments[flag + 1] = format!("127.0.0.1:{port}");
        }
        let ready = spawn(
            &self.data_dir(),
            &self.log,
            &self.arguments,
            &self.environment,
        )?;
        self.child = ready.child;
        self.port = ready.port;
        self.cluster_port = ready.cluster_port;
        self.http_port = ready.http_port;
        Ok(())
    }

    /// Stops gently and starts again.
    pub fn restart(&mut self) -> io::Result<()> {
        self.signal("TERM")?;
        self.wait()?;
        self.start_again()
    }

    /// The command of a server on this one's data directory, not started.
    pub fn command(&self) -> Command {
        command(&self.data_dir(), &self.arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let log = self.log();
        if !self.forgives_panics && !std::thread::panicking() && log.contains("panicked at") {
            panic!("the server panicked:\n{}", panics(&log));
        }
    }
}

/// The lines around each panic.
fn panics(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let mut text = String::new();
    for (number, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("panicked at"))
        .take(5)
    {
        let until = lines.len().min(number + 4);
        text.push_str(&lines.get(number..until).unwrap_or_default().join("\n"));
        text.push('\n');
    }
    text
}

fn command(data_dir: &Path, arguments: &[String]) -> Command {
    let http: &[&str] = if arguments.iter().any(|argument| argument == HTTP_FLAG) {
        &[]
    } else {
        &[HTTP_FLAG, ""]
    };
    let mut command = Command::new(places::firesteel());
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(http)
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .current_dir("/")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null());
    command
}

/// A process that has said that it is ready.
struct Ready {
    child: Child,
    port: u16,
    cluster_port: Option<u16>,
    http_port: Option<u16>,
}

fn spawn(
    data_dir: &Path,
    log: &Path,
    arguments: &[String],
    environment: &Environment,
) -> io::Result<Ready> {
    let stderr = File::options().create(true).append(true).open(log)?;
    let mut child = command(data_dir, arguments)
        .envs(environment)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|error| {
            io::Error::other(format!(
                "{}: {error} (build it with `cargo build --release --workspace`)",
                places::firesteel().display()
            ))
        })?;
    let line = first_line(&mut child)?.unwrap_or_default();
    let line = line.strip_prefix("firesteel ready: ").unwrap_or_default();
    match port_after(line, "postgres on 127.0.0.1:") {
        Some(port) => Ok(Ready {
            child,
            port,
            cluster_port: port_after(line, "executors on 127.0.0.1:"),
            http_port: port_after(line, "http on 127.0.0.1:"),
        }),
        None => {
            drop(child.kill());
            child.wait()?;
            let log = std::fs::read_to_string(log).unwrap_or_default();
            Err(io::Error::other(format!("the server did not start: {log}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::process::port_after;

    #[test]
    fn the_ready_line_names_the_ports() {
        let line =
            "firesteel ready: postgres on 127.0.0.1:40213, http off, executors on 127.0.0.1:7";
        assert_eq!(port_after(line, "postgres on 127.0.0.1:"), Some(40213));
        assert_eq!(port_after(line, "executors on 127.0.0.1:"), Some(7));
        let line = "firesteel ready: postgres on 127.0.0.1:8";
        assert_eq!(port_after(line, "postgres on 127.0.0.1:"), Some(8));
        assert_eq!(port_after(line, "executors on 127.0.0.1:"), None);
        assert_eq!(port_after("listening", "postgres on 127.0.0.1:"), None);
    }
}
