//! How a connection ended, and what follows from it.

use std::time::Duration;

use irsp_protocol::presence::Reason;
use irsp_session::CloseCause;

use super::farewell::Why;
use crate::sessions::orders::End;

/// How a connection ended.
pub(super) struct Ending {
    pub(super) reason: Reason,
    pub(super) publishes_will: bool,
    /// As DISCONNECT changed it (3.14.2.2.2).
    pub(super) session_expiry: Option<Duration>,
    /// What is said below MQTT.
    pub(super) why: Why,
}

impl Ending {
    fn lost() -> Ending {
        Ending {
            reason: Reason::ConnectionLost,
            publishes_will: true,
            session_expiry: None,
            why: Why::Refused,
        }
    }

    /// Without a word of the client; on an order, what was ordered.
    pub(super) fn lost_or(ordered: Option<End>) -> Ending {
        match ordered {
            Some(end) => Ending {
                reason: end.presence_reason(),
                why: Why::of_order(end),
                ..Ending::lost()
            },
            None => Ending::lost(),
        }
    }

    pub(super) fn closed(cause: &CloseCause, ordered: Option<End>) -> Ending {
        let reason = match (cause, ordered) {
            (_, Some(end)) => end.presence_reason(),
            (CloseCause::Disconnect { .. }, None) => Reason::Disconnected,
            (CloseCause::KeepAlive, None) => Reason::KeepAliveTimeout,
            (
                CloseCause::ProtocolError(_) | CloseCause::PublishRefused { .. } | CloseCause::Server { .. },
                None,
            ) => Reason::ProtocolError,
        };
        let session_expiry = match cause {
            CloseCause::Disconnect { session_expiry, .. } => *session_expiry,
            CloseCause::KeepAlive
            | CloseCause::ProtocolError(_)
            | CloseCause::PublishRefused { .. }
            | CloseCause::Server { .. } => None,
        };
        let why = match (cause, ordered) {
            (_, Some(end)) => Why::of_order(end),
            (CloseCause::Disconnect { .. }, None) => Why::Done,
            (CloseCause::ProtocolError(error), None) => Why::of_error(*error),
            (CloseCause::KeepAlive | CloseCause::PublishRefused { .. } | CloseCause::Server { .. }, None) => {
                Why::Refused
            }
        };
        Ending {
            reason,
            publishes_will: cause.publishes_will(),
            session_expiry,
            why,
        }
    }
}
