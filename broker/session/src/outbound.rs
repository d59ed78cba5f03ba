//! Deliveries to the client: the window, the queue behind it, and what is sent again (4.3, 4.4, 4.9).

use std::time::Instant;

use bytes::BytesMut;

use crate::action::{Action, DropCause};
use crate::alias::{OutgoingAliases, TopicForm};
use crate::encode::{self, Outgoing};
use crate::error::ProtocolError;
use crate::frame;
use crate::packet::{Delivery, QoS, Version};
use crate::reason;
use crate::session::{InFlight, Session, Stage};

/// What this connection knows of the deliveries.
#[derive(Debug)]
pub(crate) struct Outbound {
    version: Version,
    /// The lower of the client's Receive Maximum and our own limit.
    window: u16,
    /// In-flight deliveries sent in this connection (4.9).
    counted: u16,
    /// Deliveries that the client has ended in this connection.
    ended: u64,
    /// Deliveries of an earlier connection that did not fit into this one's window yet.
    resending: bool,
    packet_size_max: u32,
    aliases: Option<Box<OutgoingAliases>>,
}

/// What acknowledgements lead to.
pub(crate) type Actions = std::collections::VecDeque<Action>;

impl Outbound {
    pub(crate) fn new(version: Version, window: u16, packet_size_max: u32, topic_alias_max: u16) -> Self {
        Self {
            version,
            window: window.max(1),
            counted: 0,
            ended: 0,
            resending: false,
            packet_size_max,
            aliases: (topic_alias_max > 0).then(|| Box::new(OutgoingAliases::new(topic_alias_max))),
        }
    }

