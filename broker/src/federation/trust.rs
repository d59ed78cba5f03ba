//! Whose certificate this is: a peer is believed only by a certificate that names its domain and that its operator and
//! ours have agreed on, by its authority or by its fingerprint.
//!
//! A certificate names a domain by the URI `irsp://{domain}/srv/message` or by the DNS name `{domain}`.

use irsp_protocol::Domain;
use irsp_protocol::peer::{Fingerprint, Peer, PeerState, Trust};
use ring::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

/// Why a certificate is not taken for a peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Untrusted {
    #[error("no certificate was shown")]
    Missing,
    #[error("the certificate is not understood")]
    Malformed,
    #[error("the certificate names no peer of this domain")]
    Stranger,
    #[error("the certificate does not name the domain that was called")]
    Misnamed,
    #[error("the certificate has expired, or is not valid yet")]
    Expired,
    #[error("the certificate is not signed by the peer's authority, or not for this use")]
    Authority,
    #[error("the certificate is not the one with the peer's fingerprint")]
    Fingerprint,
    #[error("the peer is paused")]
    Paused,
}

/// Why our own certificate does not serve for links.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unfit {
    #[error("it holds no certificate that is understood")]
    Malformed,
    #[error("it names neither irsp://{0}/srv/message nor the host {0}")]
    Misnamed(Domain),
    #[error("it has expired, or is not valid yet")]
    Expired,
    #[error("it is not for client and server both: who knows it by its authority refuses it on one side")]
    OneSided,
}

/// Which end shows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It has called us.
    Client,
    /// We have called it.
    Server,
}

/// Why a caller is taken for nobody, and for which peer it gave itself out, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub(crate) struct Refused {
    pub(crate) why: Untrusted,
    pub(crate) named: Option<Domain>,
}

impl From<Untrusted> for Refused {
    fn from(why: Untrusted) -> Refused {
        Refused { why, named: None }
    }
}

/// The peer that has called us, known by its certificate. `find` knows the peers.
pub(crate) fn identify(
    chain: &[CertificateDer<'_>],
    now: UnixTime,
    find: impl Fn(&Domain) -> Option<Peer>,
) -> Result<Domain, Refused> {
    let leaf = chain.first().ok_or(Untrusted::Missing)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| Untrusted::Malformed)?;
    let mut refused = Refused::from(Untrusted::Stranger);
    for domain in names(&leaf) {
        let Some(peer) = find(&domain) else { continue };
        match check(&peer, chain, now, Side::Client) {
            Ok(()) => return Ok(domain),
            Err(why) => {
                let named = Some(domain);
                refused = Refused { why, named };
            }
        }
    }
    Err(refused)
}

/// Whether this is the certificate of `peer`.
pub(crate) fn check(
    peer: &Peer,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
    side: Side,
) -> Result<(), Untrusted> {
    let (first, intermediates) = chain.split_first().ok_or(Untrusted::Missing)?;
    let leaf = EndEntityCert::try_from(first).map_err(|_| Untrusted::Malformed)?;
    if !names(&leaf).contains(&peer.domain) {
        return Err(Untrusted::Misnamed);
    }
    match &peer.trust {
        Trust::Authority(pem) => signed(&leaf, pem, intermediates, now, side)?,
        Trust::Fingerprint(known) => {
            if fingerprint(first) != *known {
                return Err(Untrusted::Fingerprint);
            }
            in_time(&leaf, now)?;
        }
    }
    if peer.state == PeerState::Paused {
        return Err(Untrusted::Paused);
    }
    Ok(())
}

/// Whether `domain` can show this certificate to others. Who signed it is theirs to judge.
pub(crate) fn fits(domain: &Domain, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Unfit> {
    let leaf = chain.first().ok_or(Unfit::Malformed)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| Unfit::Malformed)?;
    if !names(&leaf).contains(domain) {
        return Err(Unfit::Misnamed(domain.clone()));
    }
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        // Time and use are looked at before the authority, of which there is none here.
        match leaf.verify_for_usage(algorithms, &[], &[], now, usage, None, None) {
            Err(error) if reason(&error) == Untrusted::Expired => return Err(Unfit::Expired),
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => return Err(Unfit::OneSided),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// The SHA-256 of a certificate in DER.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    Fingerprint::from_bytes(bytes)
}

fn names(leaf: &EndEntityCert<'_>) -> Vec<Domain> {
    let uris = leaf.valid_uri_names().filter_map(|uri| {
        let domain = uri.strip_prefix("irsp://")?.strip_suffix("/srv/message")?;
        Domain::new(domain).ok()
    });
    let hosts = leaf.valid_dns_names().filter_map(|name| Domain::new(name).ok());
    uris.chain(hosts).collect()
}

fn signed(
    leaf: &EndEntityCert<'_>,
    pem: &str,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    side: Side,
) -> Result<(), Untrusted> {
    let mut authorities = RootCertStore::empty();
    // One that does not serve, kept from before they were looked at, takes nothing from those beside it.
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    authorities.add_parsable_certificates(certificates.filter_map(Result::ok));
    let usage = match side {
        Side::Client => KeyUsage::client_auth(),
        Side::Server => KeyUsage::server_auth(),
    };
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(
        algorithms,
        &authorities.roots,
        intermediates,
        now,
        usage,
        None,
        None,
    )
    .map(drop)
    .map_err(|error| reason(&error))
}

/// A certificate known by its fingerprint needs no authority, but its time counts.
fn in_time(leaf: &EndEntityCert<'_>, now: UnixTime) -> Result<(), Untrusted> {
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let usage = KeyUsage::server_auth();
    // Its time is looked at before its authority, of which there is none here.
    match leaf.verify_for_usage(algorithms, &[], &[], now, usage, None, None) {
        Err(error) if reason(&error) == Untrusted::Expired => Err(Untrusted::Expired),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn reason(error: &webpki::Error) -> Untrusted {
    if matches!(
        error,
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }
    ) {
        Untrusted::Expired
    } else {
        Untrusted::Authority
    }
}

#[cfg(test)]
mod tests;
