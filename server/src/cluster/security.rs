//! Secret and certificates, from the configuration's files.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use wire::{Security, TlsFiles, TransportError, is_loopback};

use crate::config::{Config, KeyId};

/// Why a process may not speak to its cluster.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("could not read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is empty: a cluster secret is one line of text", path.display())]
    EmptySecret { path: PathBuf },
    #[error(
        "cluster.tls_authority, cluster.tls_certificate and cluster.tls_key belong together: set all three or none"
    )]
    HalfTls,
    #[error(
        "{address} is not a loopback address: set cluster.tls_authority, cluster.tls_certificate, cluster.tls_key and cluster.secret_file, or cluster.allow_plaintext = on where the network is trusted"
    )]
    Plaintext { address: SocketAddr },
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What this process shows to others, and asks of them where it listens at `address`.
pub(crate) fn security(config: &Config, address: SocketAddr) -> Result<Security, SecurityError> {
    let secret = match file(config, KeyId::ClusterSecretFile)? {
        None => None,
        Some((path, bytes)) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if text.is_empty() {
                return Err(SecurityError::EmptySecret { path });
            }
            Some(text)
        }
    };
    let tls = match (
        file(config, KeyId::ClusterTlsAuthority)?,
        file(config, KeyId::ClusterTlsCertificate)?,
        file(config, KeyId::ClusterTlsKey)?,
    ) {
        (None, None, None) => None,
        (Some((_, authority)), Some((_, certificate)), Some((_, key))) => Some(TlsFiles {
            authority,
            certificate,
            key,
        }),
        _ => return Err(SecurityError::HalfTls),
    };
    let is_protected = tls.is_some() && secret.is_some();
    if !is_protected && !is_loopback(address) && !config.flag(KeyId::ClusterPlaintext) {
        return Err(SecurityError::Plaintext { address });
    }
    Ok(Security::new(secret.as_deref(), tls)?)
}

fn file(config: &Config, key: KeyId) -> Result<Option<(PathBuf, Vec<u8>)>, SecurityError> {
    let path = match config.text(key) {
        "" => return Ok(None),
        path => PathBuf::from(path),
    };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(source) => Err(SecurityError::Read { path, source }),
    }
}
