//! The development certificates: a CA, the message server's certificates for clients and for other domains, and one for
//! each role that may run apart.
//!
//! The CA is made once and kept. A certificate below it is made anew when it no longer holds: expired or about
//! to, signed by another CA, for another domain, or not for its key. Files that settings name are only read.

mod issue;
mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use irsp_config::{CertificateFiles, Settings};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::write::{self, Readers};

pub(crate) use verify::{Holder, verify, verify_given};

/// A certificate that ends within this time is made anew at a start.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);

#[derive(Debug, Error)]
pub(crate) enum PkiError {
    #[error("{}: {source}: make it readable, and its directory writable, for this user", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: is not PEM with {what}: {reason}", path.display())]
    Pem {
        path: PathBuf,
        what: &'static str,
        reason: String,
    },
    #[error("{}: {reason}: put in a certificate that holds, or remove it with its key to have a new one made", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("{}: is missing: copy it from the message server's data directory, or set {key}", path.display())]
    Missing { path: PathBuf, key: &'static str },
    #[error("{}: does not make a CA: {reason}: restore it, or remove the pki directory to have all made anew", path.display())]
    Ca { path: PathBuf, reason: String },
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
}

/// Makes what is missing or no longer holds. `now` is given, so that tests can look ahead.
pub(crate) fn prepare(settings: &Settings, now: SystemTime) -> Result<(), PkiError> {
    let files = settings.files();
    let pki = files.pki();
    write::private_dir(&pki).map_err(|source| PkiError::File { path: pki, source })?;
    let ca = match settings.tls.ca {
        Some(_) => None,
        None => issue::Ca::read_or_make(&files.ca(), &files.ca_key(), now)?,
    };
    let Some(ca) = ca else {
        return Ok(());
    };
    if settings.tls.cert.is_none() {
        renew(
            &ca,
            &files.server(),
            &Holder::MessageServer {
                domain: settings.domain.clone(),
            },
            now,
        )?;
    }
    if settings.federation.cert.is_none() {
        let holder = Holder::Peer {
            domain: settings.domain.clone(),
        };
        renew(&ca, &files.peer(), &holder, now)?;
    }
    if settings.bus.cert.is_none() {
        for name in ["account", "app"] {
            let holder = Holder::Role {
                domain: settings.domain.clone(),
                name,
            };
            renew(&ca, &files.role(name), &holder, now)?;
        }
    }
    Ok(())
}

/// Makes a certificate unless the one that is there still holds for a while.
fn renew(ca: &issue::Ca, files: &CertificateFiles, holder: &Holder, now: SystemTime) -> Result<(), PkiError> {
    if files.cert.exists() && verify(&ca.cert_file, files, holder, now + RENEWAL).is_ok() {
        return Ok(());
    }
    let issued = ca.issue(holder, now)?;
    // Key first: a start cut short between the two finds a pair that does not match, and makes both anew.
    for (path, pem, readers) in [
        (&files.key, &issued.key, Readers::Owner),
        (&files.cert, &issued.cert, Readers::All),
    ] {
        write::replace_file(path, pem.as_bytes(), readers).map_err(|source| PkiError::File {
            path: path.clone(),
            source,
        })?;
    }
    tracing::info!(certificate = %files.cert.display(), "certificate made");
    Ok(())
}

/// The certificates of a PEM file, at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let pem = |reason: String| PkiError::Pem {
        path: path.to_owned(),
        what: "certificates",
        reason,
    };
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| pem(error.to_string()))?;
    if found.is_empty() {
        Err(pem("it holds none".to_owned()))
    } else {
        Ok(found)
    }
}

/// The private key of a PEM file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PkiError> {
    let pem = |reason: String| PkiError::Pem {
        path: path.to_owned(),
        what: "a private key",
        reason,
    };
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| pem(error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    fs::read(path).map_err(|source| PkiError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
