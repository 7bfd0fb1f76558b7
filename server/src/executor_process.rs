//! `firesteel executor`: a member of a cluster, and nothing else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use executor::{ExecutorServices, Member, MemberConfig, MemberError};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::runtime_with_caches;
use crate::cluster::{ClusterError, bind, security};
use crate::config::{Config, KeyId};
use crate::executor_size::executor_size;
use crate::{http, metrics};

/// Why an executor process ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorProcessError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("could not set up the executor: {0}")]
    Runtime(#[from] DataFusionError),
    #[error("could not listen on {address} for http: {source}")]
    HttpListen { address: String, source: io::Error },
    #[error("could not start the control thread: {0}")]
    Thread(#[from] io::Error),
}

/// Stays a member of `driver`'s cluster until `drain` is cancelled and nothing needs it any more.
/// `ready` gets the line that scripts wait for, once it is registered.
pub async fn run(
    driver: String,
    config: Config,
    drain: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<(), ExecutorProcessError> {
    let (listener, address) = bind(config.text(KeyId::ExecutorListen)).await?;
    let advertise = match config.text(KeyId::ExecutorAdvertise) {
        "" => address.to_string(),
        advertise => advertise.to_owned(),
    };
    let data_dir = PathBuf::from(config.text(KeyId::DataDir));
    let runtime = runtime_with_caches()?;
    let member = Arc::new(Member::new(
        MemberConfig {
            driver: driver.clone(),
            advertise,
            security: security(&config, address).map_err(ClusterError::from)?,
            drain_timeout: config.duration(KeyId::ExecutorDrainTimeout),
            executor: executor_size(&config).config(&config, &data_dir),
            services: ExecutorServices {
                caches: Some(Arc::clone(&runtime.cache_manager)),
                ..ExecutorServices::default()
            },
        },
        drain,
    ));
    let stop = CancellationToken::new();
    let http = match config.text(KeyId::ExecutorHttpListen) {
        "" => None,
        address => Some(start_http(address, &member, &stop).await?),
    };
    let serving = {
        let (member, stop) = (Arc::clone(&member), stop.clone());
        tokio::spawn(async move { member.serve_blocks(listener, stop).await })
    };
    let control_runtime = control_runtime()?;
    let control = {
        let member = Arc::clone(&member);
        // A thread and a runtime of its own: see `executor::Member`.
        tokio::task::spawn_blocking(move || control_runtime.block_on(member.run()))
    };
    tokio::pin!(control);
    let ended = tokio::select! {
        ended = &mut control => ended,
        () = member.registered() => {
            let mut line = format!("firesteel executor ready: blocks on {address}, driver {driver}");
            if let Some(http) = http {
                line.push_str(&format!(", http on {http}"));
            }
            ready(&line);
            control.await
        }
    };
    stop.cancel();
    serving.abort();
    let end = ended.map_err(io::Error::other)??;
    info!(?end, "executor stopped");
    Ok(())
}

async fn start_http(
    address: &str,
    member: &Arc<Member>,
    stop: &CancellationToken,
) -> Result<SocketAddr, ExecutorProcessError> {
    let failed = |source| ExecutorProcessError::HttpListen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let member = Arc::clone(member);
    tokio::spawn(http::serve(listener, stop.clone(), move || {
        let page = metrics::render_executor(member.current().get());
        std::future::ready(page)
    }));
    Ok(bound)
}

fn control_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
