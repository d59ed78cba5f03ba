//! MQTT 3.1, 3.1.1 and 5.0 session rules for a server, without sockets, clock or runtime.
//!
//! Bytes and `now` go in; actions, bytes and deadlines come out:
//!
//! ```text
//! Handshake --input(CONNECT)--> Progress::Connect --accept(session)--> Connection --into_session()--> Session
//!                                       '--refuse(reason)--> CONNACK bytes
//! ```
//!
//! A state is consumed to make the next one, so a PUBLISH before CONNACK does not compile. Subscriptions,
//! routing, access rules and retained messages belong to the caller; [`Session`] holds what one client's
//! acknowledgements need: packet identifiers in flight both ways, and the queue of what waits to be sent.

mod action;
mod alias;
mod check;
mod codec;
mod connect;
mod connection;
mod encode;
mod error;
pub mod filter;
mod frame;
mod handshake;
mod inbound;
mod keepalive;
mod limits;
mod outbound;
mod packet;
mod plain;
mod properties;
pub mod reason;
mod session;

pub use action::{Action, CloseCause, DropCause, PublishToken, SubscribeToken, UnsubscribeToken};
pub use connect::{Connect, Refusal, Will};
pub use connection::Connection;
pub use error::ProtocolError;
pub use handshake::{Handshake, Progress};
pub use limits::Limits;
pub use packet::{
    Delivery, Publish, PublishProperties, QoS, RetainHandling, SubscribeFilter, SubscriptionIds,
    UserProperties, Version,
};
pub use session::Session;
