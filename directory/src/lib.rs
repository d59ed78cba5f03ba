//! A server's own copy of principals, credentials, bindings and grants (clause 8.2), so that it answers who somebody
//! is and what they may do without asking the account server, and goes on doing so while that server is down.
//!
//! - [`Directory`] is the copy in memory; lookups are cheap and never touch the disk.
//! - [`follow`] decides which changes are new, and what a snapshot replaces.
//! - [`store`] keeps the copy on disk, in the transaction that also answers the account server.
//! - [`Flood`] says how many refusals are written down.
//! - [`token`] signs and checks user tokens.

mod certificate;
mod consequence;
mod directory;
mod flood;
pub mod follow;
mod key;
mod login;
mod message;
mod peer;
mod push;
pub mod store;
pub mod token;

pub use certificate::{ShownCertificate, fingerprint};
pub use consequence::{Consequence, Credential, ends_queue};
pub use directory::Directory;
pub use flood::Flood;
pub use key::{HashKey, secret_file};
pub use login::Login;

#[cfg(test)]
mod sample;
