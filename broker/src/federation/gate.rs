//! What a peer may say at all, before anything of it costs more than reading it: it speaks for its own principals, to
//! ours, and relays nothing. What its policy and the grants allow is asked later, where the effect is stored.

use std::time::Duration;

use bytes::Bytes;
use irsp_courier::{PeerAnswer, PeerFrame};
use irsp_protocol::frame::{self, Foreign, FrameError, Item};
use irsp_protocol::{
    Domain, Envelope, Kind, MessageId, MessageKind, Principal, Server, Status, Timestamp, expiry,
};
use thiserror::Error;

/// Data of a notice: one short JSON object. No quota is asked for it, so it may not be used to fill the disk.
const NOTICE_BYTES_MAX: usize = 4 << 10;

/// Why a frame ends its link.
#[derive(Debug, Error)]
pub(crate) enum Breach {
    #[error("a frame is not understood: {0}")]
    Frame(#[from] FrameError),
    #[error("a peer delivers and answers, and asks nothing")]
    Item,
}

/// What of a frame goes on, and what is refused at once.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) taken: PeerFrame,
    pub(crate) refused: Vec<(MessageId, Status)>,
}

/// Whose link it is, and what holds for all that comes over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a> {
    pub(crate) peer: &'a Domain,
    pub(crate) own: &'a Domain,
    pub(crate) now: Timestamp,
    /// How long a message may live here.
    pub(crate) lifetime_max: Duration,
}

/// Reads a frame of a peer and sorts what it holds.
pub(crate) fn sort(mut frame: Bytes, gate: Gate<'_>) -> Result<Sorted, Breach> {
    let mut sorted = Sorted::default();
    while let Some(item) = frame::read_foreign(&mut frame)? {
        let item = match item {
            Foreign::Item(item) => *item,
            Foreign::Unknown(id) => {
                sorted.refused.push((id, Status::MALFORMED));
                continue;
            }
        };
        match item {
            Item::Deliver { place, envelope, .. } => match gate.admit(envelope) {
                Ok(envelope) => sorted.taken.delivered.push((place, envelope)),
                Err(refused) => sorted.refused.push(refused),
            },
            Item::Answer {
                id,
                status,
                answer,
                cause,
                ..
            } => sorted.taken.answers.push(PeerAnswer {
                id,
                status,
                answer,
                cause,
            }),
            Item::Hello { .. } | Item::Ask { .. } | Item::Reply { .. } => return Err(Breach::Item),
        }
    }
    Ok(sorted)
}

impl Gate<'_> {
    /// An envelope with its addresses as we write them and within its time here, or its refusal.
    fn admit(self, mut envelope: Envelope) -> Result<Envelope, (MessageId, Status)> {
        let refuse = |status| Err((envelope.id, status));
        if envelope.source.domain.as_ref() != Some(self.peer) {
            return refuse(Status::FORBIDDEN);
        }
        if envelope.destination.domain.as_ref() != Some(self.own) {
            return refuse(Status::WRONG_DOMAIN);
        }
        if envelope.kind == MessageKind::Directory && !is_account_news(&envelope) {
            return refuse(Status::FORBIDDEN);
        }
        let is_notice = matches!(envelope.kind, MessageKind::Presence | MessageKind::Directory);
        if is_notice && envelope.data.len() > NOTICE_BYTES_MAX {
            return refuse(Status::TOO_LARGE);
        }
        envelope.destination.domain = None;
        envelope.expires = envelope
            .expires
            .min(self.now.plus(self.lifetime_max_of(envelope.kind)));
        Ok(envelope)
    }

    /// News live as long as between our own servers: our setting is about messages.
    fn lifetime_max_of(self, kind: MessageKind) -> Duration {
        match kind {
            MessageKind::Upload | MessageKind::Push | MessageKind::Message => self.lifetime_max,
            MessageKind::Status | MessageKind::Presence | MessageKind::Directory => expiry::BETWEEN_SERVERS,
        }
    }
}

