//! TLS of the edge: the server's certificate, and whom a client's certificate names.
//!
//! A certificate is optional for clients that log in with a secret. One that is shown must be signed by a configured
//! authority and names its bearer in a URI: `irsp://{domain}/{kind}/{id}`, for example `irsp://home.example/srv/app`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use irsp_protocol::{Domain, Principal};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::settings::Listeners;

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{path}: cannot be read as PEM: {reason}")]
    Pem { path: PathBuf, reason: String },
    #[error("{path}: holds no certificate")]
    Empty { path: PathBuf },
    #[error("certificate and key do not serve: {0}")]
    Config(#[from] rustls::Error),
    #[error("the client authorities do not serve: {0}")]
    Authorities(String),
}

/// The edge's TLS 1.2 and 1.3 configuration, offering ALPN `mqtt`, or HTTP for WebSocket.
pub(crate) fn server_config(listeners: &Listeners, alpn: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&listeners.client_authorities)? {
        authorities.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Authorities(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates(&listeners.certificate)?,
            private_key(&listeners.key)?,
        )?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// The principal a verified client certificate names, if it is of this domain.
pub(crate) fn bearer(certificate: &CertificateDer<'_>, domain: &Domain) -> Option<Principal> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    certificate.valid_uri_names().find_map(|uri| {
        uri.strip_prefix("irsp://")?
            .strip_prefix(domain.as_str())?
            .strip_prefix('/')?
            .parse()
            .ok()
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| pem(path, &error))?;
    if certificates.is_empty() {
        Err(TlsError::Empty {
            path: path.to_owned(),
        })
    } else {
        Ok(certificates)
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| pem(path, &error))
}

fn pem(path: &Path, error: &rustls_pki_types::pem::Error) -> TlsError {
    let not_found =
        matches!(error, rustls_pki_types::pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound);
    let reason = if not_found {
        "not found".to_owned()
    } else {
        format!("{error:?}")
    };
    TlsError::Pem {
        path: path.to_owned(),
        reason,
    }
}
