//! The clause table of docs/profile.md, tried on a running deployment.
//!
//! ```text
//! cast    the principals a check makes, and their deletion at the end
//! table   which check belongs to which clause
//! account, message_server, application, external, changes, upload, presence, push, status, between, domains, security
//!         the checks, by chapter
//! ```
//! A check builds what it needs, acts, and compares; it waits for what it wants to see and for no length of time.

mod account;
mod application;
mod between;
mod cast;
mod changes;
mod domains;
mod external;
mod hook;
mod message_server;
mod presence;
mod push;
mod security;
mod signature;
mod status;
mod table;
mod upload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use devicesim::link::Dialer;
use devicesim::target::Target;
use irsp_protocol::Secret;
use tokio::time::{Instant, sleep, timeout};

use crate::http::Api;
use crate::report::{Finding, Report, Verdict};
use crate::trouble::{CannotStart, Trouble};

use cast::Cast;
use hook::Hook;

pub use table::CLAUSES;

/// Between two looks at something that is to become true.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A check has many steps; it may take so many times what one step may.
const STEPS: u32 = 6;

/// A deployment and how it is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTP of the account server, and of the application server unless that has its own.
    pub url: String,
    pub app_url: Option<String>,
    pub mqtt: Target,
    /// The authority of `mqtts://` and `wss://`.
    pub ca: Option<PathBuf>,
    pub admin: Secret,
    /// How long anything may take before a check gives up on it.
    pub patience: Duration,
    /// Where a service of ours listens and how the deployment reaches it, for clause 8.8.2.
    pub hook: Option<HookAt>,
    /// A domain that is linked with this one, for clauses 8.5 to 8.7.
    pub other: Option<OtherDomain>,
    /// Only clauses whose number begins with one of these; all if empty.
    pub only: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct HookAt {
    pub listen: SocketAddr,
    pub url: String,
}

#[derive(Clone, Debug)]
pub struct OtherDomain {
    pub url: String,
    pub mqtt: Target,
    pub ca: Option<PathBuf>,
    pub admin: Secret,
}

/// What every check is given.
pub(crate) struct Stage {
    pub(crate) cast: Cast,
    pub(crate) hook: Option<Hook>,
    pub(crate) other: Option<Cast>,
    pub(crate) patience: Duration,
}

impl Stage {
    /// Looks until there is something to see.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Late {
                    what: what.to_owned(),
                    within: self.patience,
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Tries everything, deletes what was made, and reports.
pub async fn examine(options: &Options) -> Result<Report, CannotStart> {
    let api = Api::new(&options.url, options.app_url.as_deref(), options.admin.clone())?;
    let dialer = Dialer::new(options.mqtt.clone(), options.ca.as_deref()).await?;
    let run = format!("{:08x}", rand::random::<u32>());
    let other = match &options.other {
        None => None,
        Some(other) => {
            let api = Api::new(&other.url, None, other.admin.clone())?;
            let dialer = Dialer::new(other.mqtt.clone(), other.ca.as_deref()).await?;
            Some(Cast::new(api, dialer, run.clone(), options.patience))
        }
    };
    let hook = match &options.hook {
        None => None,
        Some(at) => Some(Hook::start(at).await?),
    };
    let stage = Stage {
        cast: Cast::new(api, dialer, run, options.patience),
        hook,
        other,
        patience: options.patience,
    };
    let wanted = |clause: &str| {
        options.only.is_empty() || options.only.iter().any(|only| clause.starts_with(only.as_str()))
    };
    let mut findings = Vec::new();
    for check in table::CHECKS.iter().filter(|check| wanted(check.clause)) {
        findings.push(try_one(&stage, check).await);
    }
    let mut notes = stage.cast.remove().await;
    if let Some(other) = &stage.other {
        notes.extend(other.remove().await);
    }
    let subject = format!("{} and {}", options.url, options.mqtt);
    let clauses: Vec<_> = CLAUSES
        .iter()
        .copied()
        .filter(|clause| wanted(clause.number))
        .collect();
    Ok(Report::new(subject, &clauses, findings, notes))
}

async fn try_one(stage: &Stage, check: &table::Check) -> Finding {
    let began = Instant::now();
    let limit = stage.patience * STEPS;
    let tried = timeout(limit, (check.run)(stage)).await;
    let verdict = match tried {
        Ok(Ok(())) => Verdict::Pass,
        Ok(Err(Trouble::NotTried(because))) => Verdict::NotTried(because.to_owned()),
        Ok(Err(trouble)) => Verdict::Fail(trouble.to_string()),
        Err(_) => Verdict::Fail(format!("not over after {} s", limit.as_secs())),
    };
    Finding {
        clause: check.clause,
        check: check.says,
        verdict,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
