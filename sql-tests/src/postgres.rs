//! A temporary PostgreSQL server: the oracle of differential tests.
//!
//! It lives in a directory of its own, listens on a free port of the loopback interface only, and
//! is gone when its handle is dropped. The binaries are those of `FIRESTEEL_PG_BIN`, else the
//! newest below `/usr/lib/postgresql`. PostgreSQL refuses to run as root; root runs it as the
//! user `postgres`.

use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::NoTls;

/// What the server says when it can be connected to.
const READY: &str = "database system is ready to accept connections";

/// Another process may take the port between our looking and the server's binding.
const START_ATTEMPTS: usize = 3;

/// A running server; dropping it stops it and removes its files.
#[derive(Debug)]
pub struct TemporaryPostgres {
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    server: Child,
    port: u16,
    // Dropped last.
    directory: TempDir,
}

impl TemporaryPostgres {
    /// Starts a server. `None`, after saying so, where PostgreSQL is not installed: the caller
    /// then skips its comparison.
    pub fn start() -> io::Result<Option<Self>> {
        let Some(binaries) = find_binaries() else {
            skip("no PostgreSQL found (install it or set FIRESTEEL_PG_BIN)");
            return Ok(None);
        };
        let user = match unprivileged_user() {
            Ok(user) => user,
            Err(error) => {
                skip(&format!("running as root without a user postgres: {error}"));
                return Ok(None);
            }
        };
        let directory = TempDir::with_prefix("firesteel-postgres-")?;
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        run(command(&binaries, "initdb", user)
            .arg("--pgdata")
            .arg(directory.path().join("data"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync"]))?;
        let mut last_error = None;
        for _ in 0..START_ATTEMPTS {
            match serve(&binaries, user, directory.path()) {
                Ok((server, port)) => {
                    return Ok(Some(Self {
                        binaries,
                        user,
                        server,
                        port,
                        directory,
                    }));
                }
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| io::Error::other("PostgreSQL did not start")))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection string for the superuser and its database.
    pub fn connection_string(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres",
            self.port
        )
    }

    /// A session, whose connection runs on the current tokio runtime.
    pub async fn connect(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) =
            tokio_postgres::connect(&self.connection_string(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for TemporaryPostgres {
    fn drop(&mut self) {
        let stopped = run(command(&self.binaries, "pg_ctl", self.user)
            .args(["stop", "--mode=immediate", "--pgdata"])
            .arg(self.directory.path().join("data")));
        if stopped.is_err() {
            // Already gone, or it cannot be asked: then it is killed.
            drop(self.server.kill());
        }
        drop(self.server.wait());
    }
}

#[expect(
    clippy::print_stderr,
    reason = "test helper: a skipped test must say so"
)]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn find_binaries() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("FIRESTEEL_PG_BIN") {
        return Some(PathBuf::from(directory));
    }
    let version = |path: &PathBuf| -> u32 {
        path.file_name()
            .and_then(|name| name.to_str()?.parse().ok())
            .unwrap_or(0)
    };
    std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/postgres").exists())
        .max_by_key(version)
        .map(|path| path.join("bin"))
}

/// The user to run as, where we are root ourselves.
fn unprivileged_user() -> io::Result<Option<(u32, u32)>> {
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?)))
}

fn id(arguments: &[&str]) -> io::Result<u32> {
    let output = Command::new("id").args(arguments).output()?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| io::Error::other(format!("id {arguments:?} failed")))
}

fn command(binaries: &Path, name: &str, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(binaries.join(name));
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/bin:/bin")
        // Any directory the other user may enter.
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{:?} failed: {}",
        command.get_program(),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Starts the server and waits until its log says that it is ready.
fn serve(binaries: &Path, user: Option<(u32, u32)>, directory: &Path) -> io::Result<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = command(binaries, "postgres", user)
        .arg("-D")
        .arg(directory.join("data"))
        .arg("-k")
        .arg(directory)
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let Some(log) = server.stderr.take() else {
        return Err(io::Error::other("the server has no log"));
    };
    let mut lines = BufReader::new(log).lines();
    let mut seen = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains(READY) {
            // Keeps the pipe empty; ends with the server.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((server, port));
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    server.wait()?;
    Err(io::Error::other(format!(
        "PostgreSQL did not start: {seen}"
    )))
}
