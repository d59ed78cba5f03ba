//! How a client can break the protocol, and the code it is told (4.13).

use crate::reason;

/// What was wrong with the client's bytes. Each text names the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Violation(&'static str),
    #[error("the first packet is not CONNECT")]
    NotConnect,
    #[error("the protocol name is not MQTT")]
    NotMqtt,
    #[error("protocol level {0} is not supported")]
    UnsupportedVersion(u8),
    #[error("an empty client identifier needs a clean session")]
    ClientIdRejected,
    #[error("this server offers no enhanced authentication")]
    BadAuthenticationMethod,
    #[error("invalid topic name")]
    TopicNameInvalid,
    #[error("invalid topic filter")]
    TopicFilterInvalid,
    #[error("topic alias {0} is 0 or above the maximum")]
    TopicAliasInvalid(u16),
    #[error("a packet of {size} bytes, the limit is {max}")]
    PacketTooLarge { size: u32, max: u32 },
    #[error("more unacknowledged publishes than the Receive Maximum")]
    ReceiveMaximumExceeded,
    #[error("the payload is not the UTF-8 it claims to be")]
    PayloadFormatInvalid,
    #[error("the client's Maximum Packet Size has no room for an acknowledgement")]
    PeerLimitTooSmall,
}

impl ProtocolError {
    /// Reason code for CONNACK or DISCONNECT of MQTT 5.
    pub fn reason(&self) -> u8 {
        match self {
            ProtocolError::Malformed(_) => reason::MALFORMED_PACKET,
            ProtocolError::Violation(_) | ProtocolError::NotConnect => reason::PROTOCOL_ERROR,
            ProtocolError::NotMqtt | ProtocolError::UnsupportedVersion(_) => {
                reason::UNSUPPORTED_PROTOCOL_VERSION
            }
            ProtocolError::ClientIdRejected => reason::CLIENT_IDENTIFIER_NOT_VALID,
            ProtocolError::BadAuthenticationMethod => reason::BAD_AUTHENTICATION_METHOD,
            ProtocolError::TopicNameInvalid => reason::TOPIC_NAME_INVALID,
            ProtocolError::TopicFilterInvalid => reason::TOPIC_FILTER_INVALID,
            ProtocolError::TopicAliasInvalid(_) => reason::TOPIC_ALIAS_INVALID,
            ProtocolError::PacketTooLarge { .. } | ProtocolError::PeerLimitTooSmall => {
                reason::PACKET_TOO_LARGE
            }
            ProtocolError::ReceiveMaximumExceeded => reason::RECEIVE_MAXIMUM_EXCEEDED,
            ProtocolError::PayloadFormatInvalid => reason::PAYLOAD_FORMAT_INVALID,
        }
    }

    /// CONNACK return code of MQTT 3, where it has one; otherwise the connection is just closed [MQTT-3.1.4-1].
    pub fn return_code_v3(&self) -> Option<u8> {
        match self {
            ProtocolError::UnsupportedVersion(_) => Some(1),
            ProtocolError::ClientIdRejected => Some(2),
            ProtocolError::Malformed(_)
            | ProtocolError::Violation(_)
            | ProtocolError::NotConnect
            | ProtocolError::NotMqtt
            | ProtocolError::BadAuthenticationMethod
            | ProtocolError::TopicNameInvalid
            | ProtocolError::TopicFilterInvalid
            | ProtocolError::TopicAliasInvalid(_)
            | ProtocolError::PacketTooLarge { .. }
            | ProtocolError::ReceiveMaximumExceeded
            | ProtocolError::PayloadFormatInvalid
            | ProtocolError::PeerLimitTooSmall => None,
        }
    }
}
