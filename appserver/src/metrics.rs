//! The application server's instruments: what each counts, and its name, labels and help as Prometheus shows them.

use irsp_protocol::{MessageKind, Status};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Word = [(&'static str, &'static str); 1];

/// What the application server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    uploads_stored: Counter,
    uploads_refused: Counter,
    messages_stored: Counter,
    messages_refused: Counter,
    presences: Counter,
    pub(crate) streams: Gauge,
    pub(crate) streams_max: Counter,
    pub(crate) push_size_max: Counter,
    pub(crate) external_rate_max: Counter,
    /// By the status a delivered message ended with, or `retried`.
    deliveries: Family<Word, Counter>,
    external_requests: Gauge,
    external_senders: Gauge,
    /// By how their breakers stand.
    endpoints: Family<Word, Gauge>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let limits: Family<Word, Counter> = Family::default();
        let limit = |name| limits.get_or_create_owned(&[("limit", name)]);
        let metrics = Metrics {
            uploads_stored: Counter::default(),
            uploads_refused: Counter::default(),
            messages_stored: Counter::default(),
            messages_refused: Counter::default(),
            presences: Counter::default(),
            streams: Gauge::default(),
            streams_max: limit("appserver.streams_max"),
            push_size_max: limit("appserver.push_size_max"),
            external_rate_max: limit("external.rate_max"),
            deliveries: Family::default(),
            external_requests: Gauge::default(),
            external_senders: Gauge::default(),
            endpoints: Family::default(),
        };
        for (name, help, counter) in [
            (
                "irsp_app_uploads_stored",
                "Uploads stored, each once",
                &metrics.uploads_stored,
            ),
            (
                "irsp_app_uploads_refused",
                "Uploads this server refused after the message server had accepted them",
                &metrics.uploads_refused,
            ),
            (
                "irsp_app_messages_stored",
                "Messages between applications stored, each once",
                &metrics.messages_stored,
            ),
            (
                "irsp_app_messages_refused",
                "Messages between applications this server refused after the message server had accepted them",
                &metrics.messages_refused,
            ),
            (
                "irsp_app_presences",
                "Presence news taken in, stale ones among them",
                &metrics.presences,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "irsp_app_streams",
            "Live HTTP streams open now",
            metrics.streams.clone(),
        );
        registry.register(
            "irsp_app_external_requests",
            "Requests to endpoints of external applications under way",
            metrics.external_requests.clone(),
        );
        registry.register(
            "irsp_app_external_senders",
            "Senders with something waiting for an endpoint",
            metrics.external_senders.clone(),
        );
        registry.register(
            "irsp_app_external_deliveries",
            "Tries to deliver to an endpoint, by the name of the status the message ended with, or retried",
            metrics.deliveries.clone(),
        );
        // The two that are there from the start, so that their rates can be drawn before the first one.
        for outcome in [Status::DONE.name(), "retried"] {
            metrics.deliveries.get_or_create_owned(&[("outcome", outcome)]);
        }
        registry.register(
            "irsp_app_external_endpoints",
            "Endpoints, by how their circuit breakers stand",
            metrics.endpoints.clone(),
        );
        registry.register(
            "irsp_app_limit_refusals",
            "What a limit has refused, by the setting's name",
            limits,
        );
        metrics
    }

    /// An envelope came to its end here, on disk.
    pub(crate) fn took(&self, kind: MessageKind, status: Status) {
        let counter = match (kind, status.is_error()) {
            (MessageKind::Upload, false) => &self.uploads_stored,
            (MessageKind::Upload, true) => &self.uploads_refused,
            (MessageKind::Presence, false) => &self.presences,
            (MessageKind::Message, false) => &self.messages_stored,
            (MessageKind::Message, true) => &self.messages_refused,
            (MessageKind::Presence, true)
            | (MessageKind::Push | MessageKind::Status | MessageKind::Directory, _) => return,
        };
        counter.inc();
    }

    /// A try to deliver has ended its message, or left it for another.
    pub(crate) fn delivered(&self, ended: Option<Status>) {
        let outcome = ended.map_or("retried", Status::name);
        self.deliveries.get_or_create_owned(&[("outcome", outcome)]).inc();
    }

    /// How the gateway to external applications stands.
    pub(crate) fn gateway(&self, requests: usize, senders: usize, standings: [(&'static str, usize); 3]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.external_requests.set(number(requests));
        self.external_senders.set(number(senders));
        for (standing, count) in standings {
            self.endpoints
                .get_or_create_owned(&[("breaker", standing)])
                .set(number(count));
        }
    }
}