    pub(crate) fn packet_size_max(&self) -> u32 {
        self.packet_size_max
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Room for one more QoS 1 or 2 delivery [MQTT-3.3.4-9], and nothing waits before it.
    pub(crate) fn is_open(&self, session: &Session) -> bool {
        session.in_flight.len() < usize::from(self.window) && session.queue.is_empty()
    }

    /// Begins with what an earlier connection left unacknowledged, in its order [MQTT-4.4.0-1, 4.6.0-1].
    pub(crate) fn resume(
        &mut self,
        session: &mut Session,
        out: &mut BytesMut,
        actions: &mut Actions,
        now: Instant,
    ) {
        session.begin_connection();
        for entry in &mut session.in_flight {
            let packet_id = entry.packet_id;
            match entry.stage {
                Stage::Released { .. } => {
                    encode::acknowledgement(frame::PUBREL, self.version, packet_id, reason::SUCCESS, out);
                }
                Stage::Received { tag } => actions.push_back(Action::Received { packet_id, tag }),
                Stage::Published(_) => continue,
            }
            entry.counted = true;
            self.counted += 1;
        }
        self.resending = session.in_flight.iter().any(|entry| !entry.counted);
        self.pump(session, out, actions, now);
    }

    /// Sends now, or queues.
    pub(crate) fn deliver(
        &mut self,
        delivery: &Delivery,
        queue_messages_max: usize,
        session: &mut Session,
        out: &mut BytesMut,
        now: Instant,
    ) -> Result<(), DropCause> {
        if delivery.publish.is_expired(now) {
            return Err(DropCause::Expired);
        }
        if delivery.qos == QoS::AtMostOnce {
            return self.send(delivery, 0, false, out, now);
        }
        match self.is_open(session) {
            true => self.send_first(delivery.clone(), session, out, now),
            false => session.enqueue(delivery, queue_messages_max),
        }
    }

    /// Fills the window: first what is sent again, then the queue.
    pub(crate) fn pump(
        &mut self,
        session: &mut Session,
        out: &mut BytesMut,
        actions: &mut Actions,
        now: Instant,
    ) {
        if self.resending {
            self.resend(session, out, actions, now);
        }
        while session.in_flight.len() < usize::from(self.window)
            && let Some(delivery) = session.queue.pop_front()
        {
            let tag = delivery.tag;
            let sent = match delivery.publish.is_expired(now) {
                // [MQTT-3.3.2-5]
                true => Err(DropCause::Expired),
                false => self.send_first(delivery, session, out, now),
            };
            if let Err(cause) = sent {
                actions.push_back(Action::Dropped { tag, cause });
            }
        }
        if session.queue.is_empty() && session.queue.capacity() > 0 {
            session.queue = std::collections::VecDeque::new();
        }
    }

    fn resend(&mut self, session: &mut Session, out: &mut BytesMut, actions: &mut Actions, now: Instant) {
        let mut at = 0;
        while self.counted < self.window
            && let Some(entry) = session.in_flight.get(at)
        {
            let sent = match (&entry.stage, entry.counted) {
                // [MQTT-3.3.1-1]: DUP says it may have come before
                (Stage::Published(delivery), false) => self.send(delivery, entry.packet_id, true, out, now),
                (Stage::Published(_), true) | (Stage::Received { .. } | Stage::Released { .. }, _) => {
                    at += 1;
                    continue;
                }
            };
            match sent {
                Ok(()) => {
                    if let Some(entry) = session.in_flight.get_mut(at) {
                        entry.counted = true;
                    }
                    self.counted += 1;
                    at += 1;
                }
                Err(cause) => {
                    let dropped = session.in_flight.remove(at);
                    let tag = dropped.and_then(|entry| entry.stage.tag());
                    actions.push_back(Action::Dropped { tag, cause });
                }
            }
        }
        self.resending = session.in_flight.iter().any(|entry| !entry.counted);
    }

    fn send_first(
        &mut self,
        delivery: Delivery,
        session: &mut Session,
        out: &mut BytesMut,
        now: Instant,
    ) -> Result<(), DropCause> {
        let packet_id = session.next_packet_id(delivery.tag);
        self.send(&delivery, packet_id, delivery.dup, out, now)?;
        self.counted += 1;
        session.in_flight.push_back(InFlight {
            packet_id,
            counted: true,
            stage: Stage::Published(delivery),
        });
        Ok(())
    }

    fn send(
        &mut self,
        delivery: &Delivery,
        packet_id: u16,
        dup: bool,
        out: &mut BytesMut,
        now: Instant,
    ) -> Result<(), DropCause> {
        let topic = &*delivery.publish.topic;
        let form = self
            .aliases
            .as_ref()
            .map_or(TopicForm::Name, |aliases| aliases.form(topic));
        let outgoing = Outgoing {
            delivery,
            packet_id,
            dup,
            topic: form,
        };
        if outgoing
            .encode(self.version, self.packet_size_max, now, out)
            .is_ok()
        {
            if let Some(aliases) = &mut self.aliases {
                aliases.sent(topic, form);
            }
            return Ok(());
        }
        // an alias that is only learnt makes the packet longer; what fits without it is sent without it
        let plain = Outgoing {
            topic: TopicForm::Name,
            ..outgoing
        };
        // [MQTT-3.1.2-25]: not sent, and treated as if it had been
        plain
            .encode(self.version, self.packet_size_max, now, out)
            .map_err(|_| DropCause::TooLarge)
    }

    /// PUBACK ends a QoS 1 delivery. One without a delivery is left from a session that is gone.
    pub(crate) fn acknowledged(
        &mut self,
        packet_id: u16,
        reason: u8,
        session: &mut Session,
        actions: &mut Actions,
    ) -> Result<(), ProtocolError> {
        let Some(at) = session.in_flight_position(packet_id) else {
            return Ok(());
        };
        match session.in_flight.get(at).map(|entry| &entry.stage) {
            Some(Stage::Published(delivery)) if delivery.qos == QoS::AtLeastOnce => {
                self.end(at, reason, session, actions);
                Ok(())
            }
            _ => Err(ProtocolError::Violation("PUBACK for a QoS 2 delivery")),
        }
    }

    /// PUBREC: the message is no longer needed, PUBREL follows [MQTT-4.3.3-4], unless the client refused it.
    pub(crate) fn received(
        &mut self,
        packet_id: u16,
        reason: u8,
        session: &mut Session,
        out: &mut BytesMut,
        actions: &mut Actions,
    ) -> Result<(), ProtocolError> {
        let Some(at) = session.in_flight_position(packet_id) else {
            // 3.6.2.1: told that we know of none
            encode::acknowledgement(
                frame::PUBREL,
                self.version,
                packet_id,
                reason::PACKET_IDENTIFIER_NOT_FOUND,
                out,
            );
            return Ok(());
        };
        let durable = session.is_durable();
        let Some(entry) = session.in_flight.get_mut(at) else {
            return Ok(());
        };
        match &entry.stage {
            Stage::Published(delivery) if delivery.qos == QoS::ExactlyOnce => {
                if reason::is_error(reason) {
                    self.end(at, reason, session, actions);
                    return Ok(());
                }
                if let Some(tag) = delivery.tag.filter(|_| durable) {
                    entry.stage = Stage::Received { tag };
                    actions.push_back(Action::Received { packet_id, tag });
                    return Ok(());
                }
                entry.stage = Stage::Released { tag: delivery.tag };
            }
            // PUBREL follows when the first PUBREC is stored.
            Stage::Received { .. } => return Ok(()),
            Stage::Released { .. } => {}
            Stage::Published(_) => return Err(ProtocolError::Violation("PUBREC for a QoS 1 delivery")),
        }
        encode::acknowledgement(frame::PUBREL, self.version, packet_id, reason::SUCCESS, out);
        Ok(())
    }

    /// That the client has a QoS 2 delivery is stored: PUBREL. `false` if nothing waits for it.
    pub(crate) fn release(&mut self, packet_id: u16, session: &mut Session, out: &mut BytesMut) -> bool {
        let Some(at) = session.in_flight_position(packet_id) else {
            return false;
        };
        let Some(entry) = session.in_flight.get_mut(at) else {
            return false;
        };
        let Stage::Received { tag } = entry.stage else {
            return false;
        };
        entry.stage = Stage::Released { tag: Some(tag) };
        encode::acknowledgement(frame::PUBREL, self.version, packet_id, reason::SUCCESS, out);
        true
    }

    /// PUBCOMP ends a QoS 2 delivery.
    pub(crate) fn completed(
        &mut self,
        packet_id: u16,
        reason: u8,
        session: &mut Session,
        actions: &mut Actions,
    ) -> Result<(), ProtocolError> {
        let Some(at) = session.in_flight_position(packet_id) else {
            return Ok(());
        };
        match session.in_flight.get(at).map(|entry| &entry.stage) {
            Some(Stage::Released { .. }) => {
                self.end(at, reason, session, actions);
                Ok(())
            }
            _ => Err(ProtocolError::Violation("PUBCOMP before PUBREL")),
        }
    }

    fn end(&mut self, at: usize, reason: u8, session: &mut Session, actions: &mut Actions) {
        let Some(entry) = session.in_flight.remove(at) else {
            return;
        };
        self.counted = self.counted.saturating_sub(u16::from(entry.counted));
        self.ended += 1;
        if let Some(tag) = entry.stage.tag() {
            actions.push_back(Action::Delivered { tag, reason });
        }
        if session.in_flight.is_empty() {
            session.in_flight = std::collections::VecDeque::new();
        }
    }
}

impl Stage {
    fn tag(&self) -> Option<u64> {
        match self {
            Stage::Published(delivery) => delivery.tag,
            Stage::Received { tag } => Some(*tag),
            Stage::Released { tag } => *tag,
        }
    }
}
