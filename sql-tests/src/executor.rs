//! A `firesteel executor` process of a test's own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::places;
use crate::process::{Environment, first_line, port_after, signal, wait};

const WORK_DIR_FLAG: &str = "--work-dir";

/// A running (or dead) executor.
#[derive(Debug)]
pub struct Executor {
    child: Child,
    driver: u16,
    arguments: Vec<String>,
    environment: Environment,
    forgives_panics: bool,
    directory: PathBuf,
    blocks_port: Option<u16>,
    http_port: Option<u16>,
}

impl Executor {
    /// Joins the driver whose cluster port is `driver`, and returns when it is registered.
    pub fn start(driver: u16, directory: &Path, arguments: &[String]) -> io::Result<Self> {
        Self::start_in(&Environment::new(), driver, directory, arguments)
    }

    /// The same with further environment variables.
    pub fn start_in(
        environment: &Environment,
        driver: u16,
        directory: &Path,
        arguments: &[String],
    ) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut executor = Self {
            child: command(driver, directory, arguments, environment)?.spawn()?,
            driver,
            arguments: arguments.to_vec(),
            environment: environment.clone(),
            forgives_panics: false,
            directory: directory.to_owned(),
            blocks_port: None,
            http_port: None,
        };
        executor.ready()?;
        Ok(executor)
    }

    fn ready(&mut self) -> io::Result<()> {
        match first_line(&mut self.child)? {
            Some(line) if line.starts_with("firesteel executor ready") => {
                self.blocks_port = port_after(&line, "blocks on 127.0.0.1:");
                self.http_port = port_after(&line, "http on 127.0.0.1:");
                Ok(())
            }
            line => Err(io::Error::other(format!(
                "the executor did not start: {line:?}\n{}",
                self.log()
            ))),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves its blocks.
    pub fn blocks_port(&self) -> Option<u16> {
        self.blocks_port
    }

    /// Where its metrics are, if it was told to have any.
    pub fn http_port(&self) -> Option<u16> {
        self.http_port
    }

    /// Its log, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("executor.log")).unwrap_or_default()
    }

    /// Its directory of spilled data.
    pub fn work_dir(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Lets its panics pass: what keeps it from them was switched off.
    pub fn forgive_panics(&mut self) {
        self.forgives_panics = true;
    }

    /// Ends the process as a crash would.
    pub fn kill9(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        signal(self.child.id(), name)
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        wait(&mut self.child)
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A new process in the place of one that has ended.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.spawn_again()?;
        self.ready()
    }

    fn spawn_again(&mut self) -> io::Result<()> {
        let (directory, arguments) = (&self.directory, &self.arguments);
        self.child = command(self.driver, directory, arguments, &self.environment)?.spawn()?;
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let log = self.log();
        if !self.forgives_panics && !std::thread::panicking() && log.contains("panicked at") {
            panic!("an executor panicked:\n{log}");
        }
    }
}

fn command(
    driver: u16,
    directory: &Path,
    arguments: &[String],
    environment: &Environment,
) -> io::Result<Command> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("executor.log"))?;
    let mut command = Command::new(places::firesteel());
    command
        .args(["executor", "--driver", &format!("127.0.0.1:{driver}")])
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments);
    if !arguments.iter().any(|argument| argument == WORK_DIR_FLAG) {
        command.arg(WORK_DIR_FLAG).arg(directory.join("work"));
    }
    command
        .current_dir("/")
        .env("RUST_BACKTRACE", "1")
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    Ok(command)
}
