//! Every key, its default, and why the default is what it is.
//!
//! The reasons are also the comments of `config/irsp.toml`: a test keeps the two the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::networks::Networks;
use crate::section::section;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Loopback: nothing is reachable from outside until somebody says so.
const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

section! {
    /// Settings of the IRSP platform. Every key has the default shown here, so an empty file is a good file.
    /// The same keys can be given as IRSP_SECTION__KEY in the environment or as --set section.key=value.
    pub struct Settings {
        /// The name of this domain, like a host. It stands in addresses (dev/lamp-1@home.example) and certificates;
        /// changing it later makes every address that others have stored a foreign one.
        pub domain: String = "home.example".to_owned(),
        /// Where databases, certificates and secrets are kept. Relative to where irsp is started.
        pub data_dir: PathBuf = "./irsp-data".into(),
        /// MQTT for devices, users and applications.
        pub mqtt: Mqtt = Mqtt::default(),
        /// Certificates.
        pub tls: Tls = Tls::default(),
        /// HTTP when every role runs in one process.
        pub http: Http = Http::default(),
        /// The message server when it runs apart.
        pub broker: Broker = Broker::default(),
        /// The account server.
        pub account: Account = Account::default(),
        /// The application server.
        pub appserver: AppServer = AppServer::default(),
        /// Third parties' HTTP services.
        pub external: External = External::default(),
        /// Links to other domains.
        pub federation: Federation = Federation::default(),
        /// How a role that runs apart finds the message server.
        pub bus: Bus = Bus::default(),
        /// Durable messages.
        pub courier: Courier = Courier::default(),
        /// Metrics.
        pub metrics: Metrics = Metrics::default(),
        /// Logs.
        pub log: Log = Log::default(),
        /// Stopping.
        pub stop: Stop = Stop::default(),
    }
}

