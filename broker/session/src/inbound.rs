//! Publishes from the client: who is waiting for an acknowledgement, and in which order they get it (4.3, 4.6).

use std::collections::VecDeque;

use crate::action::PublishToken;
use crate::alias::IncomingAliases;
use crate::packet::QoS;
use crate::session::{Received, Session};

/// How many QoS 2 identifiers an MQTT 3 client may leave without PUBREL, in times of the Receive Maximum; that
/// version has no Receive Maximum to keep to.
const UNRELEASED_FACTOR: usize = 16;

/// What this connection knows of the client's publishes.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// QoS 1 and 2 publishes in the order of arrival, until PUBACK or PUBREC is written.
    unsettled: VecDeque<Unsettled>,
    /// Sequence number of the first of them.
    first: u32,
    /// How many of them are of QoS 2.
    unsettled_qos_2: usize,
    /// QoS 1 and 2 publishes of this connection that count against the Receive Maximum (4.9).
    open: u32,
    pub(crate) aliases: Option<Box<IncomingAliases>>,
}

#[derive(Debug)]
struct Unsettled {
    packet_id: u16,
    qos: QoS,
    outcome: Option<Outcome>,
}

/// What a publish is answered with.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reason: u8,
    pub(crate) text: Option<Box<str>>,
}

/// An acknowledgement whose turn has come.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) outcome: Outcome,
}

/// What a QoS 1 or 2 publish is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// Its message is already with the caller, and PUBREC follows.
    Pending,
    /// PUBREC was already sent: send it again.
    Repeated,
    /// Its identifier belongs to an open exchange of the other QoS (2.2.1).
    InUse,
}

/// Tokens of QoS 0 publishes have the highest bit: nothing waits for them.
const QOS_0: PublishToken = PublishToken(u32::MAX);
const SEQUENCE: u32 = u32::MAX >> 1;

impl Inbound {
    pub(crate) fn token_qos_0() -> PublishToken {
        QOS_0
    }

    /// Whether an identifier is new; a repeated one of QoS 2 is not handed on again [MQTT-4.3.3-10]. One of QoS 1 may be
    /// repeated while it waits: that is a message of its own.
    pub(crate) fn arrival(&self, packet_id: u16, qos: QoS, session: &Session) -> Arrival {
        let at_qos_2 = qos == QoS::ExactlyOnce;
        if session.has_received(packet_id) {
            return if at_qos_2 {
                Arrival::Repeated
            } else {
                Arrival::InUse
            };
        }
        // Publishes of QoS 1 alone look at nothing that waits.
        if !at_qos_2 && self.unsettled_qos_2 == 0 {
            return Arrival::New;
        }
        let mut waiting = self.unsettled.iter().filter(|entry| entry.packet_id == packet_id);
        match (waiting.next(), at_qos_2) {
            (Some(entry), _) if entry.qos != qos => Arrival::InUse,
            (Some(_), true) => Arrival::Pending,
            (Some(_), false) | (None, _) => Arrival::New,
        }
    }

    /// Whether one more QoS 1 or 2 publish is more than an MQTT 5 client was allowed [MQTT-3.3.4-7].
    pub(crate) fn exceeds(&self, receive_max: u16) -> bool {
        self.open >= u32::from(receive_max)
    }

    /// Whether an MQTT 3 client leaves more identifiers unreleased than any client needs.
    pub(crate) fn hoards(session: &Session, receive_max: u16) -> bool {
        session.received.len() >= UNRELEASED_FACTOR * usize::from(receive_max)
    }

    pub(crate) fn push(&mut self, packet_id: u16, qos: QoS) -> PublishToken {
        let token = PublishToken(self.first.wrapping_add(self.unsettled.len() as u32) & SEQUENCE);
        self.unsettled.push_back(Unsettled {
            packet_id,
            qos,
            outcome: None,
        });
        self.unsettled_qos_2 += usize::from(qos == QoS::ExactlyOnce);
        self.open += 1;
        token
    }

    /// Notes the outcome. A token that is not waiting (QoS 0, or settled before) changes nothing.
    pub(crate) fn settle(&mut self, token: PublishToken, outcome: Outcome) {
        if token == QOS_0 {
            return;
        }
        let at = token.0.wrapping_sub(self.first) & SEQUENCE;
        if let Some(entry) = self.unsettled.get_mut(at as usize)
            && entry.outcome.is_none()
        {
            entry.outcome = Some(outcome);
        }
    }

    /// The next acknowledgement in the order of arrival [MQTT-4.6.0-2, 4.6.0-3].
    pub(crate) fn next_settled(&mut self) -> Option<Acknowledgement> {
        self.unsettled.front()?.outcome.as_ref()?;
        let Unsettled {
            packet_id,
            qos,
            outcome,
        } = self.unsettled.pop_front()?;
        self.unsettled_qos_2 -= usize::from(qos == QoS::ExactlyOnce);
        self.first = self.first.wrapping_add(1) & SEQUENCE;
        if self.unsettled.is_empty() {
            self.unsettled = VecDeque::new();
        }
        outcome.map(|outcome| Acknowledgement {
            packet_id,
            qos,
            outcome,
        })
    }

    /// The acknowledgement ends the publish's place in the Receive Maximum, unless it is PUBREC and PUBREL
    /// has to come (4.9).
    pub(crate) fn acknowledged(&mut self, packet_id: u16, qos: QoS, accepted: bool, session: &mut Session) {
        if qos == QoS::ExactlyOnce && accepted {
            session.remember_received(Received {
                packet_id,
                counted: true,
            });
        } else {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// PUBREL came; whether its identifier was known.
    pub(crate) fn released(&mut self, packet_id: u16, session: &mut Session) -> bool {
        match session.forget_received(packet_id) {
            Some(entry) => {
                self.open = self.open.saturating_sub(u32::from(entry.counted));
                true
            }
            None => false,
        }
    }

    /// The packet identifier of a QoS 2 publish that is not settled.
    pub(crate) fn packet_id_qos_2(&self, token: PublishToken) -> Option<u16> {
        let at = token.0.wrapping_sub(self.first) & SEQUENCE;
        let entry = self.unsettled.get(at as usize).filter(|_| token != QOS_0)?;
        (entry.qos == QoS::ExactlyOnce).then_some(entry.packet_id)
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled.len()
    }
}
