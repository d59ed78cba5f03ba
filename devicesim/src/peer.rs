//! A connection that costs little, for loads: reads into a buffer that all connections of a thread share, keeps only what is
//! left of an unfinished packet, and writes packets in batches, while it reads.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::link::{Broken, Close, Dialer, Duplex, Welcome};
use crate::options::MqttVersion;
use crate::wire::{self, Frame, kind};

/// Bytes read at once.
const READ: usize = 64 << 10;
/// The packet id of the one subscription of a connection; publishes use others, or it is answered before them.
pub(crate) const SUBSCRIBE_ID: u16 = u16::MAX;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// One packet, in the buffer it was read into.
#[derive(Clone, Copy)]
pub(crate) struct Slice<'a> {
    version: MqttVersion,
    first: u8,
    body: &'a [u8],
}

impl<'a> Slice<'a> {
    pub(crate) fn of(version: MqttVersion, frame: &'a Frame) -> Slice<'a> {
        Slice {
            version,
            first: frame.first,
            body: &frame.body,
        }
    }

    fn frame(&self) -> Frame {
        Frame {
            first: self.first,
            body: Bytes::copy_from_slice(self.body),
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet id of an acknowledgement.
    pub(crate) fn id(&self) -> Option<u16> {
        Some(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]))
    }

    /// The reason code of an acknowledgement of a publish; 0 where none stands.
    pub(crate) fn code(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }

    /// The last byte: the return code in a SUBACK of one filter, the reason code in a short DISCONNECT.
    pub(crate) fn last(&self) -> u8 {
        self.body.last().copied().unwrap_or(0)
    }

    /// A PUBLISH that a subscription has found there.
    pub(crate) fn is_retained(&self) -> bool {
        self.kind() == kind::PUBLISH && self.first & 1 != 0
    }

    /// Answers a PUBLISH or PUBREL as its receiver.
    pub(crate) fn acknowledge(&self, out: &mut Vec<u8>) {
        match self.kind() {
            kind::PUBLISH => match self.publish() {
                Some((1, id, _)) => wire::ack(out, kind::PUBACK, id),
                Some((2, id, _)) => wire::ack(out, kind::PUBREC, id),
                Some(_) | None => {}
            },
            kind::PUBREL => {
                if let Some(id) = self.id() {
                    wire::ack(out, kind::PUBCOMP, id);
                }
            }
            _ => {}
        }
    }

    /// QoS, packet id and payload of a PUBLISH.
    pub(crate) fn publish(&self) -> Option<(u8, u16, &'a [u8])> {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(u16::from_be_bytes([*self.body.first()?, *self.body.get(1)?]));
        let mut rest = self.body.get(2 + topic..)?;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            rest = &rest[2..];
        }
        if self.version == MqttVersion::V5 {
            let (properties, used) = length(rest).ok()??;
            rest = rest.get(used + properties..)?;
        }
        Some((qos, id, rest))
    }
}

pub(crate) struct Peer {
    version: MqttVersion,
    stream: Box<dyn Duplex>,
    /// What is left of an unfinished packet.
    rest: Vec<u8>,
    pub(crate) out: Vec<u8>,
    /// Bytes of `out` that are written already.
    written: usize,
    /// Something is written and not flushed: TLS and WebSocket keep bytes of their own.
    unflushed: bool,
}

impl Peer {
    /// Connects and logs in. What came right behind CONNACK is handed over.
    pub(crate) async fn open(
        dialer: &Dialer,
        with: &wire::Connect<'_>,
        source: Option<Ipv4Addr>,
        close: Close,
    ) -> Result<(Peer, Welcome, Vec<Frame>), Broken> {
        let mut peer = Peer {
            version: with.version,
            stream: dialer.stream(source, None, close).await?,
            rest: Vec::new(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
        };
        wire::connect(&mut peer.out, with);
        let (mut answer, mut early) = (None, Vec::new());
        let answer = loop {
            peer.turn(|packet, _| match answer {
                None => answer = Some(packet.frame()),
                Some(_) => early.push(packet.frame()),
            })
            .await?;
            if let Some(answer) = &answer {
                break wire::read(with.version, answer)?;
            }
        };
        let welcome = Welcome::read(with.version, &answer)?;
        Ok((peer, welcome, early))
    }

    /// Subscribes, and waits for the answer. What is retained may come with it: it is acknowledged, and told nobody.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), Broken> {
        wire::subscribe(&mut self.out, self.version, SUBSCRIBE_ID, &[(filter, qos)]);
        let mut code = None;
        while code.is_none() {
            self.turn(|packet, out| {
                if packet.kind() == kind::SUBACK {
                    code = Some(packet.last());
                }
                packet.acknowledge(out);
            })
            .await?;
        }
        match code {
            Some(0..=2) => Ok(()),
            Some(_) | None => Err(Broken::Refused("the subscription is refused")),
        }
    }

