//! The message server's settings, given by value at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use irsp_protocol::{Domain, Expiry};

use crate::sessions::keeper::Totals;
use crate::sessions::kept::Bounds;

/// Everything the message server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub domain: Domain,
    /// Holds `message.db` and `hash.key`.
    pub data_dir: PathBuf,
    pub listeners: Listeners,
    pub federation: Federation,
    pub limits: Limits,
    /// How long after a start a principal that was online stays so without having come back.
    pub presence_grace: Duration,
    /// How long an upload or push may wait for its end.
    pub message_expiry: Expiry,
    pub courier: irsp_courier::Settings,
}

/// Where clients connect; `None` is off.
#[derive(Clone, Debug)]
pub struct Listeners {
    pub tcp: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub wss: Option<SocketAddr>,
    /// Load balancers in front of the listeners: what comes from them begins with a PROXY header of version 2.
    pub proxies: Vec<IpNet>,
    /// Path of the WebSocket endpoint.
    pub ws_path: String,
    /// PEM files; needed when `tls` or `wss` is on.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// PEM file of the authorities whose certificates of this domain's servers are believed.
    pub server_authorities: PathBuf,
    /// PEM file of those whose certificates devices may register; those of servers unless given.
    pub client_authorities: Option<PathBuf>,
    /// PEM file of the revocation lists of either.
    pub revoked: Option<PathBuf>,
}

/// Links to other domains.
#[derive(Clone, Debug)]
pub struct Federation {
    /// Where other domains' message servers dial; `None` is off. Peers may be dialled all the same.
    pub listen: Option<SocketAddr>,
    /// PEM files: what this domain shows to others, as the one that dials and as the one that is dialled. Read when a
    /// link is made.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub discovery: Discovery,
    /// Largest payload of a push or message that is taken from another domain, bytes. Of an upload it is that of a packet.
    pub push_size_max: u32,
}

/// Where a peer is looked for that is not reached where its operator said.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// In the DNS: `_irsp._tcp.{domain}`.
    pub srv: bool,
    /// In the document at `https://{domain}/.well-known/irsp`.
    pub well_known: bool,
    /// The name server that is asked; those of the system unless given.
    pub resolver: Option<SocketAddr>,
    /// PEM file of authorities whose web servers are believed beside the system's.
    pub authorities: Option<PathBuf>,
    /// Where web servers listen; 443 unless given.
    pub web_port: Option<u16>,
}

/// Limits of the edge.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, over all listeners.
    pub connections_max: usize,
    /// Connections at once from one address (IPv6: one /64).
    pub connections_per_address_max: usize,
    /// Connections at once of one principal.
    pub connections_per_principal_max: usize,
    /// Connections a second from one address.
    pub connection_rate_max: u32,
    /// Failed logins of one address as one principal that are answered at once.
    pub login_failures_free: u32,
    /// How late the next is answered; it doubles with each.
    pub login_delay: Duration,
    /// The latest answer to a failed login.
    pub login_delay_max: Duration,
    /// Publishes a second of one principal, over all its connections; above it nothing more is read from it for a while.
    pub publish_rate_max: u32,
    /// From the accepted socket to the end of CONNECT, TLS and WebSocket included.
    pub connect_timeout: Duration,
    /// Largest packet a client may send, bytes.
    pub packet_size_max: u32,
    /// Unacknowledged publishes a client may have under way.
    pub receive_max: u16,
    /// Unacknowledged publishes the server has under way to a client.
    pub inflight_max: u16,
    pub topic_alias_max: u16,
    pub keep_alive_max: Duration,
    pub session_expiry_max: Duration,
    /// Messages waiting for one session before its publishers are slowed or refused.
    pub queue_messages_max: usize,
    /// Bytes waiting for one durable session before its publishers are slowed or refused.
    pub queue_bytes_max: u64,
    /// Messages and bytes that all durable sessions have waiting on disk; above it publishes for them are refused.
    pub stored_messages_max: u64,
    pub stored_bytes_max: u64,
    pub subscriptions_max: usize,
    /// Bytes of a filter, without its `$share/{group}/`.
    pub filter_bytes_max: usize,
    /// Levels of a filter.
    pub filter_levels_max: usize,
    /// Retained messages in all.
    pub retained_max: usize,
    /// Bytes of them.
    pub retained_bytes_max: u64,
    /// How long a client may take nothing of what waits for it before its connection is cut.
    pub write_timeout: Duration,
    /// How long a publisher is held back for a slow subscriber before it is refused.
    pub stall_timeout: Duration,
}

impl Limits {
    pub(crate) fn queue_bounds(&self) -> Bounds {
        Bounds {
            messages_max: self.queue_messages_max as u64,
            bytes_max: self.queue_bytes_max,
        }
    }

    pub(crate) fn retained_bounds(&self) -> Bounds {
        Bounds {
            messages_max: self.retained_max as u64,
            bytes_max: self.retained_bytes_max,
        }
    }

    pub(crate) fn stored_totals(&self) -> Totals {
        Totals {
            messages_max: self.stored_messages_max,
            bytes_max: self.stored_bytes_max,
        }
    }
}
