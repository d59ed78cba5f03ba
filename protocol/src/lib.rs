//! The contract of the platform: what stands on the wire between clients, servers and third parties.
//!
//! Everything here is a value. There is no clock, no socket and no runtime in this crate, so every role,
//! the simulator and the tests can share it. The wire profile is our own binding of ISO/IEC 14543-5-9 to
//! MQTT and HTTP; the clause texts are not public (see `docs/profile.md`).

pub mod address;
pub mod api;
pub mod change;
pub mod cloud_event;
pub mod credential;
pub mod departure;
pub mod envelope;
pub mod expiry;
pub mod frame;
pub mod granted;
pub mod inquiry;
pub mod ledger;
pub mod message_id;
pub mod message_kind;
pub mod note;
pub mod options;
pub mod peer;
pub mod peer_link;
pub mod presence;
pub mod receipt;
pub mod secret;
pub mod state;
pub mod status;
pub mod time;
pub mod topic;

pub use address::{Address, AddressError, Domain, Id, Kind, Principal, Server};
pub use envelope::Envelope;
pub use expiry::Expiry;
pub use message_id::MessageId;
pub use message_kind::MessageKind;
pub use options::PushOptions;
pub use secret::Secret;
pub use state::State;
pub use status::Status;
pub use time::Timestamp;
pub use topic::{Channel, Topic, TopicError};
