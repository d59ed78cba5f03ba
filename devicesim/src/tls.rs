//! What a TLS client trusts: the certificate authority that the caller names, and no other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// Why a TLS connection cannot be prepared.
#[derive(Debug, Error)]
pub enum CaError {
    #[error("cannot read certificates from {path}: {error}", path = path.display())]
    Pem {
        path: PathBuf,
        error: rustls::pki_types::pem::Error,
    },
    #[error("{path} holds no usable certificate", path = path.display())]
    Empty { path: PathBuf },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Reads the authority from a PEM file.
pub(crate) fn trusting(path: &Path) -> Result<rustls::ClientConfig, CaError> {
    let pem = |error| CaError::Pem {
        path: path.to_owned(),
        error,
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
        roots.add(certificate.map_err(pem)?)?;
    }
    if roots.is_empty() {
        return Err(CaError::Empty {
            path: path.to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
