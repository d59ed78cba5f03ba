//! CONNECT (3.1) as the caller sees it, and the ways to refuse it (3.2.2.2).

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::packet::{Publish, UserProperties, Version};
use crate::reason;

/// A well-formed CONNECT; limits are already applied to `keep_alive` and `session_expiry`.
#[derive(Clone)]
pub struct Connect {
    pub version: Version,
    /// Empty when the client asks the server for one.
    pub client_id: ByteString,
    /// Clean Session of MQTT 3.
    pub clean_start: bool,
    /// Zero: off.
    pub keep_alive: Duration,
    /// Zero: the session ends with the connection. For MQTT 3 from Clean Session.
    pub session_expiry: Duration,
    pub username: Option<ByteString>,
    pub password: Option<Bytes>,
    pub will: Option<Will>,
    /// How many QoS 1 and 2 deliveries the client takes unacknowledged; 65535 unless it says so.
    pub receive_max: u16,
    pub packet_size_max: Option<u32>,
    pub topic_alias_max: u16,
    pub request_problem_information: bool,
    pub request_response_information: bool,
    pub user_properties: UserProperties,
}

/// The Will Message and how long its publication waits (3.1.3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// `expires` is unset: its interval counts from the publication, see `expiry`.
    pub publish: Publish,
    pub delay: Duration,
    /// The Message Expiry Interval of the will.
    pub expiry: Option<Duration>,
}

/// Debug names the secret without showing it.
impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "secret"))
            .field("will", &self.will.as_ref().map(|will| &will.publish.topic))
            .finish_non_exhaustive()
    }
}

/// Why a well-formed CONNECT is refused, in both tongues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason code of MQTT 5.
    pub v5: u8,
    /// Return code of MQTT 3, 1 to 5.
    pub v3: u8,
    /// Reason string of MQTT 5.
    pub text: Option<ByteString>,
}

impl Refusal {
    pub const BAD_CREDENTIALS: Refusal = Refusal {
        v5: reason::BAD_USER_NAME_OR_PASSWORD,
        v3: 4,
        text: None,
    };
    pub const NOT_AUTHORIZED: Refusal = Refusal {
        v5: reason::NOT_AUTHORIZED,
        v3: 5,
        text: None,
    };
    pub const UNAVAILABLE: Refusal = Refusal {
        v5: reason::SERVER_UNAVAILABLE,
        v3: 3,
        text: None,
    };
    pub const BUSY: Refusal = Refusal {
        v5: reason::SERVER_BUSY,
        v3: 3,
        text: None,
    };
    pub const CLIENT_ID: Refusal = Refusal {
        v5: reason::CLIENT_IDENTIFIER_NOT_VALID,
        v3: 2,
        text: None,
    };

    pub fn with_text(mut self, text: impl Into<ByteString>) -> Self {
        self.text = Some(text.into());
        self
    }
}
