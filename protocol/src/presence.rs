//! Presence: whether a principal is connected, in a form that anybody can order (clause 8.3.2).

use serde::{Deserialize, Serialize};

use crate::address::Principal;
use crate::time::Timestamp;

/// Three-valued: *unknown* is what a server says when it cannot see the principal (clause 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connectivity {
    Online,
    Offline,
    Unknown,
}

/// Why presence changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A session began.
    Connected,
    /// The client said goodbye.
    Disconnected,
    /// The connection broke without a goodbye.
    ConnectionLost,
    /// Nothing was heard within one and a half keep-alive times.
    KeepAliveTimeout,
    /// Another connection of the same session took its place.
    TakenOver,
    /// The client broke the protocol or a limit.
    ProtocolError,
    /// The principal was deleted, disabled or its secret was reset.
    Revoked,
    /// The message server stopped, and the client did not come back within the grace time.
    ServerStopped,
    /// There is no link to the principal's domain (clause 8.7).
    OutOfSight,
}

/// One presence. Of two with the same principal, the greater (epoch, seq) is the newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub principal: Principal,
    /// Rises with each new session of the principal, is persisted and never goes back.
    pub epoch: u64,
    /// Counts the changes within an epoch, from 1.
    pub seq: u64,
    pub state: Connectivity,
    pub since: Timestamp,
    pub reason: Reason,
}

impl Presence {
    /// Whether this is newer news than `other` of the same principal.
    pub fn supersedes(&self, other: &Presence) -> bool {
        (self.epoch, self.seq) > (other.epoch, other.seq)
    }
}
