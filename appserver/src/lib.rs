//! Application server (clause 7.3): stores the uploads of hosted applications once, pushes on behalf of applications
//! and users, keeps a copy of presence, and tells receipts, all over HTTP.
//!
//! - [`AppServer`] starts and stops it; the binary binds the socket for its router.
//! - `role` takes what comes over the bus, `http` what comes from clients; they meet in the store.
//! - Clients may wait for the message server, and never the other way round.

mod catch_up;
mod external;
mod following;
mod heard;
mod http;
mod inquire;
mod ladder;
mod live;
mod metrics;
mod observed;
mod push;
mod retention;
mod role;
mod server;
mod settings;
mod store;

pub use http::openapi;
pub use server::{AppServer, StartError};
pub use settings::{Backoff, ExternalSettings, PushLimits, Retention, Settings};

/// Refuses a `app.db` that is damaged, or of a format this program does not read.
pub fn inspect(path: &std::path::Path) -> Result<(), irsp_courier::store::StoreError> {
    irsp_courier::store::inspect(path, store::MIGRATIONS)
}
