//! The properties of MQTT 5 (2.2.2): which packet may carry which, how often, and with what values.

use crate::error::ProtocolError;
use crate::filter;
use crate::frame::Reader;

/// The packets of a client that carry properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// What the packet's later checks and the codec need to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) payload_utf8: Option<bool>,
    /// Offset of a Message Expiry Interval of 0.
    pub(crate) expiry_zero_at: Option<usize>,
    pub(crate) authentication_method: bool,
    pub(crate) authentication_data: bool,
    pub(crate) subscription_id: bool,
    pub(crate) topic_alias: bool,
}

const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const SUBSCRIPTION_ID: u8 = 0x0B;
const SESSION_EXPIRY: u8 = 0x11;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
const WILL_DELAY: u8 = 0x18;
const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
const SERVER_REFERENCE: u8 = 0x1C;
const REASON_STRING: u8 = 0x1F;
const RECEIVE_MAX: u8 = 0x21;
const TOPIC_ALIAS_MAX: u8 = 0x22;
const TOPIC_ALIAS: u8 = 0x23;
const USER_PROPERTY: u8 = 0x26;
const PACKET_SIZE_MAX: u8 = 0x27;

/// Reads one property block: its length and its properties.
pub(crate) fn check(reader: &mut Reader<'_>, carrier: Carrier) -> Result<Found, ProtocolError> {
    let length = reader.variable()? as usize;
    let base = reader.position();
    let mut block = Reader::new(reader.take(length)?);
    let mut found = Found::default();
    let mut seen = 0u64;
    while !block.is_empty() {
        let id = block.u8()?;
        if !belongs(id, carrier) {
            // 2.2.2.2: an identifier that is not valid for its packet type
            return Err(ProtocolError::Malformed(
                "a property that this packet may not carry",
            ));
        }
        let repeatable = id == USER_PROPERTY || (id == SUBSCRIPTION_ID && carrier == Carrier::Publish);
        let bit = 1u64 << (id & 63);
        if seen & bit != 0 && !repeatable {
            return Err(ProtocolError::Violation("a property included twice"));
        }
        seen |= bit;
        value(&mut block, id, base, &mut found)?;
    }
    Ok(found)
}

/// Table 2-4, the rows a client may send.
fn belongs(id: u8, carrier: Carrier) -> bool {
    use Carrier::{Acknowledgement, Connect, Disconnect, Publish, Subscribe, Will};
    match id {
        PAYLOAD_FORMAT | MESSAGE_EXPIRY | CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA => {
            matches!(carrier, Publish | Will)
        }
        SUBSCRIPTION_ID => matches!(carrier, Publish | Subscribe),
        SESSION_EXPIRY => matches!(carrier, Connect | Disconnect),
        WILL_DELAY => carrier == Will,
        AUTHENTICATION_METHOD
        | AUTHENTICATION_DATA
        | REQUEST_PROBLEM_INFORMATION
        | REQUEST_RESPONSE_INFORMATION
        | RECEIVE_MAX
        | TOPIC_ALIAS_MAX
        | PACKET_SIZE_MAX => carrier == Connect,
        SERVER_REFERENCE => carrier == Disconnect,
        REASON_STRING => matches!(carrier, Acknowledgement | Disconnect),
        TOPIC_ALIAS => carrier == Publish,
        USER_PROPERTY => true,
        _ => false,
    }
}

fn value(block: &mut Reader<'_>, id: u8, base: usize, found: &mut Found) -> Result<(), ProtocolError> {
    match id {
        PAYLOAD_FORMAT => found.payload_utf8 = Some(flag(block)?),
        REQUEST_PROBLEM_INFORMATION | REQUEST_RESPONSE_INFORMATION => {
            flag(block)?;
        }
        MESSAGE_EXPIRY => {
            let at = base + block.position();
            if block.u32()? == 0 {
                found.expiry_zero_at = Some(at);
            }
        }
        SESSION_EXPIRY | WILL_DELAY => {
            block.u32()?;
        }
        PACKET_SIZE_MAX => {
            nonzero(
                block.u32()?,
                ProtocolError::Violation("a Maximum Packet Size of 0"),
            )?;
        }
        RECEIVE_MAX => {
            nonzero(
                block.u16()?.into(),
                ProtocolError::Violation("a Receive Maximum of 0"),
            )?;
        }
        TOPIC_ALIAS_MAX => {
            block.u16()?;
        }
        TOPIC_ALIAS => {
            // [MQTT-3.3.2-8]
            nonzero(block.u16()?.into(), ProtocolError::TopicAliasInvalid(0))?;
            found.topic_alias = true;
        }
        SUBSCRIPTION_ID => {
            nonzero(
                block.variable()?,
                ProtocolError::Violation("a Subscription Identifier of 0"),
            )?;
            found.subscription_id = true;
        }
        RESPONSE_TOPIC => {
            // [MQTT-3.3.2-14]
            if filter::validate_topic(block.string()?).is_err() {
                return Err(ProtocolError::Violation("a Response Topic that is no topic name"));
            }
        }
        AUTHENTICATION_METHOD => {
            block.string()?;
            found.authentication_method = true;
        }
        AUTHENTICATION_DATA => {
            block.binary()?;
            found.authentication_data = true;
        }
        CORRELATION_DATA => {
            block.binary()?;
        }
        CONTENT_TYPE | REASON_STRING => {
            block.string()?;
        }
        SERVER_REFERENCE => return Err(ProtocolError::Violation("a Server Reference from a client")),
        USER_PROPERTY => {
            block.string()?;
            block.string()?;
        }
        _ => return Err(ProtocolError::Malformed("an unknown property")),
    }
    Ok(())
}

fn flag(block: &mut Reader<'_>) -> Result<bool, ProtocolError> {
    match block.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ProtocolError::Violation(
            "a property that is 0 or 1 has another value",
        )),
    }
}

fn nonzero(value: u32, otherwise: ProtocolError) -> Result<(), ProtocolError> {
    if value == 0 { Err(otherwise) } else { Ok(()) }
}
