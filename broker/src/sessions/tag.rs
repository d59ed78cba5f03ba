//! Tags of deliveries: what is under way with a client, in its session's words. Their low 16 bits are the packet identifier
//! in a durable session, see `irsp_session::Session::durable`: odd for what is stored, even for pushes.

use irsp_protocol::MessageId;
use irsp_session::Delivery;

/// The part of a push's tag that is a packet identifier.
const IDENTIFIER_BITS: u32 = 16;

/// What the tag of a delivery says: which push it is, or where it stands in the session's stored queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Push(u64),
    Stored(u64),
}

impl Tag {
    pub(crate) fn of(tag: u64) -> Tag {
        match tag & 1 {
            0 => Tag::Push(tag >> IDENTIFIER_BITS),
            _ => Tag::Stored(tag >> 1),
        }
    }
}

/// The tag of a stored delivery.
pub(crate) fn stored_tag(seq: u64) -> u64 {
    seq << 1 | 1
}

/// The tag of a push, or of an attached application's work. Its identifier is made from what is random in the message's id,
/// so it is the same after a restart.
pub(super) fn push_tag(number: u64, id: MessageId) -> u64 {
    let [.., high, low] = *id.as_bytes();
    number << IDENTIFIER_BITS | u64::from(u16::from_be_bytes([high, low]) & !1)
}

/// Where a delivery stands in the stored queue, if it is stored.
pub(crate) fn stored_seq(delivery: &Delivery) -> Option<u64> {
    match delivery.tag.map(Tag::of) {
        Some(Tag::Stored(seq)) => Some(seq),
        Some(Tag::Push(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_named_by_its_number_and_sent_under_an_identifier_of_its_message() {
        let id = MessageId::from_bytes([0xAB; 16]);
        for number in [0, 1, 1 << 40] {
            let tag = push_tag(number, id);
            assert_eq!((Tag::of(tag), tag as u16), (Tag::Push(number), 0xABAA));
        }
    }
}
