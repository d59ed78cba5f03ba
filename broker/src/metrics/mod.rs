//! The message server's instruments: what each counts, and its name, labels and help as Prometheus shows them.
//!
//! Every series a message can touch is made at the start and held by handle, so counting is one atomic addition: no
//! look-up, no lock, no allocation. What can be read off when somebody asks is read off then ([`Seen`]).

pub(crate) mod label;

use std::time::Duration;

use irsp_protocol::Status;
use irsp_protocol::presence::Connectivity;
use irsp_protocol::status::REGISTRY;
use irsp_session::{DropCause, ProtocolError, QoS};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use self::label::Label;
use self::label::{Counters, Gauges, Pairs, label};

/// Bounds of the histogram of enforcement, seconds.
const ENFORCEMENT_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0,
];

label! {
    /// The listener a client comes in by: the setting's name.
    Listener = "listener" {
        Tcp = "mqtt.tcp",
        Tls = "mqtt.tls",
        Ws = "mqtt.ws",
        Wss = "mqtt.wss",
    }
}

label! {
    /// Why a socket came to no session.
    Refusal = "reason" {
        /// A limit, counted under its name too.
        Limit = "limit",
        /// TLS or WebSocket failed, or the client went before its CONNECT was whole.
        NoConnect = "no-connect",
        /// The client's certificate has expired, is revoked or of an authority that is not believed.
        Certificate = "certificate",
        /// A load balancer's connection did not begin with a PROXY header.
        Proxy = "proxy",
        /// What came was no CONNECT this server takes.
        Malformed = "malformed",
        Login = "login",
        /// The client may not publish its will.
        Will = "will",
        /// A server of the domain found no room on the bus.
        Bus = "bus",
        /// A later connection of the same session came first, or the server stopped.
        Overtaken = "overtaken",
    }
}

label! {
    /// A limit that has refused something: the setting's name.
    Limit = "limit" {
        ConnectionsMax = "mqtt.connections_max",
        ConnectionsPerAddressMax = "mqtt.connections_per_address_max",
        ConnectionsPerPrincipalMax = "mqtt.connections_per_principal_max",
        ConnectionRateMax = "mqtt.connection_rate_max",
        ConnectTimeout = "mqtt.connect_timeout",
        /// A failed login was answered late.
        LoginDelay = "mqtt.login_delay",
        /// A client that took nothing of what waited for it was cut.
        WriteTimeout = "mqtt.write_timeout",
        PacketSizeMax = "mqtt.packet_size_max",
        ReceiveMax = "mqtt.receive_max",
        TopicAliasMax = "mqtt.topic_alias_max",
        /// An observer at QoS 1 or 2 that could not follow was disconnected.
        QueueMessagesMax = "mqtt.queue_messages_max",
        /// A principal that published too fast was held back.
        PublishRateMax = "mqtt.publish_rate_max",
        /// A live publish was refused after its publisher had been held back.
        StallTimeout = "mqtt.stall_timeout",
        SubscriptionsMax = "mqtt.subscriptions_max",
        FilterBytesMax = "mqtt.filter_bytes_max",
        FilterLevelsMax = "mqtt.filter_levels_max",
        RetainedMax = "mqtt.retained_max",
    }
}

label! {
    /// What a topic is for (docs/profile.md, client contract).
    Class = "class" {
        Up = "up",
        Down = "down",
        Ack = "ack",
        Status = "status",
        Presence = "presence",
        Live = "live",
        To = "to",
        /// What attached applications receive.
        In = "in",
        /// No topic of the contract.
        Other = "other",
    }
}

label! {
    /// The quality of service of a publish, or of a delivery.
    Quality = "qos" {
        Zero = "0",
        One = "1",
        Two = "2",
    }
}

label! {
    /// Why a delivery did not reach its client.
    Dropped = "cause" {
        /// QoS 0, and the session's queue was full.
        Qos0Full = "qos0-queue-full",
        /// QoS 0, and the session was away.
        Qos0Away = "qos0-away",
        /// QoS 1 or 2 for a session that was away and whose queue was full.
        AwayFull = "away-queue-full",
        /// QoS 1 or 2 for a session that could not follow, and whose connection ends.
        Overrun = "overrun",
        /// Larger than the client takes.
        TooLarge = "too-large",
        Expired = "expired",
        /// The queue of the connection itself was full.
        ConnectionFull = "connection-queue-full",
    }
}

label! {
    /// What came of other certificates, authorities or revocation lists.
    Reloaded = "result" {
        Done = "done",
        /// Those before go on.
        Failed = "failed",
    }
}

label! {
    /// Whether a session has a connection.
    SessionState = "state" {
        Connected = "connected",
        Away = "away",
    }
}

