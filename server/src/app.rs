//! Composes the server: catalog, executor, driver, front end. Nothing here decides anything; it
//! is the one place that knows all rooms.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::SystemTime;

use catalog::{Catalog, CatalogError};
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use executor::{
    Executor, ExecutorConfig, ExecutorError, ExecutorLink, ExecutorServices, InlineRunner,
};
use job::{Epoch, ExecutorId};
use planner::Planner;
use planner::split::SplitOptions;
use scheduler::SchedulerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, KeyId};
use crate::driver::{AttachedExecutor, Driver};
use crate::pg::{ListenError, bind, serve};
use crate::session::{Services, SessionRegistry};
use crate::{http, machine, metrics};

/// The embedded executor.
const LOCAL_EXECUTOR: ExecutorId = ExecutorId(0);
/// Of the machine's memory, where `memory` is not configured.
const MEMORY_SHARE_PERCENT: u64 = 60;
/// Used where neither configuration nor the system tells.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;
/// Statements that run in the driver read constants and catalog tables; more is a mistake.
const INLINE_MEMORY_BYTES: u64 = 64 << 20;
/// Parquet footers kept for the next statement; also charged to nobody, so kept small.
const METADATA_CACHE_BYTES: usize = 64 << 20;
/// Exit status of a process that a second signal ended.
const EXIT_FORCED: i32 = 130;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not listen on {address} for http: {source}")]
    HttpListen { address: String, source: io::Error },
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    #[error("could not set up the planner: {0}")]
    Runtime(#[from] DataFusionError),
}

/// A running server.
pub struct App {
    postgres: SocketAddr,
    http: Option<SocketAddr>,
    services: Arc<Services>,
    executor: Arc<Executor>,
    front_end: JoinHandle<()>,
}

impl App {
    /// Starts everything and listens; returns when clients are served.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let data_dir = PathBuf::from(config.text(KeyId::DataDir));
        let catalog = Catalog::open(&data_dir)?;

        let slots = match config.int(KeyId::Slots) {
            0 => machine::cores(),
            slots => u32::try_from(slots).unwrap_or(u32::MAX),
        };
        let memory_bytes = match config.size(KeyId::Memory) as u64 {
            0 => machine::memory_bytes()
                .map_or(MEMORY_BYTES_UNKNOWN, |all| all / 100 * MEMORY_SHARE_PERCENT),
            bytes => bytes,
        };
        let budget = ExecutorConfig::budget_within(memory_bytes);
        let runtime = planner_runtime()?;
        let shared = ExecutorServices {
            caches: Some(Arc::clone(&runtime.cache_manager)),
            ..ExecutorServices::default()
        };
        let (reports_sender, reports) = mpsc::unbounded_channel();
        let executor = Executor::start(
            ExecutorConfig {
                id: LOCAL_EXECUTOR,
                epoch: Epoch(1),
                slots,
                memory_bytes: budget,
                work_dir: work_dir(&config, &data_dir),
                spill_bytes_max: config.size(KeyId::SpillQuota) as u64,
                result_buffer_bytes: config.size(KeyId::ResultBuffer) as u64,
            },
            shared.clone(),
            reports_sender,
        )?;
        let driver = Driver::start(
            SchedulerConfig::default(),
            vec![AttachedExecutor {
                id: LOCAL_EXECUTOR,
                epoch: Epoch(1),
                slots,
                link: Arc::clone(&executor) as Arc<dyn ExecutorLink>,
            }],
            reports,
        );

        let services = Arc::new(Services {
            registry: SessionRegistry::new(config.size(KeyId::MaxConnections)),
            planner: Planner::new(Arc::clone(&catalog), runtime),
            inline: InlineRunner::new(INLINE_MEMORY_BYTES, shared)?,
            split: SplitOptions {
                slots,
                memory_bytes: budget,
                local: true,
                ..SplitOptions::default()
            },
            driver: driver.clone(),
            shutdown: CancellationToken::new(),
            started: SystemTime::now(),
            next_transaction: AtomicI64::new(1),
            catalog,
            config,
        });
        let listener = bind(services.config.text(KeyId::Listen)).await?;
        let postgres = local_address(&listener, services.config.text(KeyId::Listen))?;
        let http = match services.config.text(KeyId::HttpListen) {
            "" => None,
            address => Some(start_http(address, &services, &executor).await?),
        };
        let front_end = tokio::spawn(serve(listener, Arc::clone(&services)));
        Ok(Self {
            postgres,
            http,
            services,
            executor,
            front_end,
        })
    }

    pub fn postgres_address(&self) -> SocketAddr {
        self.postgres
    }

    /// The line scripts wait for.
    pub fn ready_line(&self) -> String {
        match self.http {
            Some(http) => format!(
                "firesteel ready: postgres on {}, http on {http}",
                self.postgres
            ),
            None => format!("firesteel ready: postgres on {}, http off", self.postgres),
        }
    }

    /// What all sessions share.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Lets running statements finish within the drain timeout, then ends sessions, tasks and
    /// temporary files.
    pub async fn drain(self) {
        info!("shutting down");
        self.services.shutdown.cancel();
        if let Err(error) = self.front_end.await {
            warn!(%error, "the front end did not end well");
        }
        self.executor.shutdown().await;
        info!("shut down");
    }
}

/// SIGTERM and SIGINT: the first drains, the second exits at once.
pub struct ExitOnSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ExitOnSignals {
    /// From now on the signals no longer end the process by themselves.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first signal, then drains `app`.
    pub async fn drain(mut self, app: App) {
        self.next().await;
        tokio::select! {
            () = app.drain() => {}
            () = self.next() => std::process::exit(EXIT_FORCED),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn work_dir(config: &Config, data_dir: &Path) -> PathBuf {
    match config.text(KeyId::WorkDir) {
        "" => data_dir.join("work"),
        dir => PathBuf::from(dir),
    }
}

/// The planner reads footers and statistics; the executor shares its cache of them. There is no
/// cache of file lists: each statement looks for itself.
fn planner_runtime() -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let caches = CacheManagerConfig::default()
        .with_list_files_cache_limit(0)
        .with_metadata_cache_limit(METADATA_CACHE_BYTES);
    RuntimeEnvBuilder::new()
        .with_cache_manager(caches)
        .build_arc()
}

async fn start_http(
    address: &str,
    services: &Arc<Services>,
    executor: &Arc<Executor>,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::HttpListen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (services, executor) = (Arc::clone(services), Arc::clone(executor));
    tokio::spawn(http::serve(
        listener,
        services.shutdown.clone(),
        move || metrics::render(Arc::clone(&services), Arc::clone(&executor)),
    ));
    Ok(bound)
}

fn local_address(listener: &TcpListener, address: &str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| {
        StartError::Listen(ListenError::Bind {
            address: address.to_owned(),
            source,
        })
    })
}
