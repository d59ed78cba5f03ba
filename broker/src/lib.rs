//! The message server (clause 7.2): devices and users connect to its MQTT edge, it knows who is online, keeps pushes
//! until they are answered, and hands uploads to the application server.
//!
//! - `edge`: listeners, login, connections and what a client's packets do
//! - `sessions`: which exist, who holds each, the mailbox of each, and the way of durable ones to the disk
//! - `restore`: durable sessions at the start
//! - `topics`: subscriptions and retained messages
//! - `access`: who may do what, as pure functions
//! - `presence`: who is online, ordered and stored
//! - `directory`: following the account server, and ending what a change ends
//! - `federation`: links to other domains
//! - `metrics`: what it counts; `observed`: what its operator sees
//! - `bus`: the embedded rumqttd router that joins the servers of the domain

mod access;
mod attached;
mod bus;
mod directory;
mod edge;
mod federation;
mod heritage;
mod logbook;
mod metrics;
mod observed;
mod presence;
mod restore;
mod role;
mod route;
mod server;
mod sessions;
mod settings;
mod status_news;
mod store;
mod topics;

pub use edge::{ListenError, TlsError, check_client_authorities};
pub use federation::{DiscoveryError, IdentityError, check_discovery, check_identity};
pub use server::{MessageServer, StartError};
pub use settings::{Discovery, Federation, Limits, Listeners, Settings};

/// Refuses a `message.db` that is damaged, or of a format this program does not read.
pub fn inspect(path: &std::path::Path) -> Result<(), irsp_courier::store::StoreError> {
    irsp_courier::store::inspect(path, store::MIGRATIONS)
}
