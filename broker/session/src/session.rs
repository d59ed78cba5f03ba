//! What survives a connection (4.1): packet identifiers in flight both ways, and the queue behind them.

use std::collections::VecDeque;
use std::time::Instant;

use crate::action::DropCause;
use crate::packet::{Delivery, QoS};

/// The acknowledgement state of one client. Subscriptions are the caller's.
#[derive(Debug, Default)]
pub struct Session {
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

    /// Forgets waiting deliveries whose time has passed [MQTT-3.3.2-5]. Returns how many went.
    pub fn drop_expired(&mut self, now: Instant) -> usize {
        self.retain_queued(|delivery| !delivery.publish.is_expired(now))
    }

    /// The deliveries the client has not acknowledged, oldest first.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        let sent = self.in_flight.iter().filter_map(|entry| match &entry.stage {
            Stage::Published(delivery) => Some(delivery),
            Stage::Released { .. } => None,
        });
        sent.chain(&self.queue)
    }

    /// A new connection counts its windows from zero (4.9).
    pub(crate) fn begin_connection(&mut self) {
        self.in_flight.iter_mut().for_each(|entry| entry.counted = false);
        self.received.iter_mut().for_each(|entry| entry.counted = false);
    }

    /// A packet identifier that is not in use [MQTT-2.2.1-3]. The window is far below 65535, so there is one.
    pub(crate) fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = match self.last_packet_id {
                u16::MAX => 1,
                id => id + 1,
            };
            let id = self.last_packet_id;
            if !self.in_flight.iter().any(|entry| entry.packet_id == id) {
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
