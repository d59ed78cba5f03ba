//! The edge: listeners, TLS, WebSocket, MQTT connections, login and sessions.

mod bus_port;
mod client;
mod connection;
mod conversation;
mod ending;
mod envelope;
mod listener;
mod login;
mod resume;
mod tls;
mod transport;
mod websocket;
mod will;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::Courier;
use irsp_protocol::Domain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::directory::Enforcer;
use crate::presence::Presences;
use crate::settings::Limits;

pub use listener::ListenError;
pub(crate) use listener::{accept, bind};
pub use tls::TlsError;

/// What every connection shares.
pub(crate) struct Edge {
    pub(crate) domain: Domain,
    pub(crate) limits: Limits,
    pub(crate) session_limits: Arc<irsp_session::Limits>,
    /// For servers of this domain, whose packets are bus frames.
    pub(crate) server_limits: Arc<irsp_session::Limits>,
    pub(crate) message_expiry: Duration,
    pub(crate) enforcer: Enforcer,
    pub(crate) courier: Courier,
    pub(crate) presences: Presences,
    pub(crate) bus: Bus,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}
