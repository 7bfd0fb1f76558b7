//! Processes under test: their first line, their end, and never a hang.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Variables that a process gets beside the test's own.
pub type Environment = BTreeMap<String, String>;

/// A process starts in well under a second; a loaded machine gets a hundred times that.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than the default drain timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// The first line of a process's piped output, or nothing if it ends or takes too long. Then it
/// is killed.
pub(crate) fn first_line(child: &mut Child) -> io::Result<Option<String>> {
    let Some(stdout) = child.stdout.take() else {
        return Err(io::Error::other("the process has no output"));
    };
    let (sender, ready) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        drop(sender.send(lines.next()));
        // Keeps the pipe empty; ends with the process.
        lines.for_each(drop);
    });
    match ready.recv_timeout(START_TIMEOUT) {
        Ok(Some(Ok(line))) => Ok(Some(line)),
        Ok(Some(Err(_)) | None) | Err(_) => {
            drop(child.kill());
            child.wait()?;
            Ok(None)
        }
    }
}

/// The port in a ready line, such as `firesteel ready: postgres on 127.0.0.1:PORT, http on …`.
pub(crate) fn port_after(line: &str, what: &str) -> Option<u16> {
    let (_, rest) = line.split_once(what)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
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

/// Sends a signal by name, such as `TERM`.
pub(crate) fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("kill -{name}: {status}")))
    }
}
