//! The driver's cluster port, from its binding to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use executor::{CurrentExecutor, Executor, ExecutorReport, Membership};
use job::ExecutorId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::Security;

use super::security::{SecurityError, security};
use super::service::{Cluster, ClusterConfig};
use crate::config::{Config, KeyId};
use crate::driver::Driver;

/// Why there is no cluster port.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("could not listen on {address} for executors: {source}")]
    Listen {
        address: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Security(#[from] SecurityError),
}

/// Binds an address of the cluster.
pub(crate) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), ClusterError> {
    let failed = |source| ClusterError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Bound and not yet served.
pub(crate) struct ClusterListener {
    listener: TcpListener,
    address: SocketAddr,
    security: Security,
    /// This life of the driver.
    incarnation: u64,
}

/// Being served.
pub(crate) struct ClusterPort {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl ClusterListener {
    /// `None` where no executors may join.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>, ClusterError> {
        let wanted = config.text(KeyId::ClusterListen);
        if wanted.is_empty() {
            return Ok(None);
        }
        let (listener, address) = bind(wanted).await?;
        Ok(Some(Self {
            security: security(config, address)?,
            incarnation: rand::random(),
            listener,
            address,
        }))
    }

    /// The embedded executor's way to the others.
    pub(crate) fn membership(&self) -> Membership {
        Membership::new(self.incarnation, self.security.clone())
    }

    /// Lets executors join. An embedded executor's blocks are served here as well.
    pub(crate) fn serve(
        self,
        config: &Config,
        driver: &Driver,
        reports: mpsc::UnboundedSender<ExecutorReport>,
        embedded: Option<(ExecutorId, &Arc<Executor>, Membership)>,
    ) -> ClusterPort {
        let Self {
            listener,
            address,
            security,
            incarnation,
        } = self;
        let settings = ClusterConfig {
            heartbeat_interval: config
                .duration(KeyId::HeartbeatInterval)
                .unwrap_or_default(),
            timeout: config.duration(KeyId::ExecutorTimeout).unwrap_or_default(),
        };
        let advertise = match config.text(KeyId::ClusterAdvertise) {
            "" => address.to_string(),
            advertise => advertise.to_owned(),
        };
        let (blocks, membership) = match embedded {
            Some((id, executor, membership)) => {
                let current = CurrentExecutor::default();
                current.set(incarnation, Arc::clone(executor));
                (Some((id, current)), Some(membership))
            }
            None => (None, None),
        };
        let cluster = Cluster::new(
            settings,
            security,
            incarnation,
            driver.clone(),
            reports,
            membership,
        );
        let stop = CancellationToken::new();
        let served = cluster.serve(listener, advertise, blocks, stop.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = served.await {
                warn!(%error, "the cluster port is closed");
            }
        });
        ClusterPort {
            address,
            stop,
            serving,
        }
    }
}

impl ClusterPort {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Executors keep their streams open; they see them end with this process.
    pub(crate) fn close(self) {
        self.stop.cancel();
        self.serving.abort();
    }
}