    /// Waits until the connection can be used, and uses it: writes what waits, reads what is there. May be dropped while it
    /// waits.
    pub(crate) async fn turn(&mut self, mut on: impl FnMut(Slice<'_>, &mut Vec<u8>)) -> io::Result<()> {
        poll_fn(|cx| {
            let waits = self.waits();
            if self.poll_out(cx)?.is_ready() && waits {
                return Poll::Ready(Ok(()));
            }
            self.poll_in(cx, &mut on)
        })
        .await
    }

    /// Writes as much as the connection takes now.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        poll_fn(|cx| match self.poll_out(cx) {
            Poll::Ready(wrote) => Poll::Ready(wrote),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    fn waits(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    /// Ready when all is written.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            self.unflushed = true;
        }
        self.written = 0;
        // A connection that has nothing to say holds no memory.
        if self.out.capacity() > READ {
            self.out = Vec::new();
        }
        self.out.clear();
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_in(
        &mut self,
        cx: &mut Context<'_>,
        on: &mut impl FnMut(Slice<'_>, &mut Vec<u8>),
    ) -> Poll<io::Result<()>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let new = buffer.filled();
            if new.is_empty() {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            if self.rest.is_empty() {
                let used = packets(self.version, new, &mut self.out, on)?;
                self.rest.extend_from_slice(&new[used..]);
            } else {
                self.rest.extend_from_slice(new);
                let used = packets(self.version, &self.rest, &mut self.out, on)?;
                if used == self.rest.len() {
                    self.rest = Vec::new();
                } else {
                    self.rest.drain(..used);
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Says goodbye, if the connection takes it.
    pub(crate) async fn leave(mut self) {
        wire::disconnect(&mut self.out);
        // The connection closes either way.
        let _ = self.write().await;
    }

    /// Says goodbye, and waits until it is written.
    pub(crate) async fn goodbye(mut self) -> io::Result<()> {
        wire::disconnect(&mut self.out);
        poll_fn(|cx| self.poll_out(cx)).await
    }
}

/// Tells every whole packet; returns how many bytes they took.
fn packets(
    version: MqttVersion,
    bytes: &[u8],
    out: &mut Vec<u8>,
    on: &mut impl FnMut(Slice<'_>, &mut Vec<u8>),
) -> io::Result<usize> {
    let mut used = 0;
    loop {
        let Some((&first, rest)) = bytes[used..].split_first() else {
            return Ok(used);
        };
        let Some((len, at)) = length(rest)? else {
            return Ok(used);
        };
        let Some(body) = rest.get(at..at + len) else {
            return Ok(used);
        };
        on(Slice { version, first, body }, out);
        used += 1 + at + len;
    }
}

/// A variable byte integer and how many bytes it takes; `None` when it is not all there.
fn length(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut value = 0;
    for at in 0..4 {
        let Some(&byte) = bytes.get(at) else {
            return Ok(None);
        };
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    Err(io::Error::new(
        ErrorKind::InvalidData,
        "a length has more than four bytes",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PublishOut;

    #[test]
    fn packets_are_told_however_the_bytes_are_cut() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            told_however_cut(version);
        }
    }

    fn told_however_cut(version: MqttVersion) {
        let mut bytes = Vec::new();
        for n in 0..5u8 {
            let publish = PublishOut {
                topic: "a/b",
                payload: &vec![n; 100 * usize::from(n)],
                qos: n % 3,
                id: 7 + u16::from(n),
                dup: false,
                retain: false,
                expiry_s: Some(9),
                user: &[],
            };
            wire::publish(&mut bytes, version, &publish);
        }
        for cut in 0..bytes.len() {
            let mut told = Vec::new();
            let mut on = |packet: Slice<'_>, _: &mut Vec<u8>| {
                let (qos, id, payload) = packet.publish().unwrap();
                told.push((qos, id, payload.len()));
            };
            let used = packets(version, &bytes[..cut], &mut Vec::new(), &mut on).unwrap();
            let again = packets(version, &bytes[used..], &mut Vec::new(), &mut on).unwrap();
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
                MqttVersion::V5,
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
