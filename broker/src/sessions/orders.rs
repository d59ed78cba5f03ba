//! What a connection is told by others: to end, and why, or to look through what waits.

use irsp_protocol::presence::Reason;

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another connection of the same session took its place.
    TakenOver,
    /// Deleted, disabled or its secret was reset.
    Revoked,
    /// Subscribed faster than it reads.
    Overrun,
    /// The server stops.
    Stopping,
}

impl End {
    /// The MQTT 5 reason code of the DISCONNECT.
    pub(crate) const fn reason_code(self) -> u8 {
        match self {
            End::TakenOver => 0x8E,
            End::Revoked => 0x87,
            End::Overrun => 0x97,
            End::Stopping => 0x8B,
        }
    }

    /// The same in words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            End::TakenOver => "another connection goes on with the session",
            End::Revoked => "the login is good no more",
            End::Overrun => "the client does not take what it is subscribed to",
            End::Stopping => "the server stops",
        }
    }

    pub(crate) const fn presence_reason(self) -> Reason {
        match self {
            End::TakenOver => Reason::TakenOver,
            End::Revoked => Reason::Revoked,
            End::Overrun => Reason::ProtocolError,
            End::Stopping => Reason::ServerStopped,
        }
    }
}

/// What others tell a connection to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) end: Option<End>,
    /// Some of what waits may no longer be granted.
    pub(crate) recheck: bool,
    /// Some of what waits may be over.
    pub(crate) over: bool,
}
