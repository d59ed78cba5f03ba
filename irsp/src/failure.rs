//! Why irsp ends with exit code 1. Every message is one line that names the file or key and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use irsp_conform::CannotStart;
use serde_json::{Value, json};
use thiserror::Error;

use crate::attach::AttachError;
use crate::backup::error::BackupError;
use crate::cause::chain;
use crate::client::ClientError;
use crate::pki::PkiError;
use crate::ports::PortError;
use crate::provision::error::ProvisionError;

#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] irsp_config::ConfigError),
    #[error("log.level = {level:?}: {error}: write error, warn, info, debug, trace or target=level")]
    LogLevel { level: String, error: String },
    #[error("logs cannot be started: {0}")]
    Logs(String),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
    #[error("data_dir = {}: {source}: make it writable for this user or choose another with --data", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("{}: another irsp ({holder}) uses this data directory: stop it or choose another with --data", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("{}: data format {found} is newer than {known}, the newest this irsp knows: use a newer irsp or another --data", path.display())]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{}: is not a data format number: restore it from a backup", path.display())]
    FormatText { path: PathBuf },
    #[error("{}: {source}: {remedy}", path.display())]
    File {
        path: PathBuf,
        source: io::Error,
        remedy: &'static str,
    },
    #[error("domain = {domain:?}: {reason}")]
    Domain { domain: String, reason: String },
    #[error("the description of the API cannot be written: {0}")]
    Openapi(serde_json::Error),
    #[error("federation.advertise: {0}")]
    Advertise(irsp_protocol::peer::PeerError),
    #[error("federation.cert: {0}: no link to another domain is made with it")]
    Identity(#[from] irsp_broker::IdentityError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Conform(#[from] ConformError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the {role} cannot start: {reason}")]
    Role { role: &'static str, reason: String },
    #[error("signals cannot be heard: {0}")]
    Signals(io::Error),
    #[error("http on {address} ended: {source}")]
    Http {
        address: std::net::SocketAddr,
        source: io::Error,
    },
    #[error("the settings cannot be shown: {0}")]
    Show(String),
    #[error("{0} of the checks failed")]
    Checks(usize),
}

/// Why `irsp conform` fails; beside [`Failure`], since each may be the other's reason.
#[derive(Debug, Error)]
pub(crate) enum ConformError {
    #[error(transparent)]
    Token(#[from] ClientError),
    #[error("nothing could be tried: {}", chain(.0))]
    CannotStart(#[from] CannotStart),
    #[error("no platform could be started for the device: {0}")]
    Bench(#[from] Box<Failure>),
    #[error("the started platform has no {0}")]
    NoDoor(&'static str),
    #[error("--junit {}: {source}: give another", path.display())]
    Junit { path: PathBuf, source: io::Error },
    #[error("the report cannot be shown: {0}")]
    Show(#[from] serde_json::Error),
    #[error("not conformant: {0}")]
    NotConformant(String),
}

impl Failure {
    /// As a problem document: what the API refused has its status, what failed before has none.
    pub(crate) fn problem(&self) -> Value {
        if let Failure::Client(error) = self
            && let Some(refused) = error.problem()
        {
            return refused;
        }
        json!({ "title": "failed", "detail": self.to_string() })
    }

    pub(crate) fn file(path: &Path, remedy: &'static str) -> impl FnOnce(io::Error) -> Failure {
        move |source| Failure::File {
            path: path.to_owned(),
            source,
            remedy,
        }
    }

    pub(crate) fn role(role: &'static str) -> impl FnOnce(&dyn std::error::Error) -> Failure {
        move |error| Failure::Role {
            role,
            reason: chain(error),
        }
    }
}
