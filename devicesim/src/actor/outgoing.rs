//! What a member publishes: waiting, under way, sent again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use irsp_protocol::MessageId;

use crate::observation::Number;
use crate::options::MqttVersion;
use crate::wire::{self, PublishOut, kind};

/// Publishes under way at once, unless the server takes fewer.
const WINDOW: u16 = 64;

/// An answer to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) message: Number,
    pub(super) mid: MessageId,
    pub(super) code: u16,
}

/// What a publish carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cargo {
    Message(Number),
    Live(Number),
    Answer(Answer),
}

#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) cargo: Cargo,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) expiry_s: Option<u32>,
    /// Empty where the message has none.
    pub(super) id: String,
    pub(super) time: String,
    pub(super) sends: u32,
}

#[derive(Clone, Debug)]
enum Flight {
    /// PUBLISH is out.
    Published(Outgoing),
    /// PUBREL is out.
    Released(Cargo),
}

#[derive(Debug)]
pub(super) struct Outbox {
    version: MqttVersion,
    waiting: VecDeque<Outgoing>,
    flights: BTreeMap<u16, Flight>,
    window: u16,
    last_id: u16,
}

impl Outbox {
    pub(super) fn new(version: MqttVersion) -> Outbox {
        Outbox {
            version,
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            window: WINDOW,
            last_id: 0,
        }
    }

    /// How many are out and not acknowledged.
    pub(super) fn under_way(&self) -> i64 {
        self.flights.len() as i64
    }

    pub(super) fn add(&mut self, outgoing: Outgoing) {
        self.waiting.push_back(outgoing);
    }

    /// A new connection: what was under way goes out again, under its packet ids when the server has kept the session
    /// [MQTT-4.4.0-1], else anew and before all that waits. Returns what goes out again.
    pub(super) fn connected(&mut self, resumed: bool, receive_max: u16, out: &mut Vec<u8>) -> Vec<Cargo> {
        self.window = WINDOW.min(receive_max.max(1));
        let mut again = Vec::new();
        if resumed {
            for (id, flight) in &mut self.flights {
                match flight {
                    Flight::Published(outgoing) => {
                        outgoing.sends += 1;
                        again.push(outgoing.cargo);
                        write(out, self.version, outgoing, *id, true);
                    }
                    Flight::Released(_) => wire::ack(out, kind::PUBREL, *id),
                }
            }
            return again;
        }
        let mut rest = Vec::new();
        for (_, flight) in std::mem::take(&mut self.flights) {
            match flight {
                Flight::Published(outgoing) => rest.push(outgoing),
                // The server had it: PUBREC came.
                Flight::Released(_) => {}
            }
        }
        rest.sort_by_key(|outgoing| match outgoing.cargo {
            Cargo::Message(number) | Cargo::Live(number) => number,
            Cargo::Answer(answer) => answer.message,
        });
        for outgoing in rest.into_iter().rev() {
            self.waiting.push_front(outgoing);
        }
        again
    }

    /// Writes the next one that may go out; says what it was and whether it goes out again.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Option<(Cargo, bool)> {
        if self.flights.len() >= usize::from(self.window) {
            return None;
        }
        let mut outgoing = self.waiting.pop_front()?;
        outgoing.sends += 1;
        let sent = (outgoing.cargo, outgoing.sends > 1);
        if outgoing.qos == 0 {
            write(out, self.version, &outgoing, 0, false);
            return Some(sent);
        }
        let id = self.free_id();
        write(out, self.version, &outgoing, id, false);
        self.flights.insert(id, Flight::Published(outgoing));
        Some(sent)
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.flights.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// PUBACK, PUBCOMP, or a PUBREC that refuses.
    pub(super) fn over(&mut self, id: u16) -> Option<Cargo> {
        Some(match self.flights.remove(&id)? {
            Flight::Published(outgoing) => outgoing.cargo,
            Flight::Released(cargo) => cargo,
        })
    }

    /// PUBREC that accepts.
    pub(super) fn received(&mut self, id: u16, out: &mut Vec<u8>) {
        if let Some(flight) = self.flights.get_mut(&id)
            && let Flight::Published(outgoing) = flight
        {
            *flight = Flight::Released(outgoing.cargo);
        }
        wire::ack(out, kind::PUBREL, id);
    }
}

fn write(out: &mut Vec<u8>, version: MqttVersion, outgoing: &Outgoing, id: u16, dup: bool) {
    let mut user = Vec::with_capacity(2);
    if !outgoing.id.is_empty() {
        user.push(("id", outgoing.id.as_str()));
    }
    if !outgoing.time.is_empty() {
        user.push(("time", outgoing.time.as_str()));
    }
    wire::publish(
        out,
        version,
        &PublishOut {
            topic: &outgoing.topic,
            payload: &outgoing.payload,
            qos: outgoing.qos,
            id,
            dup,
            retain: outgoing.retain,
            expiry_s: outgoing.expiry_s,
            user: &user,
        },
    );
}
