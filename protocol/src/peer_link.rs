//! What travels on the link between the message servers of two domains (clause 8.5), inside mutual TLS.
//!
//! ```text
//! link  = part*
//! part  = length of what follows (u32, big endian) | tag (u8) | body
//! tag 0   Hello, JSON: the first part of each side
//! tag 1   Items: a frame as on the bus (`frame`), with `deliver` and `answer` items only
//! tag 2   Ping, empty       tag 3   Pong, empty
//! tag 4   Goodbye, JSON: the last part, with the reason
//! ```
//!
//! Who speaks is said by the certificate alone. A newer minor version may add tags and fields: unknown ones are passed
//! over; both sides speak the lower minor version. Another major version is refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::address::Domain;
use crate::status::Status;

/// The version this code speaks.
pub const VERSION: Version = Version { major: 1, minor: 0 };
/// ALPN of the link.
pub const ALPN: &[u8] = b"irsp-peer";
/// Longest part, in bytes: the largest envelope beside a full frame of others.
pub const PART_LEN_MAX: usize = 4 << 20;
/// Bytes before a part's body.
const HEAD_LEN: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

/// The first thing each side says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: Version,
    pub domain: Domain,
    /// Whom it means to speak to.
    pub to: Domain,
}

/// Why a side ends the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    pub code: Status,
    pub reason: String,
}

/// One part of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Hello(Hello),
    Items(Bytes),
    Ping,
    Pong,
    Goodbye(Goodbye),
    /// Of a newer minor version.
    Unknown(u8),
}

/// Why bytes are not a part.
#[derive(Debug, Error)]
pub enum PartError {
    #[error("a part has {0} bytes and may have {PART_LEN_MAX}")]
    TooLong(usize),
    #[error("a part has no tag")]
    Empty,
    #[error("a part is not understood: {0}")]
    Body(#[from] serde_json::Error),
}

impl Version {
    /// What both sides speak; `None` if they have no version in common.
    pub fn agree(self, other: Version) -> Option<Version> {
        (self.major == other.major).then(|| self.min(other))
    }
}

impl PartError {
    pub fn status(&self) -> Status {
        match self {
            PartError::TooLong(_) => Status::TOO_LARGE,
            PartError::Empty | PartError::Body(_) => Status::MALFORMED,
        }
    }
}

/// Takes the next part off what was read; `None` if it is not all there yet. A part that is too long is refused by its
/// head alone.
pub fn read(buffer: &mut BytesMut) -> Result<Option<Part>, PartError> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*head) as usize;
    if len > PART_LEN_MAX {
        return Err(PartError::TooLong(len));
    }
    if len == 0 {
        return Err(PartError::Empty);
    }
    if buffer.len() < 4 + len {
        return Ok(None);
    }
    buffer.advance(4);
    let mut part = buffer.split_to(len).freeze();
    Ok(Some(match part.get_u8() {
        0 => Part::Hello(serde_json::from_slice(&part)?),
        1 => Part::Items(part),
        2 => Part::Ping,
        3 => Part::Pong,
        4 => Part::Goodbye(serde_json::from_slice(&part)?),
        tag => Part::Unknown(tag),
    }))
}

/// Appends one part.
pub fn write(part: &Part, buffer: &mut BytesMut) -> Result<(), PartError> {
    let (tag, body) = match part {
        Part::Hello(hello) => (0, Bytes::from(serde_json::to_vec(hello)?)),
        Part::Items(items) => (1, items.clone()),
        Part::Ping => (2, Bytes::new()),
        Part::Pong => (3, Bytes::new()),
        Part::Goodbye(goodbye) => (4, Bytes::from(serde_json::to_vec(goodbye)?)),
        Part::Unknown(tag) => (*tag, Bytes::new()),
    };
    let len = body.len() + 1;
    if len > PART_LEN_MAX {
        return Err(PartError::TooLong(len));
    }
    buffer.reserve(HEAD_LEN + body.len());
    // At most PART_LEN_MAX, which fits.
    buffer.put_u32(len as u32);
    buffer.put_u8(tag);
    buffer.put_slice(&body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Part {
        Part::Hello(Hello {
            version: VERSION,
            domain: Domain::new("a.example").unwrap(),
            to: Domain::new("b.example").unwrap(),
        })
    }

    fn goodbye() -> Part {
        Part::Goodbye(Goodbye {
            code: Status::CONFLICT,
            reason: "doubled".to_owned(),
        })
    }

    #[test]
    fn parts_read_as_they_are_written_however_they_arrive() {
        let parts = [
            hello(),
            Part::Items(Bytes::from_static(b"items")),
            Part::Ping,
            Part::Pong,
            Part::Unknown(9),
            goodbye(),
        ];
        let mut wire = BytesMut::new();
        for part in &parts {
            write(part, &mut wire).unwrap();
        }
        let (mut arrived, mut found) = (BytesMut::new(), Vec::new());
        for byte in wire {
            arrived.put_u8(byte);
            while let Some(part) = read(&mut arrived).unwrap() {
                found.push(part);
            }
        }
        assert_eq!(found, parts);
    }

    #[test]
    fn golden_bytes() {
        let mut wire = BytesMut::new();
        write(&Part::Ping, &mut wire).unwrap();
        write(&hello(), &mut wire).unwrap();
        let json = br#"{"version":{"major":1,"minor":0},"domain":"a.example","to":"b.example"}"#;
        let expected = [&[0, 0, 0, 1, 2, 0, 0, 0, 72, 0][..], json].concat();
        assert_eq!(&wire[..], expected);
    }

    #[test]
    fn what_is_too_long_or_empty_is_refused_by_its_head() {
        let mut long = BytesMut::from(&[0, 64, 0, 1][..]);
        assert_eq!(read(&mut long).unwrap_err().status(), Status::TOO_LARGE);
        let mut empty = BytesMut::from(&[0, 0, 0, 0][..]);
        assert_eq!(read(&mut empty).unwrap_err().status(), Status::MALFORMED);
        let items = Part::Items(Bytes::from(vec![0; PART_LEN_MAX]));
        assert!(write(&items, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn the_lower_minor_version_is_spoken_and_another_major_one_is_none() {
        let version = |major, minor| Version { major, minor };
        assert_eq!(version(1, 3).agree(version(1, 1)), Some(version(1, 1)));
        assert_eq!(version(1, 0).agree(version(1, 9)), Some(version(1, 0)));
        assert_eq!(version(1, 0).agree(version(2, 0)), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = read(&mut buffer) {}
        }
    }
}
