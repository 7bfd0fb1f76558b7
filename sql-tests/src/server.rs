//! A `firesteel` process of a test's own: on a free port, in a directory of its own, gone when its
//! handle is dropped.
//!
//! A panic in its log fails the test that owns it, whatever the test was looking at.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::places;
use crate::wire::{Wire, WireError};

/// A server starts in well under a second; a loaded machine gets a hundred times that.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than the default drain timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// A running (or, after [`Server::kill9`], dead) server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    arguments: Vec<String>,
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
        let directory = TempDir::with_prefix("firesteel-test-")?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let log = directory.path().join("server.log");
        let (child, port) = spawn(&directory.path().join("data"), &log, &arguments)?;
        Ok(Self {
            child,
            port,
            arguments,
            log,
            directory,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
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

    /// Ends the process as a crash would: nothing is flushed.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill -{name}: {status}")))
        }
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        wait(&mut self.child)
    }

    /// Starts again on the same data directory, with the same arguments. The old process must
    /// have ended.
    pub fn start_again(&mut self) -> io::Result<()> {
        let (child, port) = spawn(&self.data_dir(), &self.log, &self.arguments)?;
        self.child = child;
        self.port = port;
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
        if !std::thread::panicking() && log.contains("panicked at") {
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

/// Waits for a process, and kills it when it takes too long.
pub fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let give_up = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < give_up {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        // The standard library has no wait with a timeout.
        std::thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::other("the process did not end in time"))
}

fn command(data_dir: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(places::firesteel());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", ""])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .current_dir("/")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null());
    command
}

fn spawn(data_dir: &Path, log: &Path, arguments: &[String]) -> io::Result<(Child, u16)> {
    let stderr = File::options().create(true).append(true).open(log)?;
    let mut child = command(data_dir, arguments)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|error| {
            io::Error::other(format!(
                "{}: {error} (build it with `cargo build --release --workspace`)",
                places::firesteel().display()
            ))
        })?;
    let Some(stdout) = child.stdout.take() else {
        return Err(io::Error::other("the server has no output"));
    };
    let (sender, ready) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        drop(sender.send(lines.next()));
        // Keeps the pipe empty; ends with the server.
        lines.for_each(drop);
    });
    match ready.recv_timeout(START_TIMEOUT) {
        Ok(Some(Ok(line))) => match port_of(&line) {
            Some(port) => return Ok((child, port)),
            None => drop(child.kill()),
        },
        Ok(Some(Err(_)) | None) | Err(_) => drop(child.kill()),
    }
    child.wait()?;
    let log = std::fs::read_to_string(log).unwrap_or_default();
    Err(io::Error::other(format!("the server did not start: {log}")))
}

/// `firesteel ready: postgres on 127.0.0.1:PORT, http on …`
fn port_of(line: &str) -> Option<u16> {
    let address = line.strip_prefix("firesteel ready: postgres on 127.0.0.1:")?;
    address
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn the_ready_line_names_the_port() {
        let line = "firesteel ready: postgres on 127.0.0.1:40213, http on 127.0.0.1:8080";
        assert_eq!(port_of(line), Some(40213));
        assert_eq!(port_of("firesteel ready: postgres on 127.0.0.1:7"), Some(7));
        assert_eq!(port_of("listening"), None);
    }
}