section! {
    /// The MQTT edge of the message server, for 3.1.1 and 5.0 alike.
    pub struct Mqtt {
        /// Plain TCP; "" turns it off. Loopback, because codes and keys travel in clear here.
        #[serde(with = "crate::address::or_off")]
        pub tcp: Option<SocketAddr> = Some(loopback(1883)),
        /// TLS; "" turns it off. Roles that run apart come in here too.
        #[serde(with = "crate::address::or_off")]
        pub tls: Option<SocketAddr> = Some(loopback(8883)),
        /// WebSocket, for browsers; "" turns it off.
        #[serde(with = "crate::address::or_off")]
        pub ws: Option<SocketAddr> = Some(loopback(8083)),
        /// WebSocket over TLS; "" turns it off. Off, because a browser does not trust the development CA.
        #[serde(with = "crate::address::or_off")]
        pub wss: Option<SocketAddr> = None,
        /// The path of the WebSocket endpoint. What most clients have as their default.
        pub ws_path: String = "/mqtt".to_owned(),
        /// The load balancers in front of these listeners, such as "10.0.0.7, 192.168.0.0/16". Each connection of theirs
        /// has to begin with a PROXY protocol header of version 2, and its client counts for limits, audit and logs.
        /// Nobody else may send one: it says who one is.
        pub proxies: Networks = Networks::default(),
        /// From accepting a socket to its complete CONNECT, TLS included. Long enough for a phone on a bad line,
        /// short enough that silent sockets cost little.
        #[serde(with = "crate::duration")]
        pub connect_timeout: Duration = SECOND.saturating_mul(10),
        /// Bytes of the largest packet a client may send. One mebibyte holds any sensor's upload, and a
        /// hundred clients at the limit still fit in memory.
        pub packet_size_max: u32 = 1_048_576,
        /// QoS 1 and 2 messages a client may have unanswered. Covers a group commit without letting one
        /// client fill the writer's queue.
        pub receive_max: u16 = 256,
        /// The longest keep-alive; a client that asks for more, or for none, gets this (3.1.1: is held to it).
        /// A dead peer is never believed online for longer than 1.5 times this. 18h is MQTT's own maximum.
        #[serde(with = "crate::duration")]
        pub keep_alive_max: Duration = HOUR.saturating_mul(18),
        /// How long a session outlives its connection at most. A week covers a holiday.
        #[serde(with = "crate::duration")]
        pub session_expiry_max: Duration = DAY.saturating_mul(7),
        /// Connections at once. Above it a newcomer is refused once it has said CONNECT; each costs a file descriptor.
        pub connections_max: u32 = 100_000,
        /// Connections at once from one address (IPv6: one /64). Half of all, because a proxy or a carrier puts many
        /// clients behind one address, and yet one address never takes the place of all others.
        pub connections_per_address_max: u32 = 50_000,
        /// Connections at once of one user or application. A fifth of all: enough for every worker of a large application.
        pub connections_per_principal_max: u32 = 20_000,
        /// Connections a second from one address, as many at once. Above what one machine can log in; lower it where
        /// addresses are people.
        pub connection_rate_max: u32 = 50_000,
        /// Publishes a second of one principal over all its connections, as many at once. Above it nothing more is read
        /// from it until it is within its rate again. More than one core takes; lower it where principals are strangers.
        pub publish_rate_max: u32 = 1_000_000,
        /// Failed logins from one address as one principal that are answered at once. People mistype, and a device may be
        /// provisioned twice.
        pub login_failures_free: u32 = 5,
        /// How late the answer to the next failed login is; it doubles with each. A right login is never delayed, so
        /// nobody is locked out. "0s" delays none.
        #[serde(with = "crate::duration")]
        pub login_delay: Duration = Duration::from_millis(100),
        /// The latest answer. Common clients give up on CONNACK after 5 s, and this one is to hear why.
        #[serde(with = "crate::duration")]
        pub login_delay_max: Duration = SECOND.saturating_mul(2),
        /// Messages held for one session that is away or slow. Above it publishers are held for one that is connected; one
        /// that is away misses what comes, and is told how much when it is back.
        pub queue_messages_max: u32 = 1_000,
        /// Bytes held for one session, on disk if it outlives its connection; whichever of the two comes first counts. A
        /// thousand messages of 16 KiB, and what its client's return costs in memory.
        pub queue_bytes_max: u32 = 16_777_216,
        /// Messages held on disk for all sessions that outlive their connections. Above it publishes for them are refused.
        /// Ten for each of 100,000 devices; the start counts them in seconds.
        pub stored_messages_max: u32 = 1_000_000,
        /// Bytes of the same. Small beside any disk, so that forgotten clients do not fill it.
        pub stored_bytes_max: u64 = 1_073_741_824,
        /// After a restart of the server, how long clients may take to come back before they count as offline.
        /// Covers the usual reconnect back-off, so that a restart makes no false offline/online pair.
        #[serde(with = "crate::duration")]
        pub presence_grace: Duration = SECOND.saturating_mul(30),
        /// QoS 1 and 2 messages on their way to one client; a client may ask for fewer. Hides a second of round trip
        /// at 64 messages a second, and is what a slow client costs in memory.
        pub inflight_max: u16 = 64,
        /// How long a publisher is held back for a subscriber that cannot follow before it is refused; one that takes
        /// nothing at all meanwhile is disconnected, and the publisher goes on. Below the shortest keep-alive in use, so that
        /// waiting is not taken for being gone.
        #[serde(with = "crate::duration")]
        pub stall_timeout: Duration = SECOND.saturating_mul(5),
        /// How long a client may take nothing of what waits for it before its connection is cut. Longer than a phone is
        /// without network in a tunnel, and whoever reads however slowly stays.
        #[serde(with = "crate::duration")]
        pub write_timeout: Duration = SECOND.saturating_mul(30),
        /// Retained messages in all. One per device and a few per application, with room.
        pub retained_max: u32 = 1_000_000,
        /// Bytes of them, topics included: they are in memory, and on disk to survive a restart.
        pub retained_bytes_max: u64 = 268_435_456,
        /// Topic aliases per connection, in each direction. Enough for a device's own topics; each is a table row.
        pub topic_alias_max: u16 = 16,
        /// Bytes of a filter. What the longest topic of the platform has.
        pub filter_bytes_max: u32 = 1_024,
        /// Levels of a filter. What the deepest topic of the platform has.
        pub filter_levels_max: u32 = 24,
        /// Subscriptions per session. Far above what an application needs, far below what hurts the index.
        pub subscriptions_max: u32 = 100,
    }
}

