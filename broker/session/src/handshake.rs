//! Before CONNECT is accepted (3.1.4): exactly one CONNECT, complete and in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::codec::{self, Announce, TAIL};
use crate::connect::{Connect, Refusal};
use crate::connection::Connection;
use crate::error::ProtocolError;
use crate::frame::{self, Frame};
use crate::limits::Limits;
use crate::packet::Version;
use crate::reason;
use crate::session::Session;

/// A network connection that has not yet said who it is.
#[derive(Debug)]
pub struct Handshake {
    limits: Arc<Limits>,
    deadline: Instant,
    /// What arrived of CONNECT, and after it whatever the client sent without waiting for CONNACK.
    buffer: BytesMut,
    asked: Option<Asked>,
}

/// What the client asked for, to tell it what it gets instead.
#[derive(Clone, Copy, Debug)]
struct Asked {
    version: Version,
    packet_size_max: u32,
    session_expiry: Duration,
    keep_alive: Duration,
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Progress {
    /// CONNECT is not complete.
    More,
    /// Decide, then `accept` or `refuse`. What the client sent behind its CONNECT is kept for the connection.
    Connect(Box<Connect>),
    /// Write `output` (a CONNACK, or nothing where the version has no way to tell), then close.
    Refused { output: Bytes, error: ProtocolError },
}

impl Handshake {
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            deadline: now + limits.connect_timeout,
            limits,
            buffer: BytesMut::new(),
            asked: None,
        }
    }

    /// When to give up waiting for CONNECT (3.1.4: close within a reasonable time, without CONNACK).
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes bytes from the client. Once CONNECT is complete, more bytes are only kept.
    pub fn input(&mut self, bytes: &[u8], _now: Instant) -> Progress {
        self.buffer.extend_from_slice(bytes);
        if self.asked.is_some() {
            return Progress::More;
        }
        match self.connect() {
            Ok(None) => Progress::More,
            Ok(Some(connect)) => Progress::Connect(connect),
            Err(error) => {
                let output = refusal(peek_version(&self.buffer), error);
                self.buffer = BytesMut::new();
                Progress::Refused { output, error }
            }
        }
    }

    /// Refuses a well-formed CONNECT: the CONNACK to write before closing. A client that allows no packet of
    /// its size gets none, and so does one whose CONNECT is not there yet.
    pub fn refuse(self, refusal: &Refusal) -> Bytes {
        let Some(asked) = self.asked else {
            return Bytes::new();
        };
        match asked.version {
            Version::V5 => {
                let max = asked.packet_size_max as usize;
                let full = codec::connack_refused(refusal.v5, refusal.text.clone());
                // [MQTT-3.2.2-19]
                let output = if full.len() > max {
                    codec::connack_refused(refusal.v5, None)
                } else {
                    full
                };
                if output.len() > max { Bytes::new() } else { output }
            }
            Version::V31 | Version::V311 => connack_v3(false, refusal.v3),
        }
    }

    /// Accepts: CONNACK is the connection's first output, what an earlier connection left unacknowledged
    /// follows it. `session_present` says that `session` was resumed [MQTT-3.2.2-2, 3.2.2-3].
    pub fn accept(
        self,
        connect: &Connect,
        session: Session,
        session_present: bool,
        assigned_client_id: Option<ByteString>,
        now: Instant,
    ) -> Connection {
        let connack = match connect.version {
            Version::V5 => codec::connack(session_present, self.announce(connect, assigned_client_id)),
            // the flag is reserved in 3.1
            Version::V31 => connack_v3(false, 0),
            Version::V311 => connack_v3(session_present, 0),
        };
        let asked = self
            .asked
            .map_or(connect.session_expiry, |asked| asked.session_expiry);
        let mut connection = Connection::new(self.limits, connect, asked, session, &connack, now);
        connection.resume(now);
        connection.input(&self.buffer, now);
        connection
    }

    fn announce(&self, connect: &Connect, assigned_client_id: Option<ByteString>) -> Announce {
        let asked = self.asked.map(|asked| (asked.session_expiry, asked.keep_alive));
        let (session_expiry, keep_alive) = asked.unwrap_or((connect.session_expiry, connect.keep_alive));
        Announce {
            // [MQTT-3.2.2-21] and 3.2.2.3.2: told when it is not what the client asked for
            session_expiry: (session_expiry != connect.session_expiry)
                .then(|| seconds(connect.session_expiry)),
            server_keep_alive: (keep_alive != connect.keep_alive)
                .then(|| u16::try_from(connect.keep_alive.as_secs()).unwrap_or(u16::MAX)),
            receive_max: self.limits.receive_max,
            packet_size_max: Some(self.limits.packet_size_max),
            assigned_client_id,
            topic_alias_max: self.limits.topic_alias_max,
        }
    }

    fn connect(&mut self) -> Result<Option<Box<Connect>>, ProtocolError> {
        let Some(&first) = self.buffer.first() else {
            return Ok(None);
        };
        // [MQTT-3.1.0-1]
        if first >> 4 != frame::CONNECT {
            return Err(ProtocolError::NotConnect);
        }
        if first & 0x0F != 0 {
            return Err(ProtocolError::Malformed("reserved flags of the fixed header"));
        }
        let Some(frame) = frame::locate(&self.buffer, self.limits.packet_size_max)? else {
            return Ok(None);
        };
        // a wrong protocol is told before the rest of it has arrived
        let version = match version(&self.buffer, frame)? {
            Some(version) => version,
            None if self.buffer.len() < frame.total => return Ok(None),
            None => return Err(ProtocolError::Malformed("a field runs past the end")),
        };
        let Some(packet) = self.buffer.get(..frame.total) else {
            return Ok(None);
        };
        let mut bytes = BytesMut::with_capacity(frame.total + TAIL);
        bytes.extend_from_slice(packet);
        let mut connect = codec::decode_connect(version, frame, bytes)?;
        let rest = self.buffer.split_off(frame.total);
        self.buffer = BytesMut::from(&*rest);
        self.asked = Some(Asked {
            version,
            packet_size_max: connect.packet_size_max.unwrap_or(u32::MAX),
            session_expiry: connect.session_expiry,
            keep_alive: connect.keep_alive,
        });
        self.apply_limits(&mut connect);
        Ok(Some(Box::new(connect)))
    }

    fn apply_limits(&self, connect: &mut Connect) {
        connect.session_expiry = connect.session_expiry.min(self.limits.session_expiry_max);
        // told in MQTT 5 only [MQTT-3.1.2-21]; a server may end a silent connection whatever was asked for (3.1.2.10)
        let max = self.limits.keep_alive_max;
        connect.keep_alive = match connect.keep_alive {
            Duration::ZERO => max,
            asked => asked.min(max),
        };
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn connack_v3(session_present: bool, return_code: u8) -> Bytes {
    Bytes::copy_from_slice(&[frame::CONNACK << 4, 2, u8::from(session_present), return_code])
}

/// The CONNACK that says what is wrong, in the tongue of the version as far as it is known.
fn refusal(version: Option<Version>, error: ProtocolError) -> Bytes {
    match (version, error) {
        // [MQTT-3.1.2-2]: a version of the future understands the form of MQTT 5, one of the past (or the
        // bridges that mark themselves with the highest bit) that of MQTT 3
        (_, ProtocolError::UnsupportedVersion(level)) if level > 5 && level < 0x80 => {
            codec::connack_refused(reason::UNSUPPORTED_PROTOCOL_VERSION, None)
        }
        (Some(Version::V5), error) => codec::connack_refused(error.reason(), Some(error.to_string().into())),
        (_, error) => error
            .return_code_v3()
            .map_or_else(Bytes::new, |code| connack_v3(false, code)),
    }
}

fn peek_version(buffer: &[u8]) -> Option<Version> {
    let frame = frame::locate(buffer, u32::MAX).ok().flatten()?;
    match buffer.first().is_some_and(|first| first >> 4 == frame::CONNECT) {
        true => version(buffer, frame).ok().flatten(),
        false => None,
    }
}

/// Protocol name and level (3.1.2.1, 3.1.2.2); `None` until they have arrived.
fn version(buffer: &[u8], frame: Frame) -> Result<Option<Version>, ProtocolError> {
    let body = buffer
        .get(frame.header..frame.total.min(buffer.len()))
        .unwrap_or_default();
    for (name, is_31) in [(&b"\0\x04MQTT"[..], false), (&b"\0\x06MQIsdp"[..], true)] {
        let begun = body.len().min(name.len());
        if body.get(..begun) != name.get(..begun) {
            continue;
        }
        return match (body.get(name.len()), is_31) {
            (None, _) => Ok(None),
            (Some(3), true) => Ok(Some(Version::V31)),
            (Some(4), false) => Ok(Some(Version::V311)),
            (Some(5), false) => Ok(Some(Version::V5)),
            (Some(&level), _) => Err(ProtocolError::UnsupportedVersion(level)),
        };
    }
    // [MQTT-3.1.2-1]
    Err(ProtocolError::NotMqtt)
}
