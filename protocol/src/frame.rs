//! What travels on the bus between the servers of a domain: frames of items.
//!
//! ```text
//! frame = item*
//! item  = head length (u32, big endian) | head (JSON) | data length (u32, big endian) | data
//! ```
//!
//! A frame may be lost, repeated or reordered; nothing in it is believed to arrive. A batch is one frame, so
//! the cost of the bus is paid once for all that one disk write made durable.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::{Principal, Server};
use crate::change::DirectoryPage;
use crate::envelope::Envelope;
use crate::inquiry::{Finding, Inquiry};
use crate::message_id::MessageId;
use crate::peer::PeerLink;
use crate::presence::Presence;
use crate::receipt::{Answer, Cause};
use crate::status::Status;

/// One thing said on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Item {
    /// The sender has started, or has found the bus again: what waits for it may be sent at once.
    Hello { from: Server },
    /// An envelope from the sender's outbox; it is repeated until answered.
    Deliver {
        from: Server,
        #[serde(default)]
        place: Place,
        envelope: Envelope,
    },
    /// The receiver's word on a delivered envelope. 202 means that the receiver has taken custody
    /// and will tell the end in a `Status` envelope; everything else is the end.
    Answer {
        from: Server,
        id: MessageId,
        status: Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// A question that may go unanswered; whoever asks has a deadline.
    Ask {
        from: Server,
        token: u64,
        question: Question,
    },
    /// The reply to the question with this token.
    Reply { token: u64, reply: Reply },
}

/// Where an envelope stands in its sender's outbox. The bus may lose and reorder frames; a receiver that takes an
/// envelope only when it has taken the one before it keeps the sender's order all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Rises with every envelope of the sender.
    pub seq: i64,
    /// The place before it whose envelope the receiver has not answered yet; 0 if there is none.
    pub after: i64,
}

/// What one server may ask another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Asked of any server, and answered by its courier.
    Courier(Inquiry),
    /// A page of the directory, from the account server (clause 8.2).
    Directory { after: Option<String> },
    /// Presence, from the message server (clause 8.3.2): a page of all, or that of the principals named in `of`.
    Presence {
        after: Option<Principal>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        of: Vec<Principal>,
    },
    /// How the links to other domains stand, from the message server (clause 8.5).
    Peers,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    Courier(Finding),
    Directory(DirectoryPage),
    Presence {
        page: Vec<Presence>,
        next: Option<Principal>,
    },
    Peers(Vec<PeerLink>),
    /// The server that was asked does not answer such questions, or cannot now.
    Unanswered(Status),
}

/// Why bytes are not a frame.
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("the frame ends in the middle of an item")]
    Truncated,
    #[error("an item's head is not understood: {0}")]
    Head(#[from] serde_json::Error),
}

/// Appends one item to a frame.
pub fn write(item: &Item, frame: &mut BytesMut) {
    let data: &[u8] = match item {
        Item::Deliver { envelope, .. } => &envelope.data,
        Item::Hello { .. } | Item::Answer { .. } | Item::Ask { .. } | Item::Reply { .. } => &[],
    };
    write_parts(item, data, frame);
}

fn write_parts(head: &impl Serialize, data: &[u8], frame: &mut BytesMut) {
    let start = frame.len();
    frame.put_u32(0);
    // A head holds only strings, numbers and maps with text keys: writing it into memory cannot fail.
    let written = serde_json::to_writer((&mut *frame).writer(), head);
    debug_assert!(written.is_ok());
    let head_len = frame.len() - start - 4;
    frame[start..start + 4].copy_from_slice(&(head_len as u32).to_be_bytes());
    frame.reserve(4 + data.len());
    frame.put_u32(data.len() as u32);
    frame.put_slice(data);
}

/// Appends [`Item::Deliver`] of an envelope that stays where it is.
pub fn write_delivery(from: Server, place: Place, envelope: &Envelope, frame: &mut BytesMut) {
    /// Written as the item of the same name.
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Borrowed<'a> {
        Deliver {
            from: Server,
            place: Place,
            envelope: &'a Envelope,
        },
    }
    let item = Borrowed::Deliver {
        from,
        place,
        envelope,
    };
    write_parts(&item, &envelope.data, frame);
}

/// Takes the next item off a frame; `None` at its end. Data is shared with the frame, not copied.
pub fn read(frame: &mut Bytes) -> Result<Option<Item>, FrameError> {
    if frame.is_empty() {
        return Ok(None);
    }
    let head = part(frame)?;
    let mut item: Item = serde_json::from_slice(&head)?;
    let data = part(frame)?;
    if let Item::Deliver { envelope, .. } = &mut item {
        envelope.data = data;
    }
    Ok(Some(item))
}

