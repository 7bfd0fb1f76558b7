//! Evidence: metrics pages, and what the kernel says of a process.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// A page is made in a millisecond; a loaded machine gets this.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// A metrics page; what it doesn't name is 0.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    pub fn scrape(port: u16) -> io::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: chaos\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let values = page
            .lines()
            .filter(|line| line.starts_with("firesteel_"))
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Ok(Self(values))
    }

    /// By its name without `firesteel_`.
    pub fn get(&self, name: &str) -> u64 {
        self.0
            .get(&format!("firesteel_{name}"))
            .copied()
            .unwrap_or(0)
    }

    /// What a counter has grown by.
    pub fn since(&self, before: &Self, name: &str) -> u64 {
        self.get(name).saturating_sub(before.get(name))
    }
}

/// Open files of a process.
pub fn open_files(pid: u32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib << 10)
        .ok_or_else(|| io::Error::other("no VmRSS"))
}

/// Files below a directory that are not locks.
pub fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        // Directories come and go with executors.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|extension| extension != "lock") {
                files.push(path);
            }
        }
    }
    files
}

/// Which of some processes has the other end of a connection from this local port.
pub fn owner_of_port(port: u16, candidates: &[u32]) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let suffix = format!(":{port:04X}");
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?;
        local.ends_with(&suffix).then(|| fields.get(9).copied())?
    })?;
    let socket = format!("socket:[{inode}]");
    candidates.iter().copied().find(|pid| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd"));
        fds.into_iter().flatten().flatten().any(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == socket.as_str())
        })
    })
}
