//! The development CA and what it signs: ECDSA P-256, ten years for the CA, one year below it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::{Holder, PkiError};
use crate::write::{self, Readers};

const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = DAY.saturating_mul(3_650);
const LEAF_LIFETIME: Duration = DAY.saturating_mul(365);
/// Certificates hold from an hour ago, so that a peer whose clock is a little slow takes them.
const CLOCK_SKEW: Duration = Duration::from_secs(3_600);
/// The CA's name. A constant, because whatever it signs names it as issuer: it must be the same at every start.
const CA_NAME: &str = "IRSP development CA";

/// The CA: its key signs, its certificate is what others trust.
pub(super) struct Ca {
    pub(super) cert_file: PathBuf,
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate and its private key, PEM.
pub(super) struct Issued {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Ca {
    /// Reads the CA or makes it. `None` where there is a CA certificate without its key: the data directory of a
    /// role that was handed its certificate.
    pub(super) fn read_or_make(cert: &Path, key: &Path, now: SystemTime) -> Result<Option<Ca>, PkiError> {
        let pair = match std::fs::read_to_string(key) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| PkiError::Ca {
                path: key.to_owned(),
                reason: error.to_string(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && cert.exists() => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pair = KeyPair::generate()?;
                put(key, &pair.serialize_pem(), Readers::Owner)?;
                pair
            }
            Err(source) => {
                return Err(PkiError::File {
                    path: key.to_owned(),
                    source,
                });
            }
        };
        let ca = Ca {
            cert_file: cert.to_owned(),
            params: ca_params(now),
            key: pair,
        };
        if !cert.exists() {
            put(cert, &ca.params.self_signed(&ca.key)?.pem(), Readers::All)?;
        }
        Ok(Some(ca))
    }

    /// Signs a new key for its holder.
    pub(super) fn issue(&self, holder: &Holder, now: SystemTime) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = lasting(now, LEAF_LIFETIME);
        params.distinguished_name = name(&holder.common_name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        match holder {
            Holder::MessageServer { .. } => {
                params.subject_alt_names = CertificateParams::new(holder.host_names())?.subject_alt_names;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            Holder::Peer { .. } => {
                params.subject_alt_names = CertificateParams::new(holder.host_names())?.subject_alt_names;
                params
                    .subject_alt_names
                    .push(SanType::URI(holder.uri().try_into()?));
                params.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ];
            }
            Holder::Role { .. } => {
                params.subject_alt_names = vec![SanType::URI(holder.uri().try_into()?)];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let cert = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok(Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn ca_params(now: SystemTime) -> CertificateParams {
    let mut params = lasting(now, CA_LIFETIME);
    params.distinguished_name = name(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn lasting(now: SystemTime, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + lifetime).into();
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn put(path: &Path, pem: &str, readers: Readers) -> Result<(), PkiError> {
    write::new_file(path, pem.as_bytes(), readers).map_err(|source| PkiError::File {
        path: path.to_owned(),
        source,
    })
}
