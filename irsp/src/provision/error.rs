//! Why nothing, or not everything, was made.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum ProvisionError {
    #[error("{}: {reason}: give --data or --admin-token of the account server", path.display())]
    TokenFile { path: PathBuf, reason: String },
    #[error("{}: exists, and the secrets in it cannot be shown again: remove it or give another {option}", path.display())]
    Exists { path: PathBuf, option: &'static str },
    #[error("{}: {source}: give another {option}", path.display())]
    Write {
        path: PathBuf,
        option: &'static str,
        source: io::Error,
    },
    #[error("--prefix {prefix}: {reason}")]
    Prefix { prefix: String, reason: String },
    #[error("--url {url}: cannot be reached ({reason}): start irsp or give another --url")]
    Unreachable { url: String, reason: String },
    #[error("the admin token is not taken by {url}: give --data or --admin-token of that platform")]
    Token { url: String },
    #[error(
        "some of the devices {first} to {last} exist already: give another --prefix, or delete them ({detail})"
    )]
    DevicesExist {
        first: String,
        last: String,
        detail: String,
    },
    #[error("{url} refused: {status} {detail}")]
    Refused {
        url: String,
        status: u16,
        detail: String,
    },
    #[error("{url} answered what this irsp does not understand ({reason}): use the same version of both")]
    Answer { url: String, reason: String },
}
