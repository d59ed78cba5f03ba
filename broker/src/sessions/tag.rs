//! Tags of deliveries: what is under way with a client, in its session's words.

use irsp_session::Delivery;

/// What the tag of a delivery says: which push it is, or where it stands in the session's stored queue. Stored ones are
/// odd, see `irsp_session::Session::durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Push(u64),
    Stored(u64),
}

impl Tag {
    pub(crate) fn of(tag: u64) -> Tag {
        match tag & 1 {
            0 => Tag::Push(tag >> 1),
            _ => Tag::Stored(tag >> 1),
        }
    }
}

/// The tag of a stored delivery.
pub(crate) fn stored_tag(seq: u64) -> u64 {
    seq << 1 | 1
}

/// The tag of a push, or of an attached application's work.
pub(super) fn push_tag(number: u64) -> u64 {
    number << 1
}

/// Where a delivery stands in the stored queue, if it is stored.
pub(crate) fn stored_seq(delivery: &Delivery) -> Option<u64> {
    match delivery.tag.map(Tag::of) {
        Some(Tag::Stored(seq)) => Some(seq),
        Some(Tag::Push(_)) | None => None,
    }
}
