//! An attached application (clause 7.3): implement [`Handler`], and [`run`] receives uploads and messages over MQTT and
//! answers each.
//!
//! The platform keeps what is not answered and gives it again, so the same message may come twice: after a lost
//! connection, a crash, or a move between the replicas of a group. Here each message is handled once: what the handler
//! writes and its answer are stored in one SQLite transaction, and a repeat is given the stored answer.
//!
//! See `examples/climate.rs` for a whole application, and docs/profile.md, "Attached applications", for the contract.

mod connection;
mod desk;
mod event;

pub use connection::{Error, Settings, run};
pub use desk::{Handler, Reply};
pub use event::{Event, EventError};
