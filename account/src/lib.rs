//! The account server: system of record for users, devices, applications and bindings (clauses 7.1 and 8.2).
//!
//! ```text
//!  HTTP handler (api/) ── change ──► Draft (store/draft.rs): tables, entity log, audit line, envelopes: one commit
//!                                                  │
//!                    own Directory ◄── applied ────┤──► courier ──► message server, application server
//!                                                  │                     │ status
//!                 200 in effect / 202 operation ◄── effect.rs ◄──────────┘
//! ```
//!
//! What a caller is told follows from what is on disk: a change, its line in the audit log and the envelopes that tell
//! the followers of it stand in one transaction. Secrets leave in the answer that made them; only hashes are stored.

mod account;
mod api;
mod certificate;
mod change;
mod code;
mod door;
mod effect;
mod follow;
mod follower;
mod keys;
mod metrics;
mod network;
mod observed;
mod password;
mod refresh;
mod refusal;
mod repeat;
mod retention;
mod server;
mod settings;
mod store;
mod throttle;
mod transfer;

#[cfg(test)]
mod tests;

pub use api::openapi;
pub use server::{AccountServer, StartError};
pub use settings::Settings;

/// Refuses an `account.db` that is damaged, or of a format this program does not read.
pub fn inspect(path: &std::path::Path) -> Result<(), irsp_courier::store::StoreError> {
    irsp_courier::store::inspect(path, store::MIGRATIONS)
}