section! {
    /// Certificates, PEM. Empty means the development certificates in the data directory's pki/ folder,
    /// which irsp makes and renews itself; a file named here is only read.
    pub struct Tls {
        /// What client certificates of roles are checked against, and what roles trust.
        #[serde(with = "crate::path")]
        pub ca: Option<PathBuf> = None,
        /// The server certificate and its chain.
        #[serde(with = "crate::path")]
        pub cert: Option<PathBuf> = None,
        /// The private key of the server certificate.
        #[serde(with = "crate::path")]
        pub key: Option<PathBuf> = None,
        /// The authorities that sign the certificates of devices, one file for all. Empty means those of tls.ca. A
        /// certificate opens nothing until it is registered for a device.
        #[serde(with = "crate::path")]
        pub client_ca: Option<PathBuf> = None,
        /// The authorities' revocation lists, one file for all; empty revokes nothing. All files of this section are
        /// read again when they change, and on SIGHUP; connections go on.
        #[serde(with = "crate::path")]
        pub client_crl: Option<PathBuf> = None,
    }
}

section! {
    /// HTTP of `irsp up`: every role's API on one address.
    pub struct Http {
        /// Loopback, because the admin token travels in clear here: put a TLS proxy in front before opening it.
        #[serde(with = "crate::address")]
        pub listen: SocketAddr = loopback(8080),
        /// The proxies in front of any role's HTTP, such as "10.0.0.7, 192.168.0.0/16". Only their X-Forwarded-For is
        /// believed, for the audit log and the limits on logins: anybody can write that header.
        pub proxies: Networks = Networks::default(),
    }
}

section! {
    /// The message server when it runs apart (`irsp broker`).
    pub struct Broker {
        /// Its HTTP: health only.
        #[serde(with = "crate::address")]
        pub listen: SocketAddr = loopback(8082),
    }
}

section! {
    /// The account server.
    pub struct Account {
        /// Its HTTP when it runs apart (`irsp account`).
        #[serde(with = "crate::address")]
        pub listen: SocketAddr = loopback(8080),
        /// How long a user's token is good. Short, because the message server checks it without asking anybody.
        #[serde(with = "crate::duration")]
        pub token_lifetime: Duration = HOUR,
        /// How long a login goes on without its refresh token being used. A month, as phone apps expect.
        #[serde(with = "crate::duration")]
        pub refresh_lifetime: Duration = DAY.saturating_mul(30),
        /// How long a code that resets a user's password is good: a day, until its user has it and reads it.
        #[serde(with = "crate::duration")]
        pub reset_lifetime: Duration = DAY,
        /// Whether a reset of a device's verification code also ends its bindings, where the request does not say. No:
        /// a code that leaked is replaced more often than a device changes hands.
        pub reset_unbinds: bool = false,
        /// How long an HTTP answer waits for the other servers to say that a change is in effect.
        /// After it the answer says "not yet in effect" and the change still arrives.
        #[serde(with = "crate::duration")]
        pub effect_wait: Duration = SECOND.saturating_mul(5),
        /// How long lines of the audit log are kept; "0s" keeps them for ever. A year, as most rules ask for.
        #[serde(with = "crate::duration")]
        pub audit_retention: Duration = DAY.saturating_mul(365),
        /// How long a change that every server has answered can be looked up as an operation. A month: who waits for
        /// one does so for seconds.
        #[serde(with = "crate::duration")]
        pub operation_retention: Duration = DAY.saturating_mul(30),
    }
}

section! {
    /// The application server.
    pub struct AppServer {
        /// Its HTTP when it runs apart (`irsp appserver`).
        #[serde(with = "crate::address")]
        pub listen: SocketAddr = loopback(8081),
        /// How long uploads are kept; "0s" keeps them for ever, because what was accepted is not thrown away unasked.
        #[serde(with = "crate::duration")]
        pub uploads_age_max: Duration = Duration::ZERO,
        /// How many uploads are kept, the newest; 0 keeps all.
        pub uploads_max: u64 = 0,
        /// Bytes of the largest push. With topic and properties it still fits a packet of one mebibyte.
        pub push_size_max: u32 = 1_000_000,
        /// The longest a caller may wait for a device's answer: it holds a connection all that time.
        #[serde(with = "crate::duration")]
        pub push_wait_max: Duration = SECOND.saturating_mul(60),
        /// Live HTTP streams at once; each holds a socket and a place in the feed.
        pub streams_max: u32 = 4_096,
    }
}

