//! What a client may expect of one connection, and of all connections of its session.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{self, Packet};

/// Longest that anything but PUBLISH may be for each byte that came in: a PUBLISH of 10 bytes is answered by 53, most of
/// them the reason in words.
const OUTPUT_FACTOR: usize = 6;
/// CONNACK, and a DISCONNECT with its reason in words.
const OUTPUT_ONCE: usize = 400;

/// The topic a delivery has by its number, some of them longer than others.
pub(crate) fn topic_of(tag: u64) -> &'static str {
    ["a", "b/c", "a/rather/long/topic/that/an/alias/would/save", "d"][(tag / 3 % 4) as usize]
}

/// What CONNECT said, for every connection of a conversation the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) v5: bool,
    pub(crate) packet_size_max: usize,
    /// The lower of the client's Receive Maximum and the server's limit.
    pub(crate) window: usize,
    pub(crate) alias_max: u16,
    pub(crate) problem_information: bool,
}

/// A delivery that has a packet identifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) tag: u64,
    pub(crate) qos: u8,
    /// PUBREL came: PUBLISH may not come again.
    pub(crate) released: bool,
    /// PUBLISH came in this connection.
    here: bool,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) asked: Asked,
    pub(crate) in_flight: BTreeMap<u16, InFlight>,
    /// Every delivery that reached the client, and every one that has ended.
    heard: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    /// Of this connection.
    here: BTreeSet<u64>,
    aliases: BTreeMap<u16, Vec<u8>>,
    /// Bytes of this connection, without PUBLISH and what a resumed session repeats.
    taken_in: usize,
    put_out: usize,
    connacks: usize,
    goodbye: bool,
}

impl Model {
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            in_flight: BTreeMap::new(),
            heard: BTreeSet::new(),
            ended: BTreeSet::new(),
            here: BTreeSet::new(),
            aliases: BTreeMap::new(),
            taken_in: 0,
            put_out: 0,
            connacks: 0,
            goodbye: false,
        }
    }

    /// A new network connection: aliases and the window begin anew.
    pub(crate) fn connects(&mut self) {
        self.here.clear();
        self.aliases.clear();
        self.in_flight.values_mut().for_each(|entry| entry.here = false);
        (self.connacks, self.goodbye) = (0, false);
        (self.taken_in, self.put_out) = (0, 0);
    }

    pub(crate) fn sends(&mut self, bytes: usize) {
        self.taken_in += bytes;
    }

    pub(crate) fn has_heard(&self, tag: u64) -> bool {
        self.heard.contains(&tag)
    }

    /// The caller was told that a delivery has ended.
    pub(crate) fn ends(&mut self, tag: u64) {
        assert!(self.ended.insert(tag), "delivery {tag} has ended twice");
        self.in_flight.retain(|_, entry| entry.tag != tag);
    }

    /// Reads all that the server sent. Returns the identifiers whose QoS 2 exchange PUBCOMP has ended.
    pub(crate) fn reads(&mut self, mut output: &[u8]) -> Vec<u16> {
        let mut completed = Vec::new();
        while !output.is_empty() {
            assert!(!self.goodbye, "a packet after DISCONNECT");
            let (packet, length) = wire::read(self.asked.v5, &mut output);
            assert!(
                length <= self.asked.packet_size_max,
                "{length} bytes: {packet:02x?}"
            );
            if !matches!(packet, Packet::ConnAck { .. }) {
                assert_eq!(self.connacks, 1, "before CONNACK: {packet:02x?}");
            }
            let mut counted = length;
            match packet {
                Packet::ConnAck { reason } => {
                    assert_eq!(reason, 0);
                    self.connacks += 1;
                    counted = 0;
                }
                Packet::Publish(publish) => {
                    self.hears(&publish);
                    counted = 0;
                }
                Packet::Ack {
                    kind: 6,
                    id,
                    reason: 0,
                    ..
                } => {
                    counted = 0;
                    if let Some(entry) = self.in_flight.get_mut(&id) {
                        assert_eq!(entry.qos, 2, "PUBREL of a QoS 1 delivery");
                        entry.released = true;
                    }
                }
                Packet::Ack { kind: 7, id, .. } => completed.push(id),
                Packet::Ack { words, .. } => assert!(!words || self.asked.problem_information),
                Packet::Filters | Packet::PingResp => {}
                Packet::Disconnect => self.goodbye = true,
            }
            self.put_out += counted;
        }
        let allowed = OUTPUT_FACTOR * self.taken_in + OUTPUT_ONCE;
        assert!(
            self.put_out <= allowed,
            "{} bytes for {}",
            self.put_out,
            self.taken_in
        );
        completed
    }

    fn hears(&mut self, publish: &wire::Publish<'_>) {
        let topic = match publish.properties.alias {
            None => publish.topic.to_vec(),
            Some(alias) => {
                assert!((1..=self.asked.alias_max).contains(&alias), "alias {alias}");
                if !publish.topic.is_empty() {
                    self.aliases.insert(alias, publish.topic.to_vec());
                }
                self.aliases.get(&alias).expect("an alias that was set").clone()
            }
        };
        let tag = publish.payload.first_chunk().map(|tag| u64::from_be_bytes(*tag));
        let tag = tag.expect("a payload of ours");
        assert_eq!(topic, topic_of(tag).as_bytes(), "another message's topic");
        if publish.qos == 0 {
            assert!(self.heard.insert(tag), "QoS 0, heard twice");
            return;
        }
        assert!(self.here.insert(tag), "sent twice in one connection");
        let known = self.in_flight.get(&publish.id);
        if publish.dup {
            assert!(self.heard.contains(&tag), "DUP at the first time");
        } else {
            assert!(self.heard.insert(tag), "no DUP at the second time");
            assert!(known.is_none(), "identifier {} is in use", publish.id);
        }
        if self.ended.contains(&tag) {
            // acknowledged in the same breath
            return;
        }
        assert!(
            known.is_none_or(|entry| entry.tag == tag && !entry.released),
            "{known:?}"
        );
        let entry = InFlight {
            tag,
            qos: publish.qos,
            released: false,
            here: true,
        };
        self.in_flight.insert(publish.id, entry);
        let unacknowledged = self.in_flight.values().filter(|entry| entry.here).count();
        assert!(unacknowledged <= self.asked.window, "{unacknowledged} at once");
    }
}