label! {
    /// What a presence has changed to.
    PresenceState = "state" {
        Online = "online",
        Offline = "offline",
        Unknown = "unknown",
    }
}

impl Class {
    /// By the word that stands behind the owner: `v1/dev/lamp-1/up/...`.
    pub(crate) fn of(topic: &str) -> Class {
        let mut levels = topic.as_bytes().split(|byte| *byte == b'/');
        match levels.nth(3).unwrap_or_default() {
            // A structured CloudEvent is an upload like any other.
            b"ce" => Class::Up,
            word => Class::ALL
                .iter()
                .copied()
                .find(|class| class.word().as_bytes() == word)
                .unwrap_or(Class::Other),
        }
    }
}

impl From<QoS> for Quality {
    fn from(qos: QoS) -> Quality {
        match qos {
            QoS::AtMostOnce => Quality::Zero,
            QoS::AtLeastOnce => Quality::One,
            QoS::ExactlyOnce => Quality::Two,
        }
    }
}

impl From<Connectivity> for PresenceState {
    fn from(state: Connectivity) -> PresenceState {
        match state {
            Connectivity::Online => PresenceState::Online,
            Connectivity::Offline => PresenceState::Offline,
            Connectivity::Unknown => PresenceState::Unknown,
        }
    }
}

impl From<DropCause> for Dropped {
    fn from(cause: DropCause) -> Dropped {
        match cause {
            DropCause::TooLarge => Dropped::TooLarge,
            DropCause::Expired => Dropped::Expired,
            DropCause::QueueFull => Dropped::ConnectionFull,
            DropCause::NotConnected => Dropped::Qos0Away,
        }
    }
}

impl Limit {
    /// The limit a client broke by what it sent.
    pub(crate) fn broken_by(error: &ProtocolError) -> Option<Limit> {
        match error {
            ProtocolError::PacketTooLarge { .. } => Some(Limit::PacketSizeMax),
            ProtocolError::ReceiveMaximumExceeded => Some(Limit::ReceiveMax),
            ProtocolError::TopicAliasInvalid(_) => Some(Limit::TopicAliasMax),
            ProtocolError::Malformed(_)
            | ProtocolError::Violation(_)
            | ProtocolError::NotConnect
            | ProtocolError::NotMqtt
            | ProtocolError::UnsupportedVersion(_)
            | ProtocolError::ClientIdRejected
            | ProtocolError::BadAuthenticationMethod
            | ProtocolError::TopicNameInvalid
            | ProtocolError::TopicFilterInvalid
            | ProtocolError::PayloadFormatInvalid
            | ProtocolError::PeerLimitTooSmall => None,
        }
    }
}

/// One counter for each refusing code of the registry.
#[derive(Debug)]
pub(crate) struct ByCode(Vec<(Status, Counter)>);

