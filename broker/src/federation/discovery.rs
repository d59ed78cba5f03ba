//! Where a peer is that has no address, or is not reached at it: in the DNS, or in a document of its web server.
//!
//! What is found is a place to dial and nothing more: whoever answers there still has to show the certificate that was
//! agreed on ([`super::trust`]). So a forged answer costs a call in vain. The ways are tried in the order of how much
//! their word is worth: what the operator has configured, the DNS, the document.

mod dns;
mod document;

use std::time::{Duration, Instant};

use irsp_protocol::Domain;
use irsp_protocol::peer::PeerUrl;
use thiserror::Error;

use self::dns::Dns;
use self::document::Web;
use crate::settings;

/// For one look-up.
const WITHIN: Duration = Duration::from_secs(10);
/// Addresses that are taken of one answer.
const ADDRESSES_MAX: usize = 8;
/// An answer is believed for no less and no more than this, whatever it says.
const LIFETIME_MIN: Duration = Duration::from_secs(30);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// That there is nothing is believed for so long.
const ABSENCE: Duration = Duration::from_secs(60);

/// How a peer is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Srv,
    WellKnown,
}

impl Way {
    /// In the order of trust.
    pub(super) const ALL: [Way; 2] = [Way::Srv, Way::WellKnown];
}

/// Why a peer was not found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NotFound {
    #[error("the DNS has no _irsp._tcp.{0}")]
    NoRecord(Domain),
    #[error("the DNS was asked for {name}: {reason}")]
    Dns { name: String, reason: String },
    #[error("https://{domain}/.well-known/irsp: {reason}")]
    Document { domain: Domain, reason: String },
    #[error("looking for {0} took too long")]
    Late(Domain),
}

/// Why nothing can be looked for at all.
#[derive(Debug, Error)]
#[error("peers cannot be looked for: {0}")]
pub struct DiscoveryError(String);

/// Addresses, and for how long they may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    urls: Vec<PeerUrl>,
    lifetime: Duration,
}

/// Looks for peers in the ways that are switched on.
pub(crate) struct Discovery {
    srv: Option<Dns>,
    well_known: Option<Web>,
}

impl Discovery {
    pub(crate) fn new(settings: &settings::Discovery) -> Result<Discovery, DiscoveryError> {
        let mut discovery = Discovery {
            srv: None,
            well_known: None,
        };
        if settings.srv || settings.well_known {
            let dns = Dns::new(settings.resolver).map_err(|error| DiscoveryError(error.to_string()))?;
            if settings.well_known {
                discovery.well_known = Some(Web::new(dns.clone(), settings)?);
            }
            discovery.srv = settings.srv.then_some(dns);
        }
        Ok(discovery)
    }

    pub(super) fn is_on(&self) -> bool {
        self.srv.is_some() || self.well_known.is_some()
    }

    async fn ask(&self, way: Way, domain: &Domain) -> Result<Places, NotFound> {
        let asking = async {
            match (way, &self.srv, &self.well_known) {
                (Way::Srv, Some(dns), _) => dns.services(domain).await,
                (Way::WellKnown, _, Some(web)) => web.places(domain).await,
                (Way::Srv, None, _) | (Way::WellKnown, _, None) => Ok(Places {
                    urls: Vec::new(),
                    lifetime: LIFETIME_MAX,
                }),
            }
        };
        let asked = tokio::time::timeout(WITHIN, asking).await;
        asked.unwrap_or_else(|_| Err(NotFound::Late(domain.clone())))
    }
}

/// What one caller has found of its peer, for as long as it may be believed.
#[derive(Debug, Default)]
pub(super) struct Known {
    found: [Option<Answer>; Way::ALL.len()],
}

#[derive(Debug)]
struct Answer {
    until: Instant,
    found: Result<Vec<PeerUrl>, NotFound>,
}

impl Known {
    /// Where the peer is in this way: as known, else looked for now.
    pub(super) async fn find(
        &mut self,
        way: Way,
        domain: &Domain,
        discovery: &Discovery,
    ) -> Result<Vec<PeerUrl>, NotFound> {
        let known = &mut self.found[way as usize];
        if let Some(answer) = known
            && Instant::now() < answer.until
        {
            return answer.found.clone();
        }
        let (lifetime, found) = match discovery.ask(way, domain).await {
            Ok(Places { mut urls, lifetime }) => {
                urls.truncate(ADDRESSES_MAX);
                (lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX), Ok(urls))
            }
            Err(error) => (ABSENCE, Err(error)),
        };
        let until = Instant::now() + lifetime;
        known.insert(Answer { until, found }).found.clone()
    }

    /// What was found led to no link: the next call looks anew.
    pub(super) fn forget(&mut self, way: Way) {
        self.found[way as usize] = None;
    }
}

#[cfg(test)]
mod tests;
