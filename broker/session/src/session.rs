//! What survives a connection (4.1): packet identifiers in flight both ways, and the queue behind them.

use std::collections::VecDeque;
use std::time::Instant;

use crate::action::DropCause;
use crate::packet::{Delivery, QoS};

/// The acknowledgement state of one client. Subscriptions are the caller's.
#[derive(Debug, Default)]
pub struct Session {
    durable: bool,
    /// Deliveries that have a packet identifier, in the order they were first sent [MQTT-4.6.0-1].
    pub(crate) in_flight: VecDeque<InFlight>,
    /// Deliveries that wait for room in the window, in order.
    pub(crate) queue: VecDeque<Delivery>,
    /// Incoming QoS 2 identifiers between PUBREC and PUBREL, ascending.
    pub(crate) received: Vec<Received>,
    pub(crate) last_packet_id: u16,
}

/// A delivery between PUBLISH and the end of its acknowledgement.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) packet_id: u16,
    /// Whether it takes a place in this connection's window; the window starts empty with each connection (4.9).
    pub(crate) counted: bool,
    pub(crate) stage: Stage,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// PUBLISH sent, PUBACK or PUBREC awaited.
    Published(Delivery),
    /// PUBREC received; PUBREL waits until that is stored. Durable sessions only.
    Received { tag: u64 },
    /// PUBREC received, PUBREL sent: the message itself is no longer needed [MQTT-4.3.3-4..5].
    Released { tag: Option<u64> },
}

/// An incoming QoS 2 identifier whose message is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) packet_id: u16,
    /// Whether its PUBLISH came in this connection and counts against the Receive Maximum.
    pub(crate) counted: bool,
}

impl Session {
    pub fn new() -> Self {
        Self::default()
    }

    /// A session that outlives the server. The low 16 bits of a tag are the packet identifier, so that it is the same
    /// after a restart without having been written down [MQTT-4.4.0-1]. What the caller stores has odd tags and whatever
    /// else comes again even ones; what has no tag, or finds its own identifier in use, is given an even one.
    pub fn durable() -> Self {
        Self {
            durable: true,
            ..Self::default()
        }
    }

    /// Puts back a stored delivery that may have been sent before the restart; it is sent again with DUP.
    pub fn restore_sent(&mut self, tag: u64, delivery: Delivery) {
        self.restore(tag, Stage::Published(delivery));
    }

    /// Puts back a stored delivery that the client had received: PUBREL is sent again.
    pub fn restore_released(&mut self, tag: u64) {
        self.restore(tag, Stage::Released { tag: Some(tag) });
    }

    /// Puts back an incoming QoS 2 identifier whose message is taken.
    pub fn restore_received(&mut self, packet_id: u16) {
        self.remember_received(Received {
            packet_id,
            counted: false,
        });
    }

    /// Puts back a delivery that waits, behind those that wait already.
    pub fn restore_queued(&mut self, delivery: Delivery) {
        self.queue.push_back(delivery);
    }

    fn restore(&mut self, tag: u64, stage: Stage) {
        let packet_id = self.next_packet_id(Some(tag));
        self.in_flight.push_back(InFlight {
            packet_id,
            counted: false,
            stage,
        });
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Nothing in flight either way, nothing queued.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.queue.is_empty() && self.received.is_empty()
    }

    /// Deliveries not yet acknowledged by the client, sent or waiting.
    pub fn pending(&self) -> usize {
        self.in_flight.len() + self.queue.len()
    }

    /// Deliveries that wait for room in the client's window.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Keeps a delivery for a client that is not connected. QoS 0 is not kept.
    pub fn enqueue(&mut self, delivery: &Delivery, queue_messages_max: usize) -> Result<(), DropCause> {
        if delivery.qos == QoS::AtMostOnce {
            return Err(DropCause::NotConnected);
        }
        if self.queue.len() >= queue_messages_max {
            return Err(DropCause::QueueFull);
        }
        self.queue.push_back(delivery.clone());
        Ok(())
    }

