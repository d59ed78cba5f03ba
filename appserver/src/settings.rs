//! What may be set of an application server. Received by value; nothing here reads a file.

use std::path::PathBuf;
use std::time::Duration;

use irsp_protocol::{Domain, Expiry};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds `app.db` and the domain's `hash.key`.
    pub data_dir: PathBuf,
    pub domain: Domain,
    pub uploads: Retention,
    pub push: PushLimits,
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
