//! Whether a packet is well formed, before the codec sees it.
//!
//! The codec is lenient where the specification is not, and names most faults alike; this walk over the bytes
//! gives each fault its own reason code, and leaves the codec nothing that could surprise it. It also finds
//! the few things the codec cannot express, see [`Notes`].

use crate::error::ProtocolError;
use crate::filter;
use crate::frame::{self, Reader};
use crate::packet::Version;
use crate::properties::{self, Carrier, Found};
use crate::reason;

/// What the codec cannot express or would refuse though it is allowed. Offsets are into the packet's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) payload_utf8: Option<bool>,
    pub(crate) expiry_zero_at: Option<usize>,
    /// CONNECT of MQTT 5 with an empty client identifier and Clean Start 0: the flags byte.
    pub(crate) unnamed_at: Option<usize>,
}

/// The body of a packet that may follow CONNECT.
pub(crate) fn packet(version: Version, first: u8, body: &[u8]) -> Result<Notes, ProtocolError> {
    let mut reader = Reader::new(body);
    match first >> 4 {
        frame::PUBLISH => publish(version, first & 0x0F, &mut reader),
        frame::PUBACK | frame::PUBREC | frame::PUBREL | frame::PUBCOMP => {
            acknowledgement(version, &mut reader).map(|()| Notes::default())
        }
        frame::SUBSCRIBE => subscribe(version, &mut reader).map(|()| Notes::default()),
        frame::UNSUBSCRIBE => unsubscribe(version, &mut reader).map(|()| Notes::default()),
        frame::DISCONNECT if version.is_v5() => disconnect(&mut reader).map(|()| Notes::default()),
        frame::PINGREQ | frame::DISCONNECT => reader.end().map(|()| Notes::default()),
        _ => Err(ProtocolError::Malformed("an unknown packet type")),
    }
}

/// The first byte of a packet after CONNECT: a type a client may send, with the flags it prescribes
/// [MQTT-2.1.3-1; 3.1.1: MQTT-2.2.2-1, 2.2.2-2].
pub(crate) fn first_byte(version: Version, first: u8) -> Result<(), ProtocolError> {
    let flags = first & 0x0F;
    let expected = match first >> 4 {
        frame::PUBLISH => return publish_flags(flags),
        frame::PUBREL | frame::SUBSCRIBE | frame::UNSUBSCRIBE => 2,
        frame::PUBACK | frame::PUBREC | frame::PUBCOMP | frame::PINGREQ | frame::DISCONNECT => 0,
        // [MQTT-3.1.0-2]
        frame::CONNECT => return Err(ProtocolError::Violation("a second CONNECT")),
        frame::CONNACK | frame::SUBACK | frame::UNSUBACK | frame::PINGRESP => {
            return Err(ProtocolError::Violation("a packet only a server sends"));
        }
        // [MQTT-4.12.0-7]: no AUTH unless CONNECT named a method, and such a CONNECT was refused
        frame::AUTH if version.is_v5() && flags == 0 => {
            return Err(ProtocolError::Violation("AUTH without a method"));
        }
        // [MQTT-3.15.1-1]
        frame::AUTH if version.is_v5() => {
            return Err(ProtocolError::Malformed("reserved flags of the fixed header"));
        }
        _ => return Err(ProtocolError::Malformed("an unknown packet type")),
    };
    match flags == expected {
        true => Ok(()),
        false => Err(ProtocolError::Malformed("reserved flags of the fixed header")),
    }
}

fn publish_flags(flags: u8) -> Result<(), ProtocolError> {
    match flags >> 1 & 3 {
        // [MQTT-3.3.1-4]
        3 => Err(ProtocolError::Malformed("QoS 3")),
        // [MQTT-3.3.1-2]
        0 if flags & 8 != 0 => Err(ProtocolError::Malformed("DUP at QoS 0")),
        _ => Ok(()),
    }
}

/// The body of CONNECT, whose version is already known (3.1).
pub(crate) fn connect(version: Version, body: &[u8]) -> Result<Notes, ProtocolError> {
    let mut reader = Reader::new(body);
    let mut notes = Notes::default();
    reader.string()?;
    reader.u8()?;
    let flags_at = reader.position();
    let flags = ConnectFlags(reader.u8()?);
    flags.check(version)?;
    reader.u16()?;
    if version.is_v5() {
        let found = properties::check(&mut reader, Carrier::Connect)?;
        authentication(found)?;
    }
    let client_id = reader.string()?;
    if client_id.is_empty() && !flags.clean_start() {
        match version {
            // 3.1.3.1: allowed since MQTT 5
            Version::V5 => notes.unnamed_at = Some(flags_at),
            // 3.1.1 [MQTT-3.1.3-8]
            Version::V31 | Version::V311 => return Err(ProtocolError::ClientIdRejected),
        }
    }
    // 3.1 knows no empty client identifier
    if client_id.is_empty() && version == Version::V31 {
        return Err(ProtocolError::ClientIdRejected);
    }
    if flags.will() {
        will(version, &mut reader, &mut notes)?;
    }
    if flags.username() {
        reader.string()?;
    }
    if flags.password() {
        reader.binary()?;
    }
    reader.end()?;
    Ok(notes)
}

/// 3.1.2.3
#[derive(Clone, Copy)]
struct ConnectFlags(u8);

impl ConnectFlags {
    fn clean_start(self) -> bool {
        self.0 & 0x02 != 0
    }

    fn will(self) -> bool {
        self.0 & 0x04 != 0
    }

    fn password(self) -> bool {
        self.0 & 0x40 != 0
    }

    fn username(self) -> bool {
        self.0 & 0x80 != 0
    }

