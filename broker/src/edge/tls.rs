//! TLS of the edge: certificate and key, the authorities of servers and of clients, and revocation lists, read from
//! files and read again while connections go on.
//!
//! A certificate is optional for clients that log in with a secret. One that is shown must be signed by a configured
//! authority, valid now and not revoked, else the handshake fails with the alert that says so; whom it stands for is
//! decided by [`Trust`]. What was read serves new connections until something else is read: one that lives keeps what
//! it began with.

mod reload;
mod revocation;
mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;

use crate::settings::Listeners;

pub(crate) use reload::{Reload, TlsSource};
pub(super) use revocation::Revocation;
pub(super) use trust::{Bearer, Trust};

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{path}: cannot be read as PEM: {reason}")]
    Pem { path: PathBuf, reason: String },
    #[error("{path}: holds no {what}")]
    Empty { path: PathBuf, what: &'static str },
    #[error("certificate and key do not serve: {0}")]
    Config(#[from] rustls::Error),
    #[error("the client authorities or their revocation lists do not serve: {0}")]
    Authorities(String),
}

/// One reading of the files.
pub(super) struct Tls {
    mqtt: Arc<ServerConfig>,
    web_socket: Arc<ServerConfig>,
    pub(super) trust: Trust,
}

/// What is spoken above TLS, offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    Mqtt,
    WebSocket,
}

impl Tls {
    /// TLS 1.2 and 1.3 from what the files hold.
    fn new(files: &Contents) -> Result<Tls, TlsError> {
        let certificate = files.certificates(File::Certificate)?;
        let key = files.key()?;
        let servers = files.certificates(File::ServerAuthorities)?;
        let clients = match files.holds(File::ClientAuthorities) {
            true => files.certificates(File::ClientAuthorities)?,
            false => servers.clone(),
        };
        let revoked = files.revocation_lists()?;
        let config = |alpn: &[u8]| config(&certificate, &key, &servers, &clients, &revoked, alpn);
        Ok(Tls {
            mqtt: config(b"mqtt")?,
            web_socket: config(b"http/1.1")?,
            trust: Trust::new(&servers, &clients, &revoked)?,
        })
    }

    pub(super) fn config(&self, above: Above) -> Arc<ServerConfig> {
        match above {
            Above::Mqtt => Arc::clone(&self.mqtt),
            Above::WebSocket => Arc::clone(&self.web_socket),
        }
    }
}

/// Refuses files of devices' authorities and of revocation lists that do not serve, as the start would.
pub fn check_client_authorities(authorities: Option<&Path>, revoked: Option<&Path>) -> Result<(), TlsError> {
    let files = Contents([none(), none(), none(), optional(authorities)?, optional(revoked)?]);
    let clients = match files.holds(File::ClientAuthorities) {
        true => files.certificates(File::ClientAuthorities)?,
        false => Vec::new(),
    };
    Trust::new(&[], &clients, &files.revocation_lists()?).map(drop)
}

fn config(
    certificate: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    servers: &[CertificateDer<'static>],
    clients: &[CertificateDer<'static>],
    revoked: &[CertificateRevocationListDer<'static>],
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for authority in servers.iter().chain(clients) {
        authorities.add(authority.clone())?;
    }
    // Authorities without a list revoke nothing, and a list says nothing of intermediate authorities.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .with_crls(revoked.iter().cloned())
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Authorities(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate.to_vec(), key.clone_key())?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Certificate,
    Key,
    ServerAuthorities,
    ClientAuthorities,
    Revoked,
}

/// The bytes of all files at one moment. Those that no setting names are empty.
#[derive(Clone, PartialEq, Eq)]
struct Contents([(PathBuf, Vec<u8>); 5]);

impl Contents {
    fn read(listeners: &Listeners) -> Result<Contents, TlsError> {
        Ok(Contents([
            read(&listeners.certificate)?,
            read(&listeners.key)?,
            read(&listeners.server_authorities)?,
            optional(listeners.client_authorities.as_deref())?,
            optional(listeners.revoked.as_deref())?,
        ]))
    }

    fn file(&self, file: File) -> &(PathBuf, Vec<u8>) {
        &self.0[file as usize]
    }

    fn holds(&self, file: File) -> bool {
        *self.file(file).0 != *Path::new("")
    }

    fn certificates(&self, file: File) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (path, bytes) = self.file(file);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| pem(path, &error))?;
        filled(path, "certificate", certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let (path, bytes) = self.file(File::Key);
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| pem(path, &error))
    }

    fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        if !self.holds(File::Revoked) {
            return Ok(Vec::new());
        }
        let (path, bytes) = self.file(File::Revoked);
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| pem(path, &error))?;
        filled(path, "revocation list", lists)
    }
}

/// Why a handshake has refused the client's certificate, if that is why it failed.
pub(super) fn refused_certificate(error: &io::Error) -> Option<&rustls::CertificateError> {
    let rustls::Error::InvalidCertificate(why) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    Some(why)
}

/// A file that no setting names.
fn none() -> (PathBuf, Vec<u8>) {
    (PathBuf::new(), Vec::new())
}

fn optional(path: Option<&Path>) -> Result<(PathBuf, Vec<u8>), TlsError> {
    path.map_or_else(|| Ok(none()), read)
}

fn read(path: &Path) -> Result<(PathBuf, Vec<u8>), TlsError> {
    let bytes = std::fs::read(path).map_err(|error| TlsError::Pem {
        path: path.to_owned(),
        reason: if error.kind() == io::ErrorKind::NotFound {
            "not found".to_owned()
        } else {
            error.to_string()
        },
    })?;
    Ok((path.to_owned(), bytes))
}

fn filled<T>(path: &Path, what: &'static str, found: Vec<T>) -> Result<Vec<T>, TlsError> {
    match found.is_empty() {
        false => Ok(found),
        true => Err(TlsError::Empty {
            path: path.to_owned(),
            what,
        }),
    }
}

fn pem(path: &Path, error: &rustls_pki_types::pem::Error) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
