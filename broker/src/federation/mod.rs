//! Links to other domains (clause 8.5): message server to message server over mutual TLS, the wire as
//! `irsp_protocol::peer_link` draws it.
//!
//! ```text
//! courier ── frames ──► link ── TLS ──► peer          link: one connection, both directions
//!         ◄── port ─── gate ◄── TLS ───              gate: a peer speaks for its own, to our own
//! dial: one task for each peer with addresses         links: who is linked, and which of two links stays
//! ```
//!
//! - `trust`: whose certificate this is; `words`: what went wrong, for operators
//! - `tls`: certificates and verifiers of both sides
//! - `gate`: what is taken from a peer, as a pure function
//! - `link`: one connection's life; `end`: why it ends
//! - `links`: which peers are linked, and which of two links stays
//! - `accept`, `dial`: how links come about; `discovery`: where a peer is
//! - `abroad`: presence told to other domains

mod abroad;
mod accept;
mod dial;
mod discovery;
pub(crate) mod end;
mod gate;
mod link;
pub(crate) mod links;
mod metrics;
mod tls;
mod trust;
mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use irsp_courier::Courier;
use irsp_directory::Directory;
use irsp_protocol::Domain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use abroad::{Abroad, abroad};
pub(crate) use accept::{Bound, bind};
pub(crate) use discovery::Discovery;
pub use discovery::DiscoveryError;
pub(crate) use metrics::Metrics;

use links::Links;
use tls::Identity;
pub use tls::IdentityError;

use crate::settings;

/// What every link of this server needs.
pub(crate) struct Federation {
    pub(crate) domain: Domain,
    pub(crate) directory: Arc<Directory>,
    pub(crate) courier: Courier,
    pub(crate) links: Arc<Links>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) discovery: Discovery,
    /// How long a message of another domain may live here.
    pub(crate) lifetime_max: Duration,
}

/// Keeps up the links to all peers, and takes those that come, until `stop`.
pub(crate) fn start(
    federation: Federation,
    bound: Option<Bound>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    let federation = Arc::new(federation);
    if bound.is_some() || !federation.directory.peers().is_empty() {
        federation.identity.announce();
    }
    if let Some(bound) = bound {
        tasks.spawn(accept::run(bound, Arc::clone(&federation), stop.clone()));
    }
    tasks.spawn(dial::run(federation, stop));
}

/// This server's own certificate for links, read anew whenever its files change.
pub(crate) fn identity(domain: &Domain, settings: &settings::Federation) -> Arc<Identity> {
    Arc::new(Identity::new(domain.clone(), settings))
}

/// Refuses a certificate of this domain that others would refuse.
pub fn check_identity(
    domain: &Domain,
    settings: &settings::Federation,
    at: SystemTime,
) -> Result<(), IdentityError> {
    Identity::new(domain.clone(), settings).check(at)
}

/// Refuses ways of looking for peers that do not serve, as the start would.
pub fn check_discovery(settings: &settings::Discovery) -> Result<(), DiscoveryError> {
    Discovery::new(settings).map(drop)
}