    /// Forgets waiting deliveries that `keep` denies, for example after a grant was withdrawn. Those already
    /// sent keep their packet identifier until the client acknowledges them. Returns how many went.
    pub fn retain_queued(&mut self, keep: impl FnMut(&Delivery) -> bool) -> usize {
        let before = self.queue.len();
        self.queue.retain(keep);
        before - self.queue.len()
    }

    /// Forgets deliveries that await their PUBACK or PUBREC and that `keep` denies, between two connections: the client
    /// has had them, as its caller knows in another way. What is forgotten is not sent again. Returns how many went.
    pub fn retain_sent(&mut self, mut keep: impl FnMut(&Delivery) -> bool) -> usize {
        let before = self.in_flight.len();
        self.in_flight.retain(|entry| match &entry.stage {
            Stage::Published(delivery) => keep(delivery),
            Stage::Received { .. } | Stage::Released { .. } => true,
        });
        before - self.in_flight.len()
    }

    /// Forgets waiting deliveries whose time has passed [MQTT-3.3.2-5]. Returns how many went.
    pub fn drop_expired(&mut self, now: Instant) -> usize {
        self.retain_queued(|delivery| !delivery.publish.is_expired(now))
    }

    /// The deliveries the client has not acknowledged, oldest first.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        let sent = self.in_flight.iter().filter_map(|entry| match &entry.stage {
            Stage::Published(delivery) => Some(delivery),
            Stage::Received { .. } | Stage::Released { .. } => None,
        });
        sent.chain(&self.queue)
    }

    /// What may be given to somebody else when the session is over: what its client has not acknowledged, oldest first, but for
    /// what was sent at QoS 2 [MQTT-4.8.2-5].
    pub fn into_rest(self) -> impl Iterator<Item = Delivery> {
        let sent = self.in_flight.into_iter().filter_map(|entry| match entry.stage {
            Stage::Published(delivery) if delivery.qos < QoS::ExactlyOnce => Some(delivery),
            Stage::Published(_) | Stage::Received { .. } | Stage::Released { .. } => None,
        });
        sent.chain(self.queue)
    }

    /// The deliveries that wait and were never sent, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    /// A new connection counts its windows from zero (4.9).
    pub(crate) fn begin_connection(&mut self) {
        self.in_flight.iter_mut().for_each(|entry| entry.counted = false);
        self.received.iter_mut().for_each(|entry| entry.counted = false);
    }

    /// A packet identifier that is not in use [MQTT-2.2.1-3]. The window is far below 65535, so there is one.
    pub(crate) fn next_packet_id(&mut self, tag: Option<u64>) -> u16 {
        if self.durable
            && let Some(own) = tag.map(|tag| tag as u16).filter(|own| *own != 0)
            && self.in_flight_position(own).is_none()
        {
            return own;
        }
        loop {
            self.last_packet_id = match (self.durable, self.last_packet_id) {
                (false, u16::MAX) => 1,
                (false, id) => id + 1,
                (true, 0xFFFE..) => 2,
                (true, id) => id + 2,
            };
            let id = self.last_packet_id;
            if self.in_flight_position(id).is_none() {
                return id;
            }
        }
    }

    pub(crate) fn in_flight_position(&self, packet_id: u16) -> Option<usize> {
        self.in_flight
            .iter()
            .position(|entry| entry.packet_id == packet_id)
    }

    /// Remembers an incoming QoS 2 identifier until its PUBREL.
    pub(crate) fn remember_received(&mut self, entry: Received) {
        match self
            .received
            .binary_search_by_key(&entry.packet_id, |known| known.packet_id)
        {
            Ok(at) => self.received[at] = entry,
            Err(at) => self.received.insert(at, entry),
        }
    }

    pub(crate) fn has_received(&self, packet_id: u16) -> bool {
        self.received
            .binary_search_by_key(&packet_id, |known| known.packet_id)
            .is_ok()
    }

    pub(crate) fn forget_received(&mut self, packet_id: u16) -> Option<Received> {
        let at = self
            .received
            .binary_search_by_key(&packet_id, |known| known.packet_id)
            .ok()?;
        let entry = self.received.remove(at);
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Some(entry)
    }
}
