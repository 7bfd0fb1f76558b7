//! The command line: a contract that scripts depend on. Flags are configuration keys by another
//! name; everything they accept is checked by [`crate::config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, KeyId, Sources};

/// Distributed SQL query server that speaks the PostgreSQL protocol.
#[derive(Debug, Parser)]
#[command(name = "firesteel", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the driver, with an embedded executor.
    Serve(ServeArgs),
    /// Join a driver and run its tasks.
    Executor(ExecutorArgs),
    /// Generate TPC-H data, start on free defaults, answer a query over the wire, stay up.
    Demo(DemoArgs),
    /// Check the configuration and print what would be used.
    CheckConfig {
        #[command(flatten)]
        file: FileArg,
    },
}

#[derive(Debug, Args)]
pub struct FileArg {
    /// Configuration file; `firesteel.toml` in the current directory if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address for PostgreSQL clients.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Directory of the catalog, the warehouse and temporary files.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Partitions the executor runs at once.
    #[arg(long, value_name = "N")]
    slots: Option<String>,
    /// Memory the executor may use, such as 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Address of metrics and health checks; empty turns them off.
    #[arg(long, value_name = "HOST:PORT")]
    http_listen: Option<String>,
    /// Address where executors of other processes join.
    #[arg(long, value_name = "HOST:PORT")]
    cluster_listen: Option<String>,
    /// Run no tasks in this process.
    #[arg(long)]
    no_local_executor: bool,
    #[command(flatten)]
    file: FileArg,
}

#[derive(Debug, Args)]
pub struct ExecutorArgs {
    /// The driver's cluster port.
    #[arg(long, value_name = "HOST:PORT")]
    pub driver: String,
    /// Partitions it runs at once.
    #[arg(long, value_name = "N")]
    slots: Option<String>,
    /// Memory it may use, such as 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Directory for spilled data.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
    /// Address where it serves its blocks to others.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address where others reach it, if that is another one.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Address of metrics and health checks; empty turns them off.
    #[arg(long, value_name = "HOST:PORT")]
    http_listen: Option<String>,
    #[command(flatten)]
    file: FileArg,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// TPC-H scale factor; 1 is about 1 GB of raw data.
    #[arg(long, default_value_t = 0.1)]
    pub scale: f64,
    /// Directory of the catalog and the generated data.
    #[arg(long, value_name = "DIR", default_value = "./firesteel-data")]
    pub data_dir: PathBuf,
    /// Address for PostgreSQL clients.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5432")]
    pub listen: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("could not read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl ServeArgs {
    /// The configuration of `serve`, from all its sources.
    pub fn config(self, env: BTreeMap<String, String>) -> Result<Config, LoadError> {
        let flags = [
            (KeyId::Listen, self.listen),
            (KeyId::DataDir, self.data_dir),
            (KeyId::Slots, self.slots),
            (KeyId::Memory, self.memory),
            (KeyId::HttpListen, self.http_listen),
            (KeyId::ClusterListen, self.cluster_listen),
            (
                KeyId::LocalExecutor,
                self.no_local_executor.then(|| "off".to_owned()),
            ),
        ];
        self.file.config(env, given(flags))
    }
}

impl ExecutorArgs {
    /// The configuration of `executor`, from all its sources.
    pub fn config(self, env: BTreeMap<String, String>) -> Result<Config, LoadError> {
        let flags = [
            (KeyId::Slots, self.slots),
            (KeyId::Memory, self.memory),
            (KeyId::WorkDir, self.work_dir),
            (KeyId::ExecutorListen, self.listen),
            (KeyId::ExecutorAdvertise, self.advertise),
            (KeyId::ExecutorHttpListen, self.http_listen),
        ];
        self.file.config(env, given(flags))
    }
}

/// The flags that were given.
fn given<const N: usize>(flags: [(KeyId, Option<String>); N]) -> Vec<(KeyId, String)> {
    flags
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

impl DemoArgs {
    /// The configuration of `demo`: the environment and the flags, no file, no HTTP port.
    pub fn config(&self, env: BTreeMap<String, String>) -> Result<Config, LoadError> {
        let flags = vec![
            (KeyId::Listen, self.listen.clone()),
            (KeyId::DataDir, self.data_dir.display().to_string()),
            (KeyId::HttpListen, String::new()),
        ];
        Ok(Config::load(&Sources {
            file: None,
            env,
            flags,
        })?)
    }
}

impl FileArg {
    /// The configuration from file, environment and `flags`.
    pub fn config(
        &self,
        env: BTreeMap<String, String>,
        flags: Vec<(KeyId, String)>,
    ) -> Result<Config, LoadError> {
        let file = match &self.config {
            Some(path) => Some(read(path)?),
            None => {
                let default = Path::new("firesteel.toml");
                default.exists().then(|| read(default)).transpose()?
            }
        };
        Ok(Config::load(&Sources { file, env, flags })?)
    }
}

fn read(path: &Path) -> Result<(String, String), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok((path.display().to_string(), text))
}
