//! What the links to other domains count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::trust::Untrusted;
use crate::metrics::label::{Counters, label};
use crate::metrics::{ByCode, counter, gauge};

label! {
    /// Why a connection came to no link.
    Refusal = "reason" {
        /// No certificate, or one that is not understood.
        Certificate = "certificate",
        /// It names no peer.
        Stranger = "stranger",
        Expired = "expired",
        /// Not signed by the peer's authority, or not the one with its fingerprint.
        Untrusted = "untrusted",
        Paused = "paused",
        /// Too many handshakes at once, and it was the oldest.
        Handshakes = "handshakes",
        /// TLS or the greeting was not complete in time, or was broken off.
        Incomplete = "incomplete",
        /// The greeting was not understood, or meant somebody else.
        Greeting = "greeting",
        /// No major version in common.
        Version = "version",
        /// There is a link already, and that one stays.
        Doubled = "doubled",
    }
}

label! {
    /// Why a link ended.
    Ending = "cause" {
        /// We ended it: a stop, a pause, new terms.
        Ours = "ours",
        /// The peer said goodbye.
        Goodbye = "goodbye",
        /// The connection broke.
        Lost = "lost",
        /// Nothing was heard, or nothing was taken, for too long.
        Silent = "silent",
        /// The peer broke the protocol.
        Breach = "breach",
        /// A newer or better link took its place.
        Replaced = "replaced",
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) links: Gauge,
    pub(crate) linked: Counter,
    pub(crate) ended: Counters<Ending>,
    pub(crate) refused: Counters<Refusal>,
    pub(crate) dials_failed: Counter,
    pub(crate) received: Counter,
    /// Envelopes refused at the gate: spoofed or in transit.
    pub(crate) envelopes_refused: ByCode,
    pub(crate) throttled: Counter,
}

impl Metrics {
    pub(crate) fn new(r: &mut Registry) -> Metrics {
        Metrics {
            links: gauge(r, "irsp_peer_links", "Links to other domains that are up"),
            linked: counter(r, "irsp_peer_linked", "Links made"),
            ended: Counters::register(r, "irsp_peer_links_ended", "Links ended, by cause"),
            refused: Counters::register(
                r,
                "irsp_peer_refused",
                "Connections of other domains that came to no link, by reason",
            ),
            dials_failed: counter(
                r,
                "irsp_peer_dials_failed",
                "Calls to other domains that came to no link",
            ),
            received: counter(
                r,
                "irsp_peer_envelopes_received",
                "Envelopes that other domains have sent",
            ),
            envelopes_refused: ByCode::register(
                r,
                "irsp_peer_envelopes_refused",
                "Envelopes of other domains refused before they cost anything: not of the peer's own (403), not for this \
                 domain (421)",
            ),
            throttled: counter(
                r,
                "irsp_peer_throttled",
                "Frames of other domains after which the peer had to wait for its rate_max",
            ),
        }
    }

    pub(crate) fn untrusted(&self, untrusted: Untrusted) {
        let refusal = match untrusted {
            Untrusted::Missing | Untrusted::Malformed => Refusal::Certificate,
            Untrusted::Stranger | Untrusted::Misnamed => Refusal::Stranger,
            Untrusted::Expired => Refusal::Expired,
            Untrusted::Authority | Untrusted::Fingerprint => Refusal::Untrusted,
            Untrusted::Paused => Refusal::Paused,
        };
        self.refused.of(refusal).inc();
    }
}
