//! The courier: durable outbox, retry, expiry, dedupe, receipts and ledger, used by every server.
//!
//! Whoever sends an envelope keeps it on disk until the receiver's status comes back; whoever receives one drops
//! repeats in the transaction that stores the effect. So the bus may lose, repeat or reorder anything and any
//! process may be killed at any moment, and nothing accepted is lost or done twice.

mod accept;
mod allowance;
mod backoff;
pub mod bus;
mod clock;
mod core;
mod hop;
mod lock;
mod metrics;
mod observed;
mod quota;
mod role;
mod service;
pub mod store;

pub use accept::{AcceptSink, Accepted};
pub use allowance::Allowance;
pub use backoff::Backoff;
pub use clock::{Clock, Now};
pub use hop::{Hop, Origin};
pub use irsp_protocol::ledger::{KindLedger, Ledger};
pub use metrics::{Couriers, Metrics};
pub use observed::Observed;
pub use quota::{Bounds, Held, InFlight, Quota};
pub use role::{Ended, Received, ReplyFuture, Role};
pub use service::{Courier, Manual, ManualPort, PeerAnswer, PeerFrame, PeerPort, Settings, Until};