    fn check(self, version: Version) -> Result<(), ProtocolError> {
        // [MQTT-3.1.2-3]
        if self.0 & 0x01 != 0 {
            return Err(ProtocolError::Malformed("the reserved flag of CONNECT"));
        }
        // [MQTT-3.1.2-11, 3.1.2-13; 3.1.1: also 3.1.2-15]
        if !self.will() && self.0 & 0x38 != 0 {
            return Err(ProtocolError::Malformed("will QoS or will retain without a will"));
        }
        // [MQTT-3.1.2-12; 3.1.1: 3.1.2-14]
        if self.0 & 0x18 == 0x18 {
            return Err(ProtocolError::Malformed("will QoS 3"));
        }
        // 3.1.1 [MQTT-3.1.2-22]
        if !version.is_v5() && self.password() && !self.username() {
            return Err(ProtocolError::Malformed("a password without a user name"));
        }
        Ok(())
    }
}

/// [MQTT-4.12.0-1], and 3.1.2.11.10
fn authentication(found: Found) -> Result<(), ProtocolError> {
    match (found.authentication_method, found.authentication_data) {
        (true, _) => Err(ProtocolError::BadAuthenticationMethod),
        (false, true) => Err(ProtocolError::Violation("authentication data without a method")),
        (false, false) => Ok(()),
    }
}

fn will(version: Version, reader: &mut Reader<'_>, notes: &mut Notes) -> Result<(), ProtocolError> {
    if version.is_v5() {
        let found = properties::check(reader, Carrier::Will)?;
        notes.payload_utf8 = found.payload_utf8;
        notes.expiry_zero_at = found.expiry_zero_at;
    }
    filter::validate_topic(reader.string()?)?;
    let payload = reader.binary()?;
    if notes.payload_utf8 == Some(true) && std::str::from_utf8(payload).is_err() {
        return Err(ProtocolError::PayloadFormatInvalid);
    }
    Ok(())
}

fn publish(version: Version, flags: u8, reader: &mut Reader<'_>) -> Result<Notes, ProtocolError> {
    let topic = reader.string()?;
    if flags & 0x06 != 0 {
        reader.packet_id()?;
    }
    let mut found = Found::default();
    if version.is_v5() {
        found = properties::check(reader, Carrier::Publish)?;
        // [MQTT-3.3.4-6]
        if found.subscription_id {
            return Err(ProtocolError::Violation(
                "a Subscription Identifier from a client",
            ));
        }
    }
    if topic.is_empty() && version.is_v5() {
        // 3.3.2.1
        if !found.topic_alias {
            return Err(ProtocolError::Violation("neither a topic nor a topic alias"));
        }
    } else {
        filter::validate_topic(topic)?;
    }
    Ok(Notes {
        payload_utf8: found.payload_utf8,
        expiry_zero_at: found.expiry_zero_at,
        unnamed_at: None,
    })
}

fn acknowledgement(version: Version, reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    reader.packet_id()?;
    if version.is_v5() && !reader.is_empty() {
        reader.u8()?;
        if !reader.is_empty() {
            properties::check(reader, Carrier::Acknowledgement)?;
        }
    }
    reader.end()
}

fn subscribe(version: Version, reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    reader.packet_id()?;
    if version.is_v5() {
        properties::check(reader, Carrier::Subscribe)?;
    }
    // [MQTT-3.8.3-2; 3.1.1: MQTT-3.8.3-3]
    if reader.is_empty() {
        return Err(ProtocolError::Violation("SUBSCRIBE without a topic filter"));
    }
    while !reader.is_empty() {
        let filter = reader.string()?;
        let options = reader.u8()?;
        // [MQTT-3.8.3-5; 3.1.1: MQTT-3.8.3-4]
        let reserved = if version.is_v5() { 0xC0 } else { 0xFC };
        if options & reserved != 0 {
            return Err(ProtocolError::Malformed(
                "reserved bits of the subscription options",
            ));
        }
        if options & 0x03 == 3 {
            return Err(ProtocolError::Violation("a subscription at QoS 3"));
        }
        // 3.8.3.1
        if options & 0x30 == 0x30 {
            return Err(ProtocolError::Violation("retain handling 3"));
        }
        filter::validate_filter(filter)?;
        // [MQTT-4.8.2-1, 4.8.2-2]: shared subscriptions are a matter of MQTT 5, and offered to MQTT 3 as well, where what
        // is not one of them is a filter like any other
        let shared = match filter::parse_shared(filter) {
            Err(_) if !version.is_v5() => None,
            shared => shared?,
        };
        // [MQTT-3.8.3-4]
        if shared.is_some() && options & 0x04 != 0 {
            return Err(ProtocolError::Violation("no local on a shared subscription"));
        }
    }
    Ok(())
}

fn unsubscribe(version: Version, reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    reader.packet_id()?;
    if version.is_v5() {
        properties::check(reader, Carrier::Unsubscribe)?;
    }
    // [MQTT-3.10.3-2]
    if reader.is_empty() {
        return Err(ProtocolError::Violation("UNSUBSCRIBE without a topic filter"));
    }
    while !reader.is_empty() {
        filter::validate_filter(reader.string()?)?;
    }
    Ok(())
}

fn disconnect(reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    if !reader.is_empty() {
        let reason = reader.u8()?;
        if !reason::is_of_disconnect(reason) {
            return Err(ProtocolError::Malformed("a reason code that does not exist here"));
        }
        if reason::is_of_servers_disconnect(reason) {
            return Err(ProtocolError::Violation("a reason code only a server sends"));
        }
        if !reader.is_empty() {
            properties::check(reader, Carrier::Disconnect)?;
        }
    }
    reader.end()
}