/// What stands in a frame of another domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    Item(Box<Item>),
    /// An envelope that is not understood, such as one of a newer version's type, by its id.
    Unknown(MessageId),
}

/// The same of another domain's frame, whose envelopes may be of types that are not known here.
pub fn read_foreign(frame: &mut Bytes) -> Result<Option<Foreign>, FrameError> {
    /// Of an envelope the least that is needed to answer it.
    #[derive(Deserialize)]
    struct Unknown {
        deliver: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        envelope: Id,
    }
    #[derive(Deserialize)]
    struct Id {
        id: MessageId,
    }
    let mut rest = frame.clone();
    match read(frame) {
        Ok(item) => Ok(item.map(|item| Foreign::Item(Box::new(item)))),
        Err(FrameError::Head(error)) => {
            let head = part(&mut rest)?;
            let Ok(unknown) = serde_json::from_slice::<Unknown>(&head) else {
                return Err(FrameError::Head(error));
            };
            part(&mut rest)?;
            *frame = rest;
            Ok(Some(Foreign::Unknown(unknown.deliver.envelope.id)))
        }
        Err(error) => Err(error),
    }
}

fn part(frame: &mut Bytes) -> Result<Bytes, FrameError> {
    if frame.len() < 4 {
        return Err(FrameError::Truncated);
    }
    let len = frame.get_u32() as usize;
    if frame.len() < len {
        return Err(FrameError::Truncated);
    }
    Ok(frame.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::message_kind::MessageKind;
    use crate::options::PushOptions;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn envelope(data: &[u8]) -> Envelope {
        let address: Address = "dev/lamp-1".parse().unwrap();
        Envelope {
            id: MessageId::from_bytes([7; 16]),
            kind: MessageKind::Upload,
            source: address,
            destination: "app/climate@home.example".parse().unwrap(),
            channel: Some("temp".to_owned().try_into().unwrap()),
            time: Timestamp::from_millis(1_000),
            expires: Timestamp::from_millis(2_000),
            sender_id: None,
            content_type: Some("text/plain".into()),
            options: PushOptions::default(),
            attributes: vec![("unit".into(), "°C".into())],
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn a_batch_reads_as_it_is_written() {
        let items = [
            Item::Hello { from: Server::App },
            Item::Deliver {
                from: Server::Message,
                place: Place { seq: 8, after: 0 },
                envelope: envelope(b"21.5"),
            },
            Item::Deliver {
                from: Server::Message,
                place: Place { seq: 9, after: 8 },
                envelope: envelope(b""),
            },
            Item::Answer {
                from: Server::App,
                id: MessageId::from_bytes([7; 16]),
                status: Status::DONE,
                answer: None,
                cause: None,
            },
            Item::Ask {
                from: Server::App,
                token: 3,
                question: Question::Presence {
                    after: None,
                    of: Vec::new(),
                },
            },
            Item::Reply {
                token: 3,
                reply: Reply::Unanswered(Status::UNAVAILABLE),
            },
        ];
        let mut frame = BytesMut::new();
        for item in &items {
            write(item, &mut frame);
        }
        let mut frame = frame.freeze();
        for item in items {
            assert_eq!(read(&mut frame).unwrap(), Some(item));
        }
        assert_eq!(read(&mut frame).unwrap(), None);
    }

    #[test]
    fn a_borrowed_delivery_is_the_same_bytes() {
        let (from, envelope) = (Server::Message, envelope(b"21.5"));
        let (mut owned, mut borrowed) = (BytesMut::new(), BytesMut::new());
        let place = Place { seq: 3, after: 2 };
        write_delivery(from, place, &envelope, &mut borrowed);
        let item = Item::Deliver {
            from,
            place,
            envelope,
        };
        write(&item, &mut owned);
        assert_eq!(borrowed, owned);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frame = Bytes::from(bytes);
            while let Ok(Some(_)) = read(&mut frame) {}
        }

        #[test]
        fn a_frame_cut_anywhere_is_refused_without_panic(cut in 0usize..300) {
            let mut frame = BytesMut::new();
            let place = Place::default();
            write(&Item::Deliver { from: Server::Message, place, envelope: envelope(b"21.5") }, &mut frame);
            let mut frame = frame.freeze();
            frame.truncate(cut);
            while let Ok(Some(_)) = read(&mut frame) {}
        }
    }
}
