//! Whom a client's certificate stands for: a server of this domain, or a client that may have registered it.
//!
//! The handshake has verified it against all authorities together. Here it counts which one: what names a server
//! (`irsp://{domain}/srv/{name}`) counts by the servers' own authority only, so that an authority for devices cannot
//! make a server. It is verified again at each login, because a resumed TLS session is not.

use irsp_directory::{ShownCertificate, fingerprint};
use irsp_protocol::credential::Fingerprint;
use irsp_protocol::{Domain, Principal, Server};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList, RevocationOptionsBuilder};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;

/// The authorities, and what they have revoked.
pub(in crate::edge) struct Trust {
    servers: Vec<TrustAnchor<'static>>,
    clients: Vec<TrustAnchor<'static>>,
    /// The authorities of clients by their fingerprints, in the order of `clients`.
    fingerprints: Vec<Fingerprint>,
    revoked: Vec<CertRevocationList<'static>>,
}

/// Whom a verified certificate stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Bearer {
    Server(Server),
    Client(ShownCertificate),
}

impl Bearer {
    /// For the log: which certificate was refused.
    pub(in crate::edge) fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Bearer::Server(_) => None,
            Bearer::Client(shown) => Some(shown.fingerprint),
        }
    }
}

impl Trust {
    pub(super) fn new(
        servers: &[CertificateDer<'static>],
        clients: &[CertificateDer<'static>],
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Trust, TlsError> {
        let refused = |error: webpki::Error| TlsError::Authorities(error.to_string());
        let anchors = |certificates: &[CertificateDer<'static>]| {
            certificates
                .iter()
                .map(|authority| webpki::anchor_from_trusted_cert(authority).map(|anchor| anchor.to_owned()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(refused)
        };
        Ok(Trust {
            servers: anchors(servers)?,
            clients: anchors(clients)?,
            fingerprints: clients.iter().map(|authority| fingerprint(authority)).collect(),
            revoked: revoked
                .iter()
                .map(|list| OwnedCertRevocationList::from_der(list).map(CertRevocationList::from))
                .collect::<Result<_, _>>()
                .map_err(refused)?,
        })
    }

    /// Whom the first certificate of a chain stands for; nobody if it holds for nothing that is asked of it.
    pub(in crate::edge) fn bearer(
        &self,
        chain: &[CertificateDer<'_>],
        domain: &Domain,
        now: UnixTime,
    ) -> Option<Bearer> {
        let (leaf, between) = chain.split_first()?;
        let certificate = EndEntityCert::try_from(leaf).ok()?;
        let named = certificate.valid_uri_names().find_map(|uri| server(uri, domain));
        if let Some(server) = named {
            self.verify(&certificate, &self.servers, between, now)?;
            return Some(Bearer::Server(server));
        }
        let anchor = self.verify(&certificate, &self.clients, between, now)?;
        let authorities = self.clients.iter().zip(&self.fingerprints);
        Some(Bearer::Client(ShownCertificate {
            fingerprint: fingerprint(leaf),
            // A renewed authority keeps its name and key: what it signed counts for both of its certificates.
            cas: authorities
                .filter(|(authority, _)| **authority == anchor)
                .map(|(_, fingerprint)| *fingerprint)
                .collect(),
            names: names(&certificate, leaf),
        }))
    }

    /// Whether a revocation list names a certificate that was verified before.
    pub(super) fn has_revoked(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else {
            return false;
        };
        self.revoked.iter().any(|list| {
            list.issuer() == certificate.issuer()
                && matches!(list.find_serial(certificate.serial()), Ok(Some(_)))
        })
    }

    /// The authority at the end of the chain.
    fn verify(
        &self,
        certificate: &EndEntityCert<'_>,
        anchors: &[TrustAnchor<'static>],
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<TrustAnchor<'static>> {
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(webpki::RevocationCheckDepth::EndEntity)
                .with_status_policy(webpki::UnknownStatusPolicy::Allow)
                .build()
        });
        let path = certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            anchors,
            between,
            now,
            webpki::KeyUsage::client_auth(),
            revocation,
            None,
        );
        path.ok().map(|path| path.anchor().to_owned())
    }
}

/// The server that a URI names.
fn server(uri: &str, domain: &Domain) -> Option<Server> {
    let principal: Principal = uri
        .strip_prefix("irsp://")?
        .strip_prefix(domain.as_str())?
        .strip_prefix('/')?
        .parse()
        .ok()?;
    principal.as_server()
}

/// DNS names, URIs and common names.
fn names(certificate: &EndEntityCert<'_>, der: &CertificateDer<'_>) -> Vec<String> {
    let alternative = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    let mut names: Vec<String> = alternative.map(str::to_owned).collect();
    if let Ok((_, parsed)) = X509Certificate::from_der(der) {
        let common = parsed.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
    }
    names
}
