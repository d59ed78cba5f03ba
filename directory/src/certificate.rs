//! Certificates of devices: what one says, and as what it may be registered. Verifying it is the edge's part.

use irsp_protocol::credential::{Certificate, Fingerprint};
use ring::digest;

/// The fingerprint of a certificate (DER).
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    Fingerprint(bytes)
}

/// A client certificate that has been verified: signed by an authority of ours, not expired, not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    pub fingerprint: Fingerprint,
    /// The authority that its chain ends at; several fingerprints if its own certificate was renewed under one key.
    pub cas: Vec<Fingerprint>,
    /// Its DNS names, URIs and common name.
    pub names: Vec<String>,
}

impl ShownCertificate {
    /// As what it may be registered.
    pub(crate) fn identities(&self) -> impl Iterator<Item = Certificate> {
        let exact = Certificate::Exact {
            fingerprint: self.fingerprint,
        };
        let named = self.cas.iter().flat_map(|ca| {
            self.names.iter().map(|name| Certificate::Named {
                ca: *ca,
                name: name.clone(),
            })
        });
        std::iter::once(exact).chain(named)
    }
}