section! {
    /// External applications: third parties' HTTP services, which the application server calls and which call it.
    pub struct External {
        /// Networks, such as "10.1.0.7, 192.168.0.0/16", in which an endpoint may be although they are private. None: otherwise whoever
        /// registers an endpoint could reach what stands behind this server. Only there http:// is allowed.
        pub addresses_allowed: Networks = Networks::default(),
        /// Authorities (PEM) that endpoints' certificates may have beside those of the system; "" has none.
        #[serde(with = "crate::path")]
        pub ca: Option<PathBuf> = None,
        /// From the connection to the end of the answer. What takes longer is better answered 202 and done afterwards.
        #[serde(with = "crate::duration")]
        pub timeout: Duration = SECOND.saturating_mul(15),
        /// Bytes that are read of an answer's body: enough for a challenge.
        pub answer_bytes_max: u32 = 65_536,
        /// Requests under way to one endpoint, each of another sender. A slow one holds no more than these.
        pub concurrency: u32 = 16,
        /// The first wait before a delivery is tried again; it doubles.
        #[serde(with = "crate::duration")]
        pub retry_min: Duration = SECOND,
        /// The longest such wait: how late an endpoint that is back is noticed.
        #[serde(with = "crate::duration")]
        pub retry_max: Duration = SECOND.saturating_mul(300),
        /// How often one message is tried before it is a dead letter. With these waits six hours; many expire before.
        pub attempts_max: u32 = 100,
        /// Senders whose deliveries must fail in a row before an endpoint is left alone. More than one, because one
        /// device's uploads may be the trouble.
        pub breaker_failures: u32 = 5,
        /// For how long it is left alone the first time; it doubles.
        #[serde(with = "crate::duration")]
        pub breaker_min: Duration = SECOND.saturating_mul(2),
        /// The longest time it is left alone.
        #[serde(with = "crate::duration")]
        pub breaker_max: Duration = SECOND.saturating_mul(60),
        /// Tries that are remembered for each endpoint, for its developer.
        pub deliveries_max: u32 = 1_000,
        /// How far the time of a signature may be from ours, before or after: clocks differ, and a request that was
        /// overheard is worthless after it.
        #[serde(with = "crate::duration")]
        pub signature_tolerance: Duration = SECOND.saturating_mul(300),
        /// Pushes and messages a second from one application through /v1/ext, and as many at once. Beyond it 429.
        pub rate_max: u32 = 1_000,
        /// Items of one batch.
        pub batch_max: u32 = 1_000,
        /// Bytes of one request to /v1/ext.
        pub request_bytes_max: u32 = 8_388_608,
    }
}

section! {
    /// Links to other domains, message server to message server. Which domains: `irsp peer add`.
    pub struct Federation {
        /// Where other domains' message servers dial; "" turns it off, and peers are only dialled. Off, because a domain
        /// that is alone needs no more doors; 7443 is what the others expect.
        #[serde(with = "crate::address::or_off")]
        pub listen: Option<SocketAddr> = None,
        /// The certificate this domain shows to others, whichever side dials: it names the domain, for client and server
        /// use. Empty means pki/peer.crt in the data directory, signed by the authority in pki/ca.crt, which is what
        /// others are to be given. A new file serves the next link.
        #[serde(with = "crate::path")]
        pub cert: Option<PathBuf> = None,
        /// Its private key.
        #[serde(with = "crate::path")]
        pub key: Option<PathBuf> = None,
        /// Whether peers are looked for in the DNS when they are not reached at an address that `irsp peer` was given:
        /// the SRV records of _irsp._tcp.{domain}. Whoever answers there still has to show the peer's certificate. Off,
        /// because a server asks nobody about its peers unless it was told to.
        pub discover_srv: bool = false,
        /// Whether they are looked for in the document at https://{domain}/.well-known/irsp after that.
        pub discover_well_known: bool = false,
        /// The name server that is asked for both, such as "127.0.0.1:53"; empty means those of this system.
        #[serde(with = "crate::address::or_off")]
        pub resolver: Option<SocketAddr> = None,
        /// PEM file of authorities whose web servers are believed beside the system's.
        #[serde(with = "crate::path")]
        pub web_ca: Option<PathBuf> = None,
        /// What others find in this domain's own document, which http.listen serves at /.well-known/irsp for the
        /// domain's web server to pass on: where this domain listens for links, such as "irsp://fed.home.example:7443";
        /// several with commas. Empty: there is no document.
        pub advertise: String = String::new(),
    }
}

section! {
    /// How a role that runs apart joins the bus: through the message server's TLS listener, with a certificate.
    pub struct Bus {
        /// The message server's TLS listener.
        pub url: String = "mqtts://127.0.0.1:8883".to_owned(),
        /// The role's client certificate; empty means pki/account.crt or pki/app.crt in the data directory.
        #[serde(with = "crate::path")]
        pub cert: Option<PathBuf> = None,
        /// Its private key.
        #[serde(with = "crate::path")]
        pub key: Option<PathBuf> = None,
    }
}

