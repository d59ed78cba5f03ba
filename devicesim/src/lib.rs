//! The device simulator: loads a platform through its public contract (MQTT and HTTP) and tells the truth about it.
//!
//! - Uploads of registered devices: `schedule` says when each is due, `device` sends it, `ledger` keeps what became of it,
//!   `store` reads what the application has, `report` judges.
//! - Scenarios: `scenario` says what a fleet does, `director` plays it with one `actor` for each member of the `cast`,
//!   `story` joins their logs, `oracle` finds broken promises, `figures` measure, `outcome` judges and reports.
//! - `record` hears a live fleet and writes its shape as a scenario.
//! - Comparison of plain MQTT servers: `compare` says which loads in which order, `engine` makes them.
//!
//! Nothing here knows the platform from inside.

pub mod actor;
pub mod cast;
pub mod cli;
pub mod compare;
pub mod creds;
pub mod device;
pub mod dice;
pub mod director;
pub mod engine;
pub mod figures;
pub mod fleet;
pub mod ledger;
pub mod link;
pub mod live;
pub mod message;
pub mod model;
pub mod observation;
pub mod options;
pub mod oracle;
pub mod outcome;
mod peer;
pub mod platform;
pub mod play;
pub mod progress;
pub mod record;
pub mod report;
pub mod reports;
pub mod scenario;
pub mod schedule;
pub mod slo;
pub mod store;
pub mod story;
pub mod target;
pub mod tls;
pub mod usage;
pub mod wire;

use thiserror::Error;

use crate::fleet::Fleet;
use crate::link::{Broken, Dialer};
use crate::options::{DEVICES_MAX, Options};
use crate::report::Report;
use crate::reports::Unwritten;
use crate::store::Store;
use crate::target::Target;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Options(#[from] options::OptionsError),
    #[error("--creds")]
    Creds(#[from] creds::CredsError),
    #[error(transparent)]
    Dialer(#[from] link::DialerError),
    #[error("--devices {asked}: the credentials file has {found}")]
    TooFewCreds { asked: usize, found: usize },
    #[error("{url} is not reached: {error}")]
    Unreached { url: Target, error: Broken },
    #[error("before the run")]
    Store(#[from] store::StoreError),
    #[error("--report")]
    Report(#[from] Unwritten),
    #[error(transparent)]
    Fleet(#[from] fleet::FleetError),
    #[error("latencies")]
    Latency(#[from] hdrhistogram::CreationError),
}

/// Runs what `options` ask for. `interrupt` resolves each time the caller wants it to end early.
pub async fn run(options: &Options, interrupt: impl AsyncFnMut()) -> Result<Report, RunError> {
    options.check()?;
    let mut notes = Vec::new();
    let mut credentials = creds::read(&options.creds)?;
    if let Some(asked) = options.devices {
        if asked > credentials.len() {
            let found = credentials.len();
            return Err(RunError::TooFewCreds { asked, found });
        }
        credentials.truncate(asked);
    }
    if credentials.len() > DEVICES_MAX {
        notes.push(format!(
            "{} devices asked for, {DEVICES_MAX} used: one process opens no more connections than that",
            credentials.len()
        ));
        credentials.truncate(DEVICES_MAX);
    }
    options::check_open_files(credentials.len())?;
    let dialer = Dialer::new(options.url.clone(), options.ca.as_deref()).await?;
    if let Err(error) = dialer.reaches().await {
        let url = options.url.clone();
        return Err(RunError::Unreached { url, error });
    }
    let store = match &options.http {
        Some(http) => {
            let store = Store::new(http, &options.app, &options.token_file)?;
            let before = store.end().await?;
            Some((store, before))
        }
        None => None,
    };
    // Tried before the run, so that a wrong path does not cost its result.
    options.report.as_deref().map(reports::check).transpose()?;
    let run = format!("{:016x}", rand::random::<u64>());
    let fleet = Fleet::start(options, run.clone(), dialer, credentials);
    let ran = fleet.run(options, store, interrupt).await?;
    Ok(Report::new(options, run, ran, notes)?)
}

/// Writes the report where `options` want it.
pub fn write(options: &Options, report: &Report) -> Result<(), Unwritten> {
    let Some(path) = &options.report else {
        return Ok(());
    };
    reports::put_json(path, report)
}
