//! How the two ends find and trust each other: HTTP/2 settings, TLS, the cluster secret.
//!
//! TLS is mutual: both ends show a certificate of the cluster's authority, made out to the name
//! [`TLS_NAME`], whatever their addresses are. The secret goes with every call. Without TLS the
//! secret and the data could be read on the way, so that is for loopback, or for those who say
//! that they want it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use job::Protection;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Status};

use crate::proto::blocks_client::BlocksClient;
use crate::proto::cluster_client::ClusterClient;
use crate::strangers::{self, Connection};

/// The name that the cluster's certificates are made out to.
pub const TLS_NAME: &str = "firesteel";

/// The header with the cluster secret.
const SECRET: &str = "firesteel-secret";

/// What one message may take: plans over many files are large, frames are cut smaller. Only those
/// who know the secret get as far as sending one.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What may be on its way unread, of each call: bounds memory on both ends.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Of a call for a result's rows: a driver has many clients, and all of them may be slow.
const ROWS_WINDOW_BYTES: u32 = 256 << 10;

/// As large as HTTP/2 knows: none. Calls share a connection, and readers wait: a merge for one of its many
/// streams, rows for a slow client. What they leave unread would use up a window of all, and whoever
/// they wait for would get nothing any more.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that does not answer a ping for that long is gone, even if its host never says so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// A call to the other end, with the secret.
pub type Secured = tonic::service::interceptor::InterceptedService<Channel, Credentials>;

/// Why an end can't speak or listen as configured.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the cluster secret has characters that are not printable ASCII")]
    Secret,
    #[error("the address \"{0}\" is not HOST:PORT")]
    Address(String),
    #[error("the cluster's TLS files are unusable: {0}")]
    Tls(tonic::transport::Error),
    #[error("could not serve the cluster: {0}")]
    Serve(tonic::transport::Error),
}

/// PEM texts.
#[derive(Clone)]
pub struct TlsFiles {
    /// The authority that signed every certificate of the cluster.
    pub authority: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// What a process needs to be let in, and to let others in.
#[derive(Clone, Default)]
pub struct Security {
    secret: Option<MetadataValue<Ascii>>,
    tls: Option<Arc<TlsFiles>>,
}

impl Security {
    pub fn new(secret: Option<&str>, tls: Option<TlsFiles>) -> Result<Self, TransportError> {
        let secret = secret
            .map(|secret| {
                let mut value =
                    MetadataValue::try_from(secret).map_err(|_| TransportError::Secret)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self {
            secret,
            tls: tls.map(Arc::new),
        })
    }

    /// Whether others can read along.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// A channel that connects when it is first used, and again when it broke.
    pub fn channel(&self, address: &str) -> Result<Channel, TransportError> {
        self.connect(address, STREAM_WINDOW_BYTES)
    }

    /// [`Self::channel`], for the rows of results.
    pub fn rows_channel(&self, address: &str) -> Result<Channel, TransportError> {
        self.connect(address, ROWS_WINDOW_BYTES)
    }

    fn connect(&self, address: &str, stream_window: u32) -> Result<Channel, TransportError> {
        let scheme = if self.is_plain() { "http" } else { "https" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| TransportError::Address(address.to_owned()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(stream_window)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if Protection::Liveness.is_on() {
            endpoint = endpoint
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        }
        if let Some(tls) = &self.tls {
            let config = ClientTlsConfig::new()
                .domain_name(TLS_NAME)
                .ca_certificate(Certificate::from_pem(&tls.authority))
                .identity(Identity::from_pem(&tls.certificate, &tls.key));
            endpoint = endpoint.tls_config(config).map_err(TransportError::Tls)?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// The driver's services over a channel.
    pub fn cluster_client(&self, channel: Channel) -> ClusterClient<Secured> {
        ClusterClient::with_interceptor(channel, self.credentials())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// An executor's services over a channel.
    pub fn blocks_client(&self, channel: Channel) -> BlocksClient<Secured> {
        BlocksClient::with_interceptor(channel, self.credentials())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn credentials(&self) -> Credentials {
        Credentials(self.secret.clone())
    }

    /// A server that shows the certificate and asks for one.
    pub fn server(&self) -> Result<Server, TransportError> {
        let server = Server::builder()
            .http2_keepalive_interval(Protection::Liveness.is_on().then_some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let Some(tls) = &self.tls else {
            return Ok(server);
        };
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(&tls.certificate, &tls.key))
            .client_ca_root(Certificate::from_pem(&tls.authority));
        server.tls_config(config).map_err(TransportError::Tls)
    }

    /// Lets in only calls that carry the secret, and says who was turned away.
    pub fn guard(&self) -> Guard {
        Guard(self.secret.clone())
    }
}

/// The connections of a listener, without Nagle's delay: what is said here is short and urgent.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map_ok(Connection::new)
}

/// The size limit of a service's messages, to be set on each server.
pub const fn message_bytes_max() -> usize {
    MESSAGE_BYTES_MAX
}

/// Whether an address may be listened on without TLS and without a word.
pub fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// Puts the secret on a call.
#[derive(Clone)]
pub struct Credentials(Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(secret) = &self.0 {
            request.metadata_mut().insert(SECRET, secret.clone());
        }
        Ok(request)
    }
}

/// Looks for the secret on a call.
#[derive(Clone)]
pub struct Guard(Option<MetadataValue<Ascii>>);

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        strangers::note_call(&request);
        let Some(expected) = &self.0 else {
            return Ok(request);
        };
        let given = request.metadata().get(SECRET);
        let matches = given.is_some_and(|given| {
            bool::from(given.as_encoded_bytes().ct_eq(expected.as_encoded_bytes()))
        });
        if matches {
            return Ok(request);
        }
        let peer = strangers::peer(&request);
        strangers::log_refused(&peer, "a call without the right cluster secret");
        Err(Status::unauthenticated("the cluster secret is not right"))
    }
}
