//! Accepts clients, and sees them off at shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::connection;
use crate::config::KeyId;
use crate::session::Services;

/// Sockets beyond `max_connections` that may be starting up or sending cancel requests.
const UNAUTHENTICATED_MAX: usize = 100;
/// After a failed accept (out of file descriptors, mostly) trying at once would spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long cancelled sessions may take to tell their clients.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where clients can't be trusted by their address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("could not listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
    #[error(
        "refusing to listen on {address}: it is not a loopback address, and without passwords anyone who reaches it would be let in; listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback { address: SocketAddr },
}

/// Binds an address for clients. Only loopback until there are passwords.
pub async fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::Bind {
        address: address.to_owned(),
        source,
    };
    let candidates: Vec<_> = tokio::net::lookup_host(address)
        .await
        .map_err(failed)?
        .collect();
    // Checked before binding, so that not even a moment is open to others.
    if let Some(address) = candidates.iter().find(|a| !a.ip().is_loopback()) {
        return Err(ListenError::NotLoopback { address: *address });
    }
    TcpListener::bind(&candidates[..]).await.map_err(failed)
}

/// Serves clients until `services.shutdown`, then drains: idle sessions end at once, running
/// statements may finish for a while and are then cancelled.
pub async fn serve(listener: TcpListener, services: Arc<Services>) {
    let connections = TaskTracker::new();
    let places = services.config.size(KeyId::MaxConnections) + UNAUTHENTICATED_MAX;
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = tokio::select! {
            biased;
            () = services.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, client)) => {
                // More than can ever become sessions: closing is all the answer there is room for.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    continue;
                };
                let services = Arc::clone(&services);
                connections.spawn(async move {
                    connection::serve(socket, client, services).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    for session in services.registry.sessions() {
        session.interrupt.drain();
    }
    let drained = match services.config.duration(KeyId::DrainTimeout) {
        Some(limit) => timeout(limit, connections.wait()).await.is_ok(),
        None => {
            connections.wait().await;
            true
        }
    };
    if !drained {
        info!(
            sessions = services.registry.sessions().len(),
            "cancelling statements that outlast the drain timeout"
        );
        for session in services.registry.sessions() {
            session.interrupt.terminate();
        }
        // Whoever still does not end is stuck in a write to a client that does not read; the
        // process ends without them.
        let _ = timeout(FAREWELL_TIMEOUT, connections.wait()).await;
    }
}
