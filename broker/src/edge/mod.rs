//! The edge: listeners, TLS, WebSocket, MQTT connections, login and sessions.

mod admission;
mod arrive;
mod begin;
mod bus_port;
mod client;
mod connection;
mod conversation;
mod ending;
mod envelope;
mod farewell;
mod guessing;
mod leave;
mod listener;
mod login;
mod present;
mod properties;
mod proxy;
mod rate;
mod resume;
mod sent;
mod tls;
mod transport;
mod under_way;
mod websocket;
mod will;
mod wire;

use std::sync::Arc;

use irsp_courier::{Courier, Hop};
use irsp_protocol::{Domain, Expiry, Kind, Principal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access;
use crate::attached::Attached;
use crate::bus::Bus;
use crate::directory::Enforcer;
use crate::logbook::Logbook;
use crate::metrics::Metrics;
use crate::presence::Presences;
use crate::settings::Limits;

pub(crate) use admission::Admission;
pub use listener::ListenError;
pub(crate) use listener::{accept, bind, take, tls_source};
pub(crate) use tls::{Reload, TlsSource};
pub use tls::{TlsError, check_client_authorities};
pub(crate) use under_way::UnderWay;
pub(crate) use will::publish_left;

/// What every connection shares.
pub(crate) struct Edge {
    pub(crate) domain: Domain,
    pub(crate) limits: Limits,
    pub(crate) session_limits: Arc<irsp_session::Limits>,
    /// For servers of this domain, whose packets are bus frames.
    pub(crate) server_limits: Arc<irsp_session::Limits>,
    pub(crate) message_expiry: Expiry,
    pub(crate) enforcer: Enforcer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) courier: Courier,
    pub(crate) attached: Arc<Attached>,
    pub(crate) presences: Presences,
    pub(crate) logbook: Logbook,
    pub(crate) under_way: UnderWay,
    pub(crate) bus: Bus,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Edge {
    /// Whether a principal may still hear a topic.
    fn may_hear(&self, who: &Principal, topic: &str) -> bool {
        access::may_hear(who, topic, &self.domain, &*self.enforcer.directory)
    }

    /// A session of the principal hears no pushes any more: the courier keeps them, unless another session hears them.
    fn stops_listening(&self, principal: &Principal) {
        if principal.kind == Kind::Application {
            return self.attached.left(principal, &self.courier);
        }
        let sessions = &self.enforcer.sessions;
        if sessions.hear_pushes(principal) {
            return;
        }
        let hop = Hop::Principal(principal.clone());
        self.courier.absent(&hop);
        // One that began to hear them meanwhile may have said so before us.
        if sessions.hear_pushes(principal) {
            self.courier.present(hop);
        }
    }
}
