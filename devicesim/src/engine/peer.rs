//! A connection of the load engine: reads into a buffer that all connections of a thread share, and keeps only what is left
//! of an unfinished packet.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Login;
use crate::link::{Broken, Dialer};
use crate::options::MqttVersion;
use crate::wire::{self, kind};

/// Bytes read at once.
const READ: usize = 64 << 10;
/// Seconds.
const KEEP_ALIVE: u16 = 120;
/// The packet id of the one subscription.
const SUBSCRIBE_ID: u16 = 1;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// One packet, in the buffer it was read into.
pub(super) struct Slice<'a> {
    pub(super) first: u8,
    pub(super) body: &'a [u8],
}

impl<'a> Slice<'a> {
    pub(super) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet id of an acknowledgement.
    pub(super) fn id(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]))
    }

    /// QoS, packet id and payload of a PUBLISH.
    pub(super) fn publish(&self) -> Option<(u8, u16, &'a [u8])> {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]));
        let rest = self.body.get(2 + topic..)?;
        if qos == 0 {
            return Some((0, 0, rest));
        }
        let id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        Some((qos, id, &rest[2..]))
    }
}

pub(super) struct Peer {
    stream: TcpStream,
    /// What is left of an unfinished packet.
    rest: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// Bytes of `out` that are written already.
    written: usize,
}

impl Peer {
    /// Connects, logs in and subscribes.
    pub(super) async fn open(
        dialer: &Dialer,
        login: &Login,
        source: Option<Ipv4Addr>,
        filter: Option<(&str, u8)>,
    ) -> Result<Peer, Broken> {
        let mut peer = Peer {
            stream: dialer.tcp(source, None).await?,
            rest: Vec::new(),
            out: Vec::new(),
            written: 0,
        };
        let with = wire::Connect {
            version: MqttVersion::V311,
            client_id: &login.client_id,
            username: login.username.as_deref(),
            password: login.password.as_deref(),
            keep_alive: KEEP_ALIVE,
            clean: true,
            session_expiry: 0,
            receive_max: 0,
        };
        wire::connect(&mut peer.out, &with);
        let code = peer.answer(kind::CONNACK).await?;
        if code != 0 {
            return Err(Broken::Refused(wire::connack_name(MqttVersion::V311, code)));
        }
        if let Some((filter, qos)) = filter {
            wire::subscribe(&mut peer.out, MqttVersion::V311, SUBSCRIBE_ID, &[(filter, qos)]);
            if peer.answer(kind::SUBACK).await? > 2 {
                return Err(Broken::Refused("the subscription is refused"));
            }
        }
        Ok(peer)
    }

    /// The last byte of the next packet of this kind.
    async fn answer(&mut self, wanted: u8) -> Result<u8, Broken> {
        let mut code = None;
        while code.is_none() {
            let interest = self.interest();
            let ready = self.stream.ready(interest).await?;
            if ready.is_writable() {
                self.write()?;
            }
            if ready.is_readable() {
                self.read(|packet, _| {
                    if packet.kind() == wanted {
                        code = packet.body.last().copied();
                    }
                })?;
            }
        }
        Ok(code.unwrap_or(u8::MAX))
    }

    fn interest(&self) -> Interest {
        if self.out.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        }
    }

    /// Waits until the socket can be used, and uses it: writes what waits, reads what is there. May be dropped while it
    /// waits.
    pub(super) async fn turn(&mut self, on: impl FnMut(Slice<'_>, &mut Vec<u8>)) -> io::Result<()> {
        let ready = self.stream.ready(self.interest()).await?;
        if ready.is_writable() {
            self.write()?;
        }
        if ready.is_readable() {
            self.read(on)?;
        }
        Ok(())
    }

    /// Writes as much as the socket takes now.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        // A connection that has nothing to say holds no memory.
        if self.out.capacity() > READ {
            self.out = Vec::new();
        }
        self.out.clear();
        Ok(())
    }

    fn read(&mut self, mut on: impl FnMut(Slice<'_>, &mut Vec<u8>)) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            let count = match self.stream.try_read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let new = &buffer[..count];
            if self.rest.is_empty() {
                let used = packets(new, &mut self.out, &mut on)?;
                self.rest.extend_from_slice(&new[used..]);
            } else {
                self.rest.extend_from_slice(new);
                let used = packets(&self.rest, &mut self.out, &mut on)?;
                if used == self.rest.len() {
                    self.rest = Vec::new();
                } else {
                    self.rest.drain(..used);
                }
            }
            Ok(())
        })
    }

    /// Ends the connection as a lost network does, without a word: the other side is reset.
    pub(super) fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// Says goodbye, if the socket takes it.
    pub(super) fn leave(mut self) {
        wire::disconnect(&mut self.out);
        // The connection closes either way.
        let _ = self.write();
    }
}

/// Tells every whole packet; returns how many bytes they took.
fn packets(
    bytes: &[u8],
    out: &mut Vec<u8>,
    on: &mut impl FnMut(Slice<'_>, &mut Vec<u8>),
) -> io::Result<usize> {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let Some(&first) = rest.first() else {
            return Ok(used);
        };
        let (mut len, mut at) = (0usize, 1);
        loop {
            let Some(&byte) = rest.get(at) else {
                return Ok(used);
            };
            if at > 4 {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a packet's length has more than four bytes",
                ));
            }
            len |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(body) = rest.get(at..at + len) else {
            return Ok(used);
        };
        on(Slice { first, body }, out);
        used += at + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PublishOut;

    #[test]
    fn packets_are_told_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        for n in 0..5u8 {
            let publish = PublishOut {
                topic: "a/b",
                payload: &vec![n; 100 * usize::from(n)],
                qos: n % 3,
                id: 7 + u16::from(n),
                dup: false,
                retain: false,
                expiry_s: None,
                user: &[],
            };
            wire::publish(&mut bytes, MqttVersion::V311, &publish);
        }
        for cut in 0..bytes.len() {
            let mut told = Vec::new();
            let mut on = |packet: Slice<'_>, _: &mut Vec<u8>| {
                let (qos, id, payload) = packet.publish().unwrap();
                told.push((qos, id, payload.len()));
            };
            let used = packets(&bytes[..cut], &mut Vec::new(), &mut on).unwrap();
            let again = packets(&bytes[used..], &mut Vec::new(), &mut on).unwrap();
            assert_eq!(used + again, bytes.len());
            assert_eq!(
                told,
                [(0, 0, 0), (1, 8, 100), (2, 9, 200), (0, 0, 300), (1, 11, 400)],
                "{cut}"
            );
        }
    }

    #[test]
    fn foreign_bytes_are_refused_or_told_and_never_panic() {
        for bytes in [
            &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1][..],
            &[0x32, 1, 0],
            &[0x40, 0],
            &[0x32, 4, 0, 9, 1, 1],
        ] {
            let _ = packets(
                bytes,
                &mut Vec::new(),
                &mut |packet: Slice<'_>, _: &mut Vec<u8>| {
                    assert!(packet.id().is_none() || packet.body.len() >= 2);
                    let _ = packet.publish();
                },
            );
        }
    }
}
