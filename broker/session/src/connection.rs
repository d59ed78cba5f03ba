//! An accepted connection: what the caller does with it, and how it ends.

mod incoming;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::action::{Action, CloseCause, PublishToken, SubscribeToken, UnsubscribeToken};
use crate::codec;
use crate::connect::Connect;
use crate::encode;
use crate::error::ProtocolError;
use crate::frame;
use crate::inbound::{Inbound, Outcome};
use crate::keepalive::KeepAlive;
use crate::limits::Limits;
use crate::outbound::{Actions, Outbound};
use crate::packet::{Delivery, QoS, Version};
use crate::plain::LastTopic;
use crate::reason;
use crate::session::Session;

/// One client's connection. Idle, it holds no buffer.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<Limits>,
    version: Version,
    closed: bool,
    request_problem_information: bool,
    /// CONNECT asked for a session that outlives the connection.
    session_expires: bool,
    keep_alive: KeepAlive,
    /// The beginning of a packet whose end has not arrived.
    rest: BytesMut,
    last_topic: LastTopic,
    output: BytesMut,
    actions: Actions,
    inbound: Inbound,
    outbound: Outbound,
    session: Session,
}

impl Connection {
    pub(crate) fn new(
        limits: Arc<Limits>,
        connect: &Connect,
        asked_session_expiry: Duration,
        session: Session,
        connack: &[u8],
        now: Instant,
    ) -> Self {
        let outbound = Outbound::new(
            connect.version,
            connect.receive_max.min(limits.inflight_max),
            connect.packet_size_max.unwrap_or(u32::MAX),
            connect.topic_alias_max.min(limits.topic_alias_max),
        );
        let mut connection = Self {
            version: connect.version,
            closed: false,
            request_problem_information: connect.request_problem_information,
            session_expires: !asked_session_expiry.is_zero(),
            keep_alive: KeepAlive::new(connect.keep_alive, now),
            rest: BytesMut::new(),
            last_topic: LastTopic::default(),
            output: BytesMut::new(),
            actions: Actions::new(),
            inbound: Inbound::default(),
            outbound,
            session,
            limits,
        };
        // no DISCONNECT without a CONNACK before it [MQTT-3.14.0-1]
        match connack.len() <= connection.outbound.packet_size_max() as usize {
            true => connection.output.extend_from_slice(connack),
            false => connection.close(CloseCause::ProtocolError(ProtocolError::PeerLimitTooSmall)),
        }
        connection
    }

    /// Sends again what the session holds [MQTT-4.4.0-1].
    pub(crate) fn resume(&mut self, now: Instant) {
        if !self.closed {
            self.outbound
                .resume(&mut self.session, &mut self.output, &mut self.actions, now);
        }
    }

    /// Takes bytes from the client: every complete packet is handled, the beginning of another is kept.
    pub fn input(&mut self, bytes: &[u8], now: Instant) {
        if self.closed || bytes.is_empty() {
            return;
        }
        let handled = match self.rest.is_empty() {
            true => self.packets(bytes, now),
            false => self.continued(bytes, now),
        };
        if let Err(error) = handled {
            self.fail(error);
        }
        if self.paused() {
            self.keep_alive.excuse();
        }
    }

