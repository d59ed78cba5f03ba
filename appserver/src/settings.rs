//! What may be set of an application server. Received by value; nothing here reads a file.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use irsp_protocol::{Domain, Expiry};

pub use irsp_courier::Backoff;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds `app.db` and the domain's `hash.key`.
    pub data_dir: PathBuf,
    pub domain: Domain,
    pub uploads: Retention,
    pub push: PushLimits,
    pub external: ExternalSettings,
    /// How often the account server and the message server are asked again for what is missing.
    pub catch_up_retry: Duration,
    /// Live streams at one time; each holds a socket and a place in the feed.
    pub streams_max: usize,
    pub courier: irsp_courier::Settings,
}

impl Settings {
    /// The defaults, for a domain whose data stands in `data_dir`.
    pub fn new(data_dir: PathBuf, domain: Domain) -> Settings {
        Settings {
            data_dir,
            domain,
            uploads: Retention::default(),
            push: PushLimits::default(),
            external: ExternalSettings::default(),
            catch_up_retry: Duration::from_secs(2),
            streams_max: 4096,
            courier: irsp_courier::Settings::default(),
        }
    }
}

/// How long uploads are kept. The default keeps them all: what was accepted is not thrown away unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Uploads stored longer ago than this are removed.
    pub age: Option<Duration>,
    /// Of more uploads than this the oldest are removed.
    pub count: Option<u64>,
}

/// Limits of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushLimits {
    pub expiry: Expiry,
    /// Largest payload. With its topic and properties it still fits the message server's largest packet (1 MiB).
    pub data_bytes_max: usize,
    /// The longest `wait`: it holds a connection all that time.
    pub wait_max: Duration,
    /// How long the message server's word is waited for before a push is called queued.
    pub custody_wait: Duration,
}

impl Default for PushLimits {
    fn default() -> PushLimits {
        PushLimits {
            expiry: Expiry::default(),
            data_bytes_max: 1_000_000,
            wait_max: Duration::from_secs(60),
            custody_wait: Duration::from_secs(5),
        }
    }
}

/// How third parties' services are spoken to (clauses 7.4, 8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSettings {
    /// Networks an endpoint may be in although they are not public; only there it may do without TLS.
    pub addresses_allowed: Vec<IpNet>,
    /// Authorities beside the system's, as PEM.
    pub ca: Option<PathBuf>,
    /// From the connection to the end of the answer.
    pub timeout: Duration,
    /// What is read of an answer's body.
    pub answer_bytes_max: usize,
    /// Requests under way to one endpoint.
    pub concurrency: usize,
    /// Between two tries of one message.
    pub retry: Backoff,
    /// How often one message is tried before it is a dead letter.
    pub attempts_max: u32,
    /// Senders whose messages fail, without a success between them, before an endpoint is left alone.
    pub breaker_failures: usize,
    /// For how long it is left alone.
    pub breaker: Backoff,
    /// Tries remembered for each endpoint.
    pub deliveries_max: u32,
    /// How far a signature's time may be from ours.
    pub signature_tolerance: Duration,
    /// Pushes and messages a second from one application through `/v1/ext`.
    pub rate_max: u32,
    /// Items of one batch.
    pub batch_max: usize,
    /// Bytes of one request to `/v1/ext`.
    pub request_bytes_max: usize,
}

impl Default for ExternalSettings {
    fn default() -> ExternalSettings {
        ExternalSettings {
            addresses_allowed: Vec::new(),
            ca: None,
            timeout: Duration::from_secs(15),
            answer_bytes_max: 64 << 10,
            concurrency: 16,
            retry: Backoff {
                min: Duration::from_secs(1),
                max: Duration::from_secs(300),
            },
            attempts_max: 100,
            breaker_failures: 5,
            breaker: Backoff {
                min: Duration::from_secs(2),
                max: Duration::from_secs(60),
            },
            deliveries_max: 1000,
            signature_tolerance: Duration::from_secs(300),
            rate_max: 1000,
            batch_max: 1000,
            request_bytes_max: 8 << 20,
        }
    }
}
