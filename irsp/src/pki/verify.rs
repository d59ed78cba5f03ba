//! Whether a certificate holds: signed by the CA, valid at a time, for its holder, and matching its key.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use irsp_config::CertificateFiles;
use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{PkiError, read_certificates, read_key};

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The message server, under the names clients reach it by.
    MessageServer { domain: String },
    /// The message server as other domains know it, by its domain, whichever side dials.
    Peer { domain: String },
    /// A role that runs apart, known by its URI `irsp://{domain}/srv/{name}`.
    Role { domain: String, name: &'static str },
}

impl Holder {
    pub(super) fn common_name(&self) -> String {
        match self {
            Holder::MessageServer { domain } | Holder::Peer { domain } => domain.clone(),
            Holder::Role { name, .. } => format!("srv/{name}"),
        }
    }

    pub(super) fn host_names(&self) -> Vec<String> {
        match self {
            Holder::MessageServer { domain } => {
                let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
                if domain != "localhost" {
                    names.push(domain.clone());
                }
                names
            }
            Holder::Peer { domain } => vec![domain.clone()],
            Holder::Role { .. } => Vec::new(),
        }
    }

    pub(super) fn uri(&self) -> String {
        match self {
            Holder::MessageServer { domain } | Holder::Peer { domain } => {
                format!("irsp://{domain}/srv/message")
            }
            Holder::Role { domain, name } => format!("irsp://{domain}/srv/{name}"),
        }
    }
}

/// Checks a development certificate for its holder at a time.
pub(crate) fn verify(
    ca: &Path,
    files: &CertificateFiles,
    holder: &Holder,
    at: SystemTime,
) -> Result<(), PkiError> {
    let refuse = |reason: String| PkiError::Certificate {
        path: files.cert.clone(),
        reason,
    };
    let chain = read_certificates(&files.cert)?;
    let anchors = read_certificates(ca)?;
    let anchors: Result<Vec<_>, _> = anchors.iter().map(webpki::anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(|error| PkiError::Ca {
        path: ca.to_owned(),
        reason: error.to_string(),
    })?;
    let leaf = EndEntityCert::try_from(&chain[0]).map_err(|error| refuse(error.to_string()))?;
    let usage = match holder {
        Holder::MessageServer { .. } | Holder::Peer { .. } => KeyUsage::server_auth(),
        Holder::Role { .. } => KeyUsage::client_auth(),
    };
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        unix_time(at),
        usage,
        None,
        None,
    )
    .map_err(|error| refuse(explain(&error)))?;
    check_names(&leaf, holder).map_err(refuse)?;
    keys_match(files)
}

/// Checks a certificate that was given to us: its time and its key. Who signed it and for whom is the clients' to
/// judge: it may come from any authority they know.
pub(crate) fn verify_given(files: &CertificateFiles, at: SystemTime) -> Result<(), PkiError> {
    let refuse = |reason: String| PkiError::Certificate {
        path: files.cert.clone(),
        reason,
    };
    let chain = read_certificates(&files.cert)?;
    let leaf = EndEntityCert::try_from(&chain[0]).map_err(|error| refuse(error.to_string()))?;
    let usage = KeyUsage::server_auth();
    let held = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[],
        &[],
        unix_time(at),
        usage,
        None,
        None,
    );
    if let Err(error @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) = held {
        return Err(refuse(explain(&error)));
    }
    keys_match(files)
}

fn unix_time(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO),
    )
}

/// Whether key and certificate belong together.
fn keys_match(files: &CertificateFiles) -> Result<(), PkiError> {
    let refuse = |error: rustls::Error| PkiError::Certificate {
        path: files.key.clone(),
        reason: error.to_string(),
    };
    let provider = default_provider();
    let key = provider
        .key_provider
        .load_private_key(read_key(&files.key)?)
        .map_err(refuse)?;
    let pair = CertifiedKey::new(read_certificates(&files.cert)?, Arc::clone(&key));
    pair.keys_match().map_err(refuse)
}

fn check_names(leaf: &EndEntityCert<'_>, holder: &Holder) -> Result<(), String> {
    match holder {
        Holder::MessageServer { .. } => {
            for name in holder.host_names() {
                let server = ServerName::try_from(name.as_str()).map_err(|error| error.to_string())?;
                leaf.verify_is_valid_for_subject_name(&server)
                    .map_err(|_| format!("is not for {name}"))?;
            }
            Ok(())
        }
        Holder::Peer { .. } | Holder::Role { .. } => {
            let uri = holder.uri();
            let named = leaf.valid_uri_names().any(|name| name == uri);
            if named {
                Ok(())
            } else {
                Err(format!("is not for {uri}"))
            }
        }
    }
}

fn explain(error: &webpki::Error) -> String {
    if let webpki::Error::CertExpired { .. } = error {
        "has expired".to_owned()
    } else if let webpki::Error::CertNotValidYet { .. } = error {
        "is not valid yet".to_owned()
    } else if *error == webpki::Error::UnknownIssuer {
        "is not signed by the CA".to_owned()
    } else {
        error.to_string()
    }
}
