//! Why a check does not pass, and why there is no report at all.

use std::fmt::Debug;
use std::time::Duration;

use devicesim::link::{Broken, DialerError};
use thiserror::Error;

/// Why one check does not pass.
#[derive(Debug, Error)]
pub enum Trouble {
    #[error("{what}: expected {expected}, found {found}")]
    Unlike {
        what: String,
        expected: String,
        found: String,
    },
    #[error("{what}: not within {} s", .within.as_secs_f32())]
    Late { what: String, within: Duration },
    #[error("{what}: no answer: {reason}")]
    Unreachable { what: String, reason: String },
    #[error("{what}: {reason}")]
    Connection { what: String, reason: Broken },
    /// Nothing was found wrong: what it takes to look was not given.
    #[error("{0}")]
    NotTried(&'static str),
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum CannotStart {
    #[error("{0:?} is not http://host:port")]
    Url(String),
    #[error("the HTTP client could not be made: {0}")]
    Http(reqwest::Error),
    #[error(transparent)]
    Dialer(#[from] DialerError),
    #[error("{what} on {address}: {source}")]
    Listen {
        what: &'static str,
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("the platform could not be prepared: {0}")]
    Prepare(#[from] Trouble),
    #[error("the device could not be started: {0}")]
    Device(std::io::Error),
}

/// `found` is what was expected.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, expected: T, found: T) -> Result<(), Trouble> {
    if expected == found {
        Ok(())
    } else {
        Err(unlike(what, format!("{expected:?}"), &found))
    }
}

/// Something holds that has no other value to be compared with.
pub(crate) fn holds(what: &str, expected: &str, found: &impl Debug, good: bool) -> Result<(), Trouble> {
    if good {
        Ok(())
    } else {
        Err(unlike(what, expected, found))
    }
}

pub(crate) fn unlike(what: &str, expected: impl Into<String>, found: &impl Debug) -> Trouble {
    Trouble::Unlike {
        what: what.to_owned(),
        expected: expected.into(),
        found: format!("{found:?}"),
    }
}
