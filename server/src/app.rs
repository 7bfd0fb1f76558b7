//! Composes the server: catalog, executor, driver, front end. Nothing here decides anything; it
//! is the one place that knows all rooms.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::SystemTime;

use catalog::{Catalog, CatalogError};
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use executor::{
    Executor, ExecutorConfig, ExecutorError, ExecutorLink, ExecutorServices, InlineRunner,
};
use job::{Epoch, ExecutorId, ExecutorUsage, Protection};
use planner::Planner;
use scheduler::SchedulerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::{ClusterError, ClusterListener, ClusterPort};
use crate::config::{Config, KeyId};
use crate::driver::{AttachedExecutor, Driver};
use crate::executor_size::executor_size;
use crate::pg::{ListenError, bind, serve};
use crate::session::{Services, SessionRegistry, keep_cached};
use crate::{http, metrics};

/// The embedded executor.
const LOCAL_EXECUTOR: ExecutorId = ExecutorId(0);
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
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(
        "there is nothing to run statements: give --cluster-listen, or let the driver have its own executor"
    )]
    NoExecutors,
}

/// A running server.
pub struct App {
    postgres: SocketAddr,
    http: Option<SocketAddr>,
    services: Arc<Services>,
    /// The embedded one, if there is.
    executor: Option<Arc<Executor>>,
    front_end: JoinHandle<()>,
    cluster: Option<ClusterPort>,
}

impl App {
    /// Starts everything and listens; returns when clients are served.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let data_dir = PathBuf::from(config.text(KeyId::DataDir));
        let catalog = Catalog::open(&data_dir)?;

        let size = executor_size(&config);
        let runtime = runtime_with_caches()?;
        let shared = ExecutorServices {
            caches: Some(Arc::clone(&runtime.cache_manager)),
            ..ExecutorServices::default()
        };
        let cluster_port = ClusterListener::open(&config).await?;
        if cluster_port.is_none() && !config.flag(KeyId::LocalExecutor) {
            return Err(StartError::NoExecutors);
        }
        let membership = cluster_port.as_ref().map(ClusterListener::membership);
        let (reports_sender, reports) = mpsc::unbounded_channel();
        let executor = config
            .flag(KeyId::LocalExecutor)
            .then(|| {
                Executor::start(
                    ExecutorConfig {
                        id: LOCAL_EXECUTOR,
                        epoch: Epoch(1),
                        ..size.config(&config, &data_dir)
                    },
                    ExecutorServices {
                        membership: membership.clone(),
                        ..shared.clone()
                    },
                    reports_sender.clone(),
                )
            })
            .transpose()?;
        let attached = executor.iter().map(|executor| AttachedExecutor {
            id: LOCAL_EXECUTOR,
            epoch: Epoch(1),
            slots: size.slots,
            memory_bytes: size.memory_bytes,
            address: None,
            usage: usage_of(Arc::clone(executor)),
            link: Arc::clone(executor) as Arc<dyn ExecutorLink>,
        });
        let driver = Driver::start(scheduler_config(&config), attached.collect(), reports);
        let cluster = cluster_port.map(|port| {
            let embedded = executor
                .as_ref()
                .zip(membership)
                .map(|(executor, membership)| (LOCAL_EXECUTOR, executor, membership));
            port.serve(&config, &driver, reports_sender, embedded)
        });

        let services = Arc::new(Services {
            registry: SessionRegistry::new(config.size(KeyId::MaxConnections)),
            planner: Planner::new(
                Arc::clone(&catalog),
                runtime,
                config.size(KeyId::ResultCacheSize) as u64,
            ),
            inline: InlineRunner::new(INLINE_MEMORY_BYTES, shared)?,
            driver: driver.clone(),
            shutdown: CancellationToken::new(),
            started: SystemTime::now(),
            next_transaction: AtomicI64::new(1),
            replanned: AtomicU64::new(0),
            catalog,
            config,
        });
        let listener = bind(services.config.text(KeyId::Listen)).await?;
        let postgres = local_address(&listener, services.config.text(KeyId::Listen))?;
        let http = match services.config.text(KeyId::HttpListen) {
            "" => None,
            address => Some(start_http(address, &services, executor.as_ref()).await?),
        };
        tokio::spawn(keep_cached(Arc::clone(&services)));
        let front_end = tokio::spawn(serve(listener, Arc::clone(&services)));
        Ok(Self {
            postgres,
            http,
            services,
            executor,
            front_end,
            cluster,
        })
    }

    pub fn postgres_address(&self) -> SocketAddr {
        self.postgres
    }

    /// The line scripts wait for.
    pub fn ready_line(&self) -> String {
        let mut line = format!("firesteel ready: postgres on {}", self.postgres);
        match self.http {
            Some(http) => line.push_str(&format!(", http on {http}")),
            None => line.push_str(", http off"),
        }
        if let Some(cluster) = &self.cluster {
            line.push_str(&format!(", executors on {}", cluster.address()));
        }
        line
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
        if let Some(cluster) = self.cluster {
            cluster.close();
        }
        if let Some(executor) = self.executor {
            executor.shutdown().await;
        }
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

    /// Waits for `work`; the first signal cancels `token`, a second one ends the process.
    pub async fn cancel<T>(mut self, token: CancellationToken, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.next() => {
                    if token.is_cancelled() {
                        std::process::exit(EXIT_FORCED);
                    }
                    token.cancel();
                }
            }
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The planner reads footers and statistics; the executor shares its cache of them. There is no
/// cache of file lists: each statement looks for itself.
pub(crate) fn runtime_with_caches() -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let caches = CacheManagerConfig::default()
        .with_list_files_cache_limit(0)
        .with_metadata_cache_limit(METADATA_CACHE_BYTES);
    RuntimeEnvBuilder::new()
        .with_cache_manager(caches)
        .build_arc()
}

/// What the embedded executor has handed out, now.
fn usage_of(executor: Arc<Executor>) -> Arc<dyn Fn() -> Option<ExecutorUsage> + Send + Sync> {
    Arc::new(move || Some(executor.usage()))
}

fn scheduler_config(config: &Config) -> SchedulerConfig {
    let mut config = SchedulerConfig {
        pools: config.pools().to_vec(),
        no_executor_timeout: config
            .duration(KeyId::NoExecutorTimeout)
            .unwrap_or_default(),
        small_job_bytes: config.size(KeyId::SmallStatementSize) as u64,
        ..SchedulerConfig::default()
    };
    if !Protection::Retries.is_on() {
        config.task_attempts_max = 1;
        config.stage_reruns_max = 0;
    }
    if !Protection::Queue.is_on() {
        config.queued_jobs_max = usize::MAX;
    }
    config
}

async fn start_http(
    address: &str,
    services: &Arc<Services>,
    executor: Option<&Arc<Executor>>,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::HttpListen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (services, executor) = (Arc::clone(services), executor.cloned());
    tokio::spawn(http::serve(
        listener,
        services.shutdown.clone(),
        move || metrics::render(Arc::clone(&services), executor.clone()),
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
