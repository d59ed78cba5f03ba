//! Cutting the byte stream into control packets (2.1): the fixed header, and a reader over what follows it.
//!
//! ```text
//! type:4 flags:4 | remaining length, 1 to 4 bytes | remaining length bytes
//! ```

use crate::error::ProtocolError;

pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;
pub(crate) const AUTH: u8 = 15;

/// Where a packet stands in a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes of the fixed header.
    pub(crate) header: usize,
    /// Bytes of the whole packet.
    pub(crate) total: usize,
}

/// The packet at the start of `bytes`; `None` until its fixed header is complete.
pub(crate) fn locate(bytes: &[u8], packet_size_max: u32) -> Result<Option<Frame>, ProtocolError> {
    let mut remaining = 0usize;
    for at in 0..4 {
        let Some(&byte) = bytes.get(1 + at) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1] the encoding uses the fewest bytes
            if at > 0 && byte == 0 {
                return Err(ProtocolError::Malformed(
                    "remaining length in more bytes than needed",
                ));
            }
            let header = 2 + at;
            let total = header + remaining;
            // [MQTT-3.1.2-24] and its counterpart for the server, 3.2.2.3.6
            if total > packet_size_max as usize {
                return Err(ProtocolError::PacketTooLarge {
                    size: total as u32,
                    max: packet_size_max,
                });
            }
            return Ok(Some(Frame { header, total }));
        }
    }
    Err(ProtocolError::Malformed(
        "remaining length of more than four bytes",
    ))
}

/// Reads the fields of one packet in place; every read is checked.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte in the bytes it was made from.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let end = self.at.saturating_add(length);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or(ProtocolError::Malformed("a field runs past the end"))?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        Ok(self
            .take(2)?
            .iter()
            .fold(0, |value, &byte| value << 8 | u16::from(byte)))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(self
            .take(4)?
            .iter()
            .fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// Variable Byte Integer (1.5.5).
    pub(crate) fn variable(&mut self) -> Result<u32, ProtocolError> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                // [MQTT-1.5.5-1]
                return match at > 0 && byte == 0 {
                    true => Err(ProtocolError::Malformed(
                        "variable byte integer in more bytes than needed",
                    )),
                    false => Ok(value),
                };
            }
        }
        Err(ProtocolError::Malformed(
            "variable byte integer of more than four bytes",
        ))
    }

    /// Binary data (1.5.6).
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 string without U+0000 [MQTT-1.5.4-1, 1.5.4-2; 3.1.1: MQTT-1.5.3-1, 1.5.3-2].
    pub(crate) fn string(&mut self) -> Result<&'a str, ProtocolError> {
        let bytes = self.binary()?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| ProtocolError::Malformed("a string is not UTF-8"))?;
        if bytes.contains(&0) {
            return Err(ProtocolError::Malformed("a string holds U+0000"));
        }
        Ok(text)
    }

    /// Packet Identifier, never 0 [MQTT-2.2.1-3, -4; 3.1.1: MQTT-2.3.1-1].
    pub(crate) fn packet_id(&mut self) -> Result<u16, ProtocolError> {
        match self.u16()? {
            0 => Err(ProtocolError::Malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// The packet ends here.
    pub(crate) fn end(&self) -> Result<(), ProtocolError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(ProtocolError::Malformed("bytes after the end of the packet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_length_of_one_to_four_bytes() {
        let max = u32::MAX;
        assert_eq!(locate(&[0xC0], max), Ok(None));
        assert_eq!(locate(&[0xC0, 0], max), Ok(Some(Frame { header: 2, total: 2 })));
        assert_eq!(locate(&[0x30, 0x80], max), Ok(None));
        assert_eq!(
            locate(&[0x30, 0x80, 0x01], max),
            Ok(Some(Frame {
                header: 3,
                total: 131
            }))
        );
        assert_eq!(
            locate(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], max),
            Ok(Some(Frame {
                header: 5,
                total: 268_435_460
            }))
        );
        assert!(matches!(
            locate(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], max),
            Err(ProtocolError::Malformed(_))
        ));
        assert!(matches!(
            locate(&[0x30, 0x80, 0x00], max),
            Err(ProtocolError::Malformed(_))
        ));
    }

    #[test]
    fn the_limit_counts_the_fixed_header() {
        assert!(locate(&[0x30, 8], 10).is_ok());
        assert_eq!(
            locate(&[0x30, 9], 10),
            Err(ProtocolError::PacketTooLarge { size: 11, max: 10 })
        );
    }

    #[test]
    fn strings_are_utf8_without_nul() {
        assert_eq!(Reader::new(b"\0\x02ab").string(), Ok("ab"));
        for wrong in [
            &b"\0\x03ab"[..],
            b"\0\x01\xFF",
            b"\0\x01\0",
            b"\0",
            b"\0\x03\xED\xA0\x80",
        ] {
            assert!(Reader::new(wrong).string().is_err(), "{wrong:?}");
        }
    }
}
