//! Who is let in: certificates of the cluster's authority both ways, and the secret.

use std::net::SocketAddr;

use futures::stream::{BoxStream, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, Streaming};
use wire::proto::cluster_server::{Cluster, ClusterServer};
use wire::proto::{ToDriver, ToExecutor};
use wire::{Security, TLS_NAME, TlsFiles};

/// An authority, which signs what it is asked to.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn files(&self, name: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsFiles {
            authority: self.certificate.clone().into_bytes(),
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }
}

/// Answers everybody who gets this far.
struct Welcoming;

#[tonic::async_trait]
impl Cluster for Welcoming {
    type RegisterStream = BoxStream<'static, Result<ToExecutor, Status>>;

    async fn register(
        &self,
        _: Request<Streaming<ToDriver>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let message = ToExecutor { message: None };
        Ok(Response::new(futures::stream::iter([Ok(message)]).boxed()))
    }
}

async fn serve(security: &Security) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ClusterServer::with_interceptor(Welcoming, security.guard());
    let router = security.server().unwrap().add_service(service);
    tokio::spawn(router.serve_with_incoming(wire::incoming(listener)));
    address
}

async fn call(address: SocketAddr, security: &Security) -> Result<(), Status> {
    let channel = security.channel(&address.to_string()).unwrap();
    let mut client = security.cluster_client(channel);
    let call = client.register(futures::stream::pending::<ToDriver>());
    let mut answers = call.await?.into_inner();
    answers.message().await.map(drop)
}

#[tokio::test]
async fn only_members_speak_to_members() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let member = |secret: &str, tls: Option<TlsFiles>| Security::new(Some(secret), tls).unwrap();
    let ours = member("secret", Some(authority.files(TLS_NAME)));
    let address = serve(&ours).await;

    call(address, &member("secret", Some(authority.files(TLS_NAME))))
        .await
        .unwrap();
    let refused = call(address, &member("guess", Some(authority.files(TLS_NAME))))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let without = Security::new(None, Some(authority.files(TLS_NAME))).unwrap();
    let refused = call(address, &without).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    // None of these gets as far as the secret.
    let mut half = stranger.files(TLS_NAME);
    half.authority = authority.files(TLS_NAME).authority;
    for intruder in [
        member("secret", None),
        member("secret", Some(stranger.files(TLS_NAME))),
        // It trusts us, but who signed it?
        member("secret", Some(half)),
    ] {
        let refused = call(address, &intruder).await.unwrap_err();
        assert_ne!(refused.code(), Code::Unauthenticated, "{refused}");
    }
}

#[tokio::test]
async fn a_server_with_another_name_or_authority_is_not_spoken_to() {
    let authority = Authority::new();
    let ours = Security::new(Some("secret"), Some(authority.files(TLS_NAME))).unwrap();
    let other_name = Security::new(Some("secret"), Some(authority.files("elsewhere"))).unwrap();
    let stranger = Authority::new();
    let other_authority = Security::new(Some("secret"), Some(stranger.files(TLS_NAME))).unwrap();
    for server in [other_name, other_authority] {
        let address = serve(&server).await;
        assert!(call(address, &ours).await.is_err());
    }
}

#[tokio::test]
async fn plain_and_without_a_secret_is_possible() {
    let security = Security::default();
    assert!(security.is_plain());
    let address = serve(&security).await;
    call(address, &security).await.unwrap();
    // A secret that nobody asks for does no harm.
    call(address, &Security::new(Some("secret"), None).unwrap())
        .await
        .unwrap();
}

#[test]
fn what_can_not_be_sent_is_an_error() {
    assert!(Security::new(Some("newline\n"), None).is_err());
    assert!(Security::default().channel("no address at all").is_err());
}
