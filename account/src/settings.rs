//! What may be set of an account server.

use std::path::PathBuf;
use std::time::Duration;

use irsp_protocol::Domain;

/// The user that the admin token logs in.
pub(crate) const ADMIN: &str = "admin";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Holds `account.db`, `hash.key`, `token.key` and `admin.token`.
    pub data_dir: PathBuf,
    pub domain: Domain,
    /// How long a user's token is valid. Short, because other servers check it without asking.
    pub token_lifetime: Duration,
    /// How long a login goes on without its refresh token being used.
    pub refresh_lifetime: Duration,
    /// How long a code that resets a user's password is good.
    pub reset_lifetime: Duration,
    /// Whether a reset of a device's code ends its bindings, where the request does not say.
    pub reset_unbinds: bool,
    /// How long the answer to a change waits for the followers before it is 202.
    pub effect_wait: Duration,
    /// How long lines of the audit log are kept; zero keeps them for ever.
    pub audit_retention: Duration,
    /// How long an operation can be looked up.
    pub operation_retention: Duration,
    pub courier: irsp_courier::Settings,
}

/// How long the account server remembers what it does not need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Zero keeps the audit log for ever.
    pub(crate) audit: Duration,
    pub(crate) operations: Duration,
}

impl Settings {
    /// The defaults, for a domain whose data lie in `data_dir`.
    pub fn new(data_dir: PathBuf, domain: Domain) -> Settings {
        Settings {
            data_dir,
            domain,
            token_lifetime: Duration::from_secs(3600),
            refresh_lifetime: Duration::from_secs(30 * 86_400),
            reset_lifetime: Duration::from_secs(86_400),
            reset_unbinds: false,
            effect_wait: Duration::from_secs(5),
            audit_retention: Duration::from_secs(365 * 86_400),
            operation_retention: Duration::from_secs(30 * 86_400),
            courier: irsp_courier::Settings::default(),
        }
    }
}