section! {
    /// The courier: what is accepted stays on disk until it has ended.
    pub struct Courier {
        /// How long a message may wait for its end when its sender does not say. A day covers a device
        /// that is off overnight.
        #[serde(with = "crate::duration")]
        pub message_expiry: Duration = DAY,
        /// The longest expiry a sender may ask for: its message holds a place in a queue all that time, and repeats
        /// of it are recognised for as long.
        #[serde(with = "crate::duration")]
        pub message_expiry_max: Duration = DAY.saturating_mul(30),
        /// How long the receipt of an ended message can be asked for, and repeats of it are recognised.
        #[serde(with = "crate::duration")]
        pub receipt_retention: Duration = DAY,
        /// How many receipts each server keeps within that time; beyond it what ended first is forgotten first. At about
        /// 700 bytes each 7 GB, and half an hour of 5,000 a second. Checked at least every 100,000 ends.
        pub receipts_max: u64 = 10_000_000,
        /// How often another server may fail at a message before it is a dead letter. With the back-off, minutes: long
        /// enough for a passing fault, short enough that an operator hears of a lasting one the same day.
        pub failures_max: u32 = 16,
        /// How long a dead letter waits for an operator before it is discarded.
        #[serde(with = "crate::duration")]
        pub dead_letter_retention: Duration = DAY.saturating_mul(30),
        /// How many envelopes from other servers are remembered, so that their repeats take no effect twice. They are
        /// forgotten a day after no sender repeats them any more (message_expiry_max), or when there are more than
        /// this: at 80 bytes each a gigabyte, and half an hour of 5,000 a second.
        pub seen_max: u64 = 10_000_000,
        /// Messages one device or user may have in flight, sent by it or waiting for it. Beyond it 429. A day of one
        /// every 10 seconds.
        pub principal_messages_max: u64 = 10_000,
        /// Their bytes. Enough for those messages at 6 kB.
        pub principal_bytes_max: u64 = 67_108_864,
        /// Messages one application may have in flight; it sends for many. Beyond it 429. Two for each of a million
        /// devices.
        pub application_messages_max: u64 = 2_000_000,
        /// Their bytes: 2 kB each.
        pub application_bytes_max: u64 = 4_294_967_296,
        /// Messages in flight in all. Beyond it 507. A few applications at their limit; counting them after a start
        /// takes seconds.
        pub messages_max: u64 = 5_000_000,
        /// Their bytes. Set it below what the disk has free, so that 507 comes before the disk is full.
        pub bytes_max: u64 = 17_179_869_184,
        /// Messages under way to another server without an answer. Fills the bus; more would overrun it.
        pub server_window: u32 = 1_024,
        /// Pushes under way to one device or user without an answer.
        pub principal_window: u32 = 64,
        /// The first wait for another server's answer before a message is sent again; it doubles.
        #[serde(with = "crate::duration")]
        pub retry_min: Duration = SECOND,
        /// The longest such wait: how late a server that is back without saying so is noticed.
        #[serde(with = "crate::duration")]
        pub retry_max: Duration = SECOND.saturating_mul(30),
    }
}

section! {
    /// Metrics and health, for Prometheus and for whoever starts and stops irsp.
    pub struct Metrics {
        /// A listener of its own for /metrics, /healthz and /readyz, open to whoever reaches it; "" has none.
        /// Without one /metrics is on the HTTP listener of the role, for callers on this machine only, because the
        /// figures tell a stranger how much goes on here.
        #[serde(with = "crate::address::or_off")]
        pub listen: Option<SocketAddr> = None,
    }
}

section! {
    /// Logs, on standard error.
    pub struct Log {
        /// error, warn, info, debug or trace, or directives such as "info,irsp_broker=debug". Connections are
        /// info, packets are trace; the embedded router speaks up only to warn.
        pub level: String = "info,rumqttd=warn".to_owned(),
        /// text for a person, json for a collector.
        pub format: LogFormat = LogFormat::Text,
    }
}

section! {
    /// Stopping on SIGTERM or Ctrl-C.
    pub struct Stop {
        /// From the signal to the end of the process: clients are told, what is under way is written. Below the
        /// 30 s after which supervisors kill.
        #[serde(with = "crate::duration")]
        pub deadline: Duration = SECOND.saturating_mul(10),
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