impl ByCode {
    pub(crate) fn register(registry: &mut Registry, name: &str, help: &str) -> ByCode {
        let family: Family<[(&'static str, u16); 1], Counter> = Family::default();
        let refusals = REGISTRY
            .iter()
            .map(|entry| entry.status)
            .filter(|status| status.is_error());
        let row = refusals
            .map(|status| (status, family.get_or_create_owned(&[("code", status.code())])))
            .collect();
        registry.register(name, help, family.clone());
        ByCode(row)
    }

    pub(crate) fn inc(&self, status: Status) {
        if let Some((_, counter)) = self.0.iter().find(|(code, _)| *code == status) {
            counter.inc();
        }
    }
}

/// What the message server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauges<Listener>,
    pub(crate) accepted: Counters<Listener>,
    pub(crate) refused: Counters<Refusal>,
    pub(crate) limits: Counters<Limit>,
    pub(crate) reloads: Counters<Reloaded>,
    pub(crate) logins: Counter,
    pub(crate) logins_refused: ByCode,
    pub(crate) refusals_unwritten: Counter,
    pub(crate) publishes: Pairs<Class, Quality>,
    pub(crate) publishes_refused: ByCode,
    pub(crate) filters_refused: ByCode,
    pub(crate) stalls: Counter,
    pub(crate) deliveries: Pairs<Class, Quality>,
    pub(crate) dropped: Counters<Dropped>,
    pub(crate) presence_changes: Counters<PresenceState>,
    pub(crate) bus_port_lost: Counter,
    pub(crate) enforcement: Histogram,
    pub(crate) last_delivery: Histogram,
    pub(crate) seen: Seen,
}

/// What is read off when somebody asks.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) sessions: Gauges<SessionState>,
    pub(crate) queued_messages: Gauge,
    pub(crate) stored_messages: Gauge,
    pub(crate) stored_bytes: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) retained: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let r = registry;
        Metrics {
            connections: Gauges::register(r, "irsp_edge_connections", "Sockets open now"),
            accepted: Counters::register(r, "irsp_edge_accepted", "Sockets accepted"),
            refused: Counters::register(
                r,
                "irsp_edge_refused",
                "Sockets that came to no session, by reason",
            ),
            limits: Counters::register(
                r,
                "irsp_edge_limit_refusals",
                "What a limit has refused, ended or held back, by the setting's name",
            ),
            reloads: Counters::register(
                r,
                "irsp_edge_tls_reloads",
                "Other certificates, authorities or revocation lists found in the files, by result",
            ),
            logins: counter(r, "irsp_edge_logins", "Logins that led to a session"),
            logins_refused: ByCode::register(r, "irsp_edge_logins_refused", "Logins refused, by code"),
            refusals_unwritten: counter(
                r,
                "irsp_edge_refusals_unwritten",
                "Refused logins that the audit log counts without a line of their own",
            ),
            publishes: Pairs::register(r, "irsp_edge_publishes", "Publishes taken from clients"),
            publishes_refused: ByCode::register(
                r,
                "irsp_edge_publishes_refused",
                "Publishes refused, by code",
            ),
            filters_refused: ByCode::register(
                r,
                "irsp_edge_filters_refused",
                "Filters of subscriptions refused, by code",
            ),
            stalls: counter(
                r,
                "irsp_edge_stalls",
                "Live publishes whose publisher was held back for a slow subscriber",
            ),
            deliveries: Pairs::register(
                r,
                "irsp_topics_deliveries",
                "Messages put into sessions' queues, one for each session",
            ),
            dropped: Counters::register(
                r,
                "irsp_topics_dropped",
                "Deliveries that did not reach their client, by cause",
            ),
            presence_changes: Counters::register(r, "irsp_presence_changes", "Presence changes stored"),
            bus_port_lost: counter(
                r,
                "irsp_bus_port_frames_lost",
                "Frames to or from a role that runs apart, dropped for want of room; they are sent again",
            ),
            enforcement: histogram(
                r,
                "irsp_directory_enforcement_seconds",
                "From the account server's commit of a change to its force at this server",
            ),
            last_delivery: histogram(
                r,
                "irsp_edge_last_delivery_seconds",
                "From the account server's commit of a change to the last delivery to a session that it ends or narrows",
            ),
            seen: Seen::new(r),
        }
    }

    /// What a client sent was refused for the protocol; counted where a limit is the reason.
    pub(crate) fn broke(&self, error: &ProtocolError) {
        if let Some(limit) = Limit::broken_by(error) {
            self.limit(limit);
        }
    }

    /// A client has not shown who it is.
    pub(crate) fn login_refused(&self, status: Status) {
        self.logins_refused.inc(status);
        self.refused.of(Refusal::Login).inc();
    }

    /// A socket came to no session because of a limit.
    pub(crate) fn turned_away(&self, limit: Limit) {
        self.limit(limit);
        self.refused.of(Refusal::Limit).inc();
    }

    /// A limit has refused something.
    pub(crate) fn limit(&self, limit: Limit) {
        self.limits.of(limit).inc();
    }

    /// A socket has been accepted and is open until the guard is dropped.
    pub(crate) fn opened(&self, listener: Listener) -> Open {
        self.accepted.of(listener).inc();
        let open = self.connections.of(listener).clone();
        open.inc();
        Open(open)
    }

    /// A change that was stored `ago` is in force now.
    pub(crate) fn enforced(&self, ago: Duration) {
        self.enforcement.observe(ago.as_secs_f64());
    }
}

impl Seen {
    fn new(r: &mut Registry) -> Seen {
        Seen {
            sessions: Gauges::register(r, "irsp_edge_sessions", "Sessions there are now"),
            queued_messages: gauge(
                r,
                "irsp_edge_queued_messages",
                "Messages that wait in memory for their sessions' clients",
            ),
            stored_messages: gauge(
                r,
                "irsp_edge_stored_messages",
                "Messages that wait on disk for durable sessions",
            ),
            stored_bytes: gauge(
                r,
                "irsp_edge_stored_bytes",
                "Bytes that wait on disk for durable sessions",
            ),
            subscriptions: gauge(r, "irsp_topics_subscriptions", "Subscriptions of all sessions"),
            retained: gauge(
                r,
                "irsp_topics_retained",
                "Retained messages, presences among them",
            ),
        }
    }
}

/// An open socket; dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(crate) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

pub(crate) fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(ENFORCEMENT_SECONDS);
    registry.register(name, help, histogram.clone());
    histogram
}
