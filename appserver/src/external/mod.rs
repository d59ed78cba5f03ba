//! The gateway to external applications (clauses 7.4, 8.8.2, 8.8.3): a third party's HTTP service stands for an
//! application.
//!
//! ```text
//! out   upload, message or presence -> courier row for ext/{app} -> signed CloudEvent -> HTTP answer -> status -> row ends
//! in    POST /v1/ext/{app}, signed or with the key -> push or message, as from the application itself
//! ```
//!
//! Decisions are values: [`signature`], [`target`], [`verdict`], [`breaker`], [`lane`], [`event`], [`incoming`] and
//! [`rate`] read no clock and do no IO. [`gateway`] moves them, [`client`] speaks HTTP, `store::endpoint` is the disk.

mod attempt;
mod breaker;
mod client;
mod doorbell;
mod endpoint;
mod event;
mod gateway;
mod incoming;
mod lane;
mod news;
mod probe;
mod rate;
mod seal;
mod service;
mod signature;
mod target;
mod verdict;

pub(crate) use endpoint::{Endpoint, Mode};
pub(crate) use gateway::Gateway;
pub(crate) use incoming::{Incoming, Item, Shape};
pub(crate) use news::tell;
pub(crate) use probe::Probe;
pub(crate) use seal::Seal;
pub(crate) use service::{External, hop};
pub(crate) use signature::{Signed, SigningSecret};
pub(crate) use target::Target;