    /// The next thing the caller has to do.
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() && self.actions.capacity() > 0 {
            self.actions = Actions::new();
        }
        action
    }

    /// Whether the caller has something to do.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The bytes to send, if there are any.
    pub fn output(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output).freeze())
    }

    /// Appends the bytes to send to the caller's buffer.
    pub fn write_into(&mut self, buffer: &mut BytesMut) {
        if !self.output.is_empty() {
            buffer.extend_from_slice(&self.output);
            self.output = BytesMut::new();
        }
    }

    /// How many bytes wait to be sent; a caller stops delivering QoS 0 to a client that does not read.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// When to call `timeout`.
    pub fn deadline(&self) -> Option<Instant> {
        if self.closed {
            None
        } else {
            self.keep_alive.deadline()
        }
    }

    /// Closes a connection whose client was silent for too long [MQTT-3.1.2-22].
    pub fn timeout(&mut self, now: Instant) {
        if self.closed || !self.keep_alive.is_over(now) {
            return;
        }
        let text = "silent for one and a half keep-alive times";
        self.say_goodbye(reason::KEEP_ALIVE_TIMEOUT, Some(text));
        self.close(CloseCause::KeepAlive);
    }

    /// Answers an `Action::Publish`. PUBACK and PUBREC are written in the order of arrival; a `reason` of 0x80
    /// or more refuses the message, and ends the connection of an MQTT 3 client, which cannot be told.
    /// After the end it still counts: a QoS 2 message that was taken is not taken again when it is repeated.
    pub fn settle(&mut self, token: PublishToken, reason: u8, reason_string: Option<&str>) {
        let text = reason_string
            .filter(|_| self.request_problem_information)
            .map(Box::from);
        let reason = codec::publish_reason(reason);
        self.inbound.settle(token, Outcome { reason, text });
        while let Some(ack) = self.inbound.next_settled() {
            let accepted = !reason::is_error(ack.outcome.reason);
            self.inbound
                .acknowledged(ack.packet_id, ack.qos, accepted, &mut self.session);
            if !self.closed {
                self.acknowledge(ack.packet_id, ack.qos, ack.outcome);
            }
        }
    }

    /// Answers an `Action::Subscribe`: one reason for each filter, the granted QoS or a refusal
    /// [MQTT-3.8.4-1, 3.8.4-6], and what was refused in words. A filter without a reason is refused.
    pub fn subscribed(&mut self, token: SubscribeToken, reasons: &[u8], reason_string: Option<&str>) {
        let codes = per_filter(token.filters, reasons).map(|reason| match self.version {
            Version::V5 => codec::subscribe_reason(reason),
            // [MQTT-3.9.3-2 of 3.1.1]
            Version::V31 | Version::V311 if reason <= 2 => reason,
            Version::V31 | Version::V311 => reason::UNSPECIFIED_ERROR,
        });
        self.answer_filters(frame::SUBACK, token.packet_id, codes.collect(), reason_string);
    }

    /// Answers an `Action::Unsubscribe`; MQTT 3 has no place for the reasons [MQTT-3.10.4-4].
    pub fn unsubscribed(&mut self, token: UnsubscribeToken, reasons: &[u8]) {
        let codes = match self.version {
            Version::V5 => per_filter(token.filters, reasons)
                .map(codec::unsubscribe_reason)
                .collect(),
            Version::V31 | Version::V311 => Vec::new(),
        };
        self.answer_filters(frame::UNSUBACK, token.packet_id, codes, None);
    }

    /// Delivers a message: at once, or from the session's queue when the client's window has room again. What
    /// can be neither comes back as `Action::Dropped`. After the end, QoS 1 and 2 go into the queue.
    pub fn deliver(&mut self, message: &Delivery, now: Instant) {
        let queue_max = self.limits.queue_messages_max;
        let delivered = match self.closed {
            true => self.session.enqueue(message, queue_max),
            false => self
                .outbound
                .deliver(message, queue_max, &mut self.session, &mut self.output, now),
        };
        if let Err(cause) = delivered {
            self.actions.push_back(Action::Dropped {
                tag: message.tag,
                cause,
            });
        }
    }

    /// Answers an `Action::Received`: PUBREL. After the end it is sent by the next connection.
    pub fn release(&mut self, packet_id: u16) {
        let mut after_the_end = BytesMut::new();
        let out = match self.closed {
            true => &mut after_the_end,
            false => &mut self.output,
        };
        self.outbound.release(packet_id, &mut self.session, out);
    }

    /// Answers an `Action::Released`: PUBCOMP.
    pub fn complete(&mut self, packet_id: u16) {
        if self.closed {
            self.inbound.released(packet_id, &mut self.session);
        } else {
            self.end_received(packet_id);
        }
    }

    /// The packet identifier of a QoS 2 publish that waits to be settled.
    pub fn packet_id_qos_2(&self, token: PublishToken) -> Option<u16> {
        self.inbound.packet_id_qos_2(token)
    }

    /// Whether a QoS 1 or 2 delivery would be sent at once.
    pub fn window_open(&self) -> bool {
        !self.closed && self.outbound.is_open(&self.session)
    }

    /// Forgets deliveries behind the window that `keep` denies, for example after a grant was withdrawn.
    pub fn retain_queued(&mut self, keep: impl FnMut(&Delivery) -> bool) {
        self.session.retain_queued(keep);
    }

    /// How many QoS 1 and 2 deliveries the client has ended in this connection: as long as it grows, the client takes
    /// something.
    pub fn ended_deliveries(&self) -> u64 {
        self.outbound.ended()
    }

    /// Deliveries that wait behind the window.
    pub fn queued(&self) -> usize {
        self.session.queued()
    }

    /// Room left in the queue behind the window.
    pub fn queue_room(&self) -> usize {
        self.limits
            .queue_messages_max
            .saturating_sub(self.session.queued())
    }

    /// Too many publishes wait to be settled: stop reading.
    pub fn paused(&self) -> bool {
        self.inbound.unsettled() >= usize::from(self.limits.receive_max)
    }

    /// The caller does not read at present: the client's silence says nothing.
    pub fn excuse(&mut self) {
        self.keep_alive.excuse();
    }

    /// Publishes that wait to be settled. A caller that wants exactly-once across connections settles them
    /// before it takes the session.
    pub fn unsettled(&self) -> usize {
        self.inbound.unsettled()
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The server ends the connection; an MQTT 5 client is told why [MQTT-3.14.0-1].
    pub fn disconnect(&mut self, reason: u8, text: Option<&str>) {
        if self.closed {
            return;
        }
        self.say_goodbye(reason, text);
        self.close(CloseCause::Server { reason });
    }

    /// What the next connection of this client goes on with [MQTT-4.1.0-1].
    pub fn into_session(self) -> Session {
        self.session
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    /// For example to forget queued deliveries after a grant was withdrawn.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    fn acknowledge(&mut self, packet_id: u16, qos: QoS, outcome: Outcome) {
        if !self.version.is_v5() && reason::is_error(outcome.reason) {
            // [MQTT-3.3.5-2 of 3.1.1]: acknowledge or close
            self.close(CloseCause::PublishRefused {
                reason: outcome.reason,
            });
            return;
        }
        let reason = outcome.reason;
        if let Some(text) = outcome.text {
            let bytes = codec::acknowledgement(qos, packet_id, reason, &text);
            // [MQTT-3.4.2-2, 3.5.2-2]: left out when it makes the packet too large
            if !bytes.is_empty() && bytes.len() <= self.outbound.packet_size_max() as usize {
                self.output.extend_from_slice(&bytes);
                return;
            }
        }
        let kind = if qos == QoS::ExactlyOnce {
            frame::PUBREC
        } else {
            frame::PUBACK
        };
        encode::acknowledgement(kind, self.version, packet_id, reason, &mut self.output);
    }

    fn answer_filters(&mut self, kind: u8, packet_id: u16, codes: Vec<u8>, text: Option<&str>) {
        if self.closed {
            return;
        }
        let encode = |text| {
            let mut packet = BytesMut::new();
            encode::subscription_acknowledgement(kind, self.version, packet_id, &codes, text, &mut packet);
            packet
        };
        let text = text.filter(|_| self.request_problem_information);
        let full = encode(text);
        // [MQTT-3.9.2-1]
        let packet = match full.len() > self.outbound.packet_size_max() as usize {
            true => encode(None),
            false => full,
        };
        self.send(&packet);
    }

    /// Sends a packet that may not be left out. A client whose Maximum Packet Size has no room for it cannot
    /// be served.
    fn send(&mut self, packet: &[u8]) {
        if packet.len() <= self.outbound.packet_size_max() as usize {
            self.output.extend_from_slice(packet);
        } else {
            self.fail(ProtocolError::PeerLimitTooSmall);
        }
    }

    /// The client broke the protocol: tell it when the version can, and close [MQTT-4.13.1-1, 4.13.2-1].
    fn fail(&mut self, error: ProtocolError) {
        self.say_goodbye(error.reason(), Some(&error.to_string()));
        self.close(CloseCause::ProtocolError(error));
    }

    fn say_goodbye(&mut self, reason: u8, text: Option<&str>) {
        if !self.version.is_v5() {
            return;
        }
        let max = self.outbound.packet_size_max() as usize;
        let full = codec::disconnect(reason, text);
        // [MQTT-3.14.2-3]
        let packet = if full.len() > max {
            codec::disconnect(reason, None)
        } else {
            full
        };
        if packet.len() <= max {
            self.output.extend_from_slice(&packet);
        }
    }

    fn close(&mut self, cause: CloseCause) {
        if !self.closed {
            self.closed = true;
            self.rest = BytesMut::new();
            self.actions.push_back(Action::Close { cause });
        }
    }
}

fn per_filter(filters: u32, reasons: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let missing = std::iter::repeat(reason::UNSPECIFIED_ERROR);
    reasons.iter().copied().chain(missing).take(filters as usize)
}