/// Of its accounts a peer tells two things, each as the principal it is about: that it is deleted, and what is granted about it
/// to one of ours.
fn is_account_news(envelope: &Envelope) -> bool {
    let (from, to) = (&envelope.source.principal, &envelope.destination.principal);
    let tells = matches!(from.kind, Kind::Device | Kind::User | Kind::Application);
    tells && *to == Principal::server(Server::App)
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};
    use irsp_protocol::PushOptions;
    use irsp_protocol::frame::{Place, Question};

    use super::*;

    fn envelope(kind: MessageKind, source: &str, destination: &str) -> Envelope {
        Envelope {
            id: MessageId::from_bytes([7; 16]),
            kind,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            channel: None,
            time: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            sender_id: None,
            content_type: None,
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::new(),
        }
    }

    fn sorted(items: &[Item]) -> Result<Sorted, Breach> {
        let mut frame = BytesMut::new();
        items.iter().for_each(|item| frame::write(item, &mut frame));
        sort_bytes(frame.freeze())
    }

    fn sort_bytes(frame: Bytes) -> Result<Sorted, Breach> {
        let gate = Gate {
            peer: &Domain::new("b.example").unwrap(),
            own: &Domain::new("a.example").unwrap(),
            now: Timestamp::from_millis(1),
            lifetime_max: Duration::from_secs(60),
        };
        sort(frame, gate)
    }

    fn deliver(kind: MessageKind, source: &str, destination: &str) -> Item {
        Item::Deliver {
            from: Server::Message,
            place: Place::default(),
            envelope: envelope(kind, source, destination),
        }
    }

    #[test]
    fn a_peer_speaks_for_its_own_principals_to_ours() {
        let own = deliver(MessageKind::Upload, "dev/x@b.example", "app/climate@a.example");
        let taken = sorted(&[own]).unwrap().taken.delivered;
        assert_eq!(taken[0].1.source.to_string(), "dev/x@b.example");
        assert_eq!(
            taken[0].1.destination.to_string(),
            "app/climate",
            "ours is written without its domain"
        );
        for (kind, source, destination, code) in [
            (
                MessageKind::Upload,
                "dev/x@c.example",
                "app/climate@a.example",
                403,
            ),
            (
                MessageKind::Upload,
                "dev/x@a.example",
                "app/climate@a.example",
                403,
            ),
            (MessageKind::Upload, "dev/x", "app/climate@a.example", 403),
            (
                MessageKind::Upload,
                "dev/x@b.example",
                "app/climate@c.example",
                421,
            ),
            (MessageKind::Upload, "dev/x@b.example", "app/climate", 421),
            (
                MessageKind::Directory,
                "srv/account@b.example",
                "srv/message@a.example",
                403,
            ),
            (
                MessageKind::Directory,
                "dev/x@b.example",
                "srv/account@a.example",
                403,
            ),
        ] {
            let refused = sorted(&[deliver(kind, source, destination)]).unwrap();
            assert!(refused.taken.delivered.is_empty());
            assert_eq!(refused.refused[0].1.code(), code, "{source} {destination}");
        }
    }

    #[test]
    fn a_peer_tells_of_its_own_that_are_deleted_and_of_what_is_granted_about_them() {
        for (source, told) in [
            ("dev/x@b.example", true),
            ("usr/ann@b.example", true),
            ("app/x@b.example", true),
            ("dev/x@c.example", false),
            ("usr/ann@a.example", false),
            ("app/x@c.example", false),
            ("srv/account@b.example", false),
        ] {
            let notice = deliver(MessageKind::Directory, source, "srv/app@a.example");
            let taken = !sorted(&[notice]).unwrap().taken.delivered.is_empty();
            assert_eq!(taken, told, "{source}");
        }
    }

    #[test]
    fn a_message_lives_no_longer_than_one_of_ours() {
        for (kind, lives_ms, ms) in [
            (MessageKind::Push, 10, 10),
            (MessageKind::Push, 60_001, 60_001),
            (MessageKind::Push, i64::MAX, 60_001),
            (MessageKind::Presence, 600_000, 600_000),
        ] {
            let mut sent = envelope(kind, "app/x@b.example", "app/climate@a.example");
            sent.expires = Timestamp::from_millis(lives_ms);
            let sent = Item::Deliver {
                from: Server::Message,
                place: Place::default(),
                envelope: sent,
            };
            let taken = sorted(&[sent]).unwrap().taken.delivered;
            assert_eq!(taken[0].1.expires.as_millis(), ms, "{kind:?} {lives_ms}");
        }
    }

    #[test]
    fn an_envelope_that_is_not_understood_is_refused_alone() {
        let good = deliver(MessageKind::Upload, "dev/x@b.example", "app/climate@a.example");
        let text = serde_json::to_string(&good).unwrap();
        let mut frame = BytesMut::new();
        for (good, bad) in [
            ("irsp.upload", "irsp.newer"),
            ("app/climate@a.example", "ap/1@a.example"),
        ] {
            let text = text.replace(good, bad);
            frame.put_u32(text.len() as u32);
            frame.put_slice(text.as_bytes());
            frame.put_u32(1);
            frame.put_u8(b'1');
        }
        frame::write(&good, &mut frame);
        let sorted = sort_bytes(frame.freeze()).unwrap();
        let codes: Vec<_> = sorted
            .refused
            .iter()
            .map(|(id, status)| (id.as_bytes()[0], status.code()))
            .collect();
        assert_eq!(
            (codes, sorted.taken.delivered.len()),
            (vec![(7, 400), (7, 400)], 1)
        );
    }

    #[test]
    fn a_notice_is_short() {
        let mut long = envelope(MessageKind::Presence, "dev/x@b.example", "app/climate@a.example");
        long.data = Bytes::from(vec![b' '; NOTICE_BYTES_MAX + 1]);
        let sent = Item::Deliver {
            from: Server::Message,
            place: Place::default(),
            envelope: long,
        };
        assert_eq!(sorted(&[sent]).unwrap().refused[0].1.code(), 413);
    }

    #[test]
    fn a_peer_that_asks_or_sends_garbage_breaks_the_link() {
        let asks = Item::Ask {
            from: Server::Message,
            token: 1,
            question: Question::Presence {
                after: None,
                of: Vec::new(),
            },
        };
        assert!(matches!(sorted(&[asks]), Err(Breach::Item)));
        let garbage = Bytes::from_static(b"\0\0\0\x02{}\0\0\0\0");
        assert!(matches!(sort_bytes(garbage), Err(Breach::Frame(_))));
    }
}
