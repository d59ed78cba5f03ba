//! What a member hears, and what it makes of it.

use irsp_protocol::presence::{Connectivity, Presence};
use irsp_protocol::topic::Branch;
use irsp_protocol::{Kind as PrincipalKind, MessageId, Status, Topic};
use serde::Deserialize;

use crate::cast::Role;
use crate::message::{self, Letter};
use crate::observation::{Number, Party, Print, What};
use crate::options::MqttVersion;
use crate::wire::{self, Packet, Publish};

use super::agenda::Agenda;
use super::desk::Desk;
use super::outgoing::Cargo;

/// Reason codes from here on refuse.
const REFUSES: u8 = 0x80;

impl Desk {
    pub(super) fn hear(&mut self, packet: Packet, out: &mut Vec<u8>, agenda: &mut Agenda) {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, out, agenda),
            Packet::PubAck { id, code } | Packet::PubComp { id, code } => {
                self.over(id, code);
                self.send(out);
            }
            Packet::PubRec { id, code } if code >= REFUSES => {
                self.over(id, code);
                self.send(out);
            }
            Packet::PubRec { id, .. } => self.outbox.received(id, out),
            Packet::PubRel { id } => wire::ack(out, wire::kind::PUBCOMP, id),
            Packet::SubAck { codes, .. } => {
                self.note(What::Subscribed);
                if codes.iter().any(|code| *code >= REFUSES) {
                    self.note(What::SubscriptionRefused);
                }
            }
            Packet::ConnAck { .. } | Packet::UnsubAck { .. } | Packet::Pong | Packet::Disconnect { .. } => {}
        }
    }

    fn over(&mut self, id: u16, code: u8) {
        let Some(cargo) = self.outbox.over(id) else {
            return;
        };
        match cargo {
            Cargo::Message(message) if code >= REFUSES => {
                self.note(What::Rejected {
                    message,
                    code: u16::from(code),
                });
                self.stage.live.rejected.raise();
                self.stage.live.open.add(-1);
                self.unnamed.retain(|waiting| *waiting != message);
            }
            Cargo::Message(message) => {
                self.note(What::Acknowledged { message, mid: None });
                self.stage.live.acknowledged.raise();
            }
            Cargo::Live(message) if code < REFUSES => self.note(What::SaidTaken { message }),
            // Refused: it may be heard by nobody, and need not.
            Cargo::Live(message) => self.note(What::SaidRefused { message }),
            Cargo::Answer(answer) if code < REFUSES => self.note(What::Answered {
                message: answer.message,
            }),
            Cargo::Answer(answer) => self.note(What::AnswerRefused {
                message: answer.message,
                code,
            }),
        }
    }

    fn publish(&mut self, publish: &Publish, out: &mut Vec<u8>, agenda: &mut Agenda) {
        let mut push = None;
        if let Ok(topic) = Topic::parse(&publish.topic) {
            let own = topic.owner.principal == self.stage.cast.member(self.log.party).principal;
            match topic.branch {
                Branch::Status if own => self.status(&publish.payload),
                Branch::Status => {
                    let of = self.stage.cast.find(&topic.owner.principal.to_string());
                    self.note(What::EndedOther { of });
                }
                Branch::Down { from, id, channel } => {
                    let from = self.stage.cast.find(&from.principal.to_string());
                    push = self.push(publish, own, id, from, channel.as_str());
                }
                Branch::Presence => self.presence(&publish.payload),
                Branch::Up { channel, .. } => {
                    self.observe(publish, &topic.owner.principal.to_string(), channel.as_str());
                }
                Branch::Live { .. } => self.live(publish, &topic.owner.principal.to_string()),
                Branch::CloudEvent { .. }
                | Branch::Answers
                | Branch::In(_)
                | Branch::Ack { .. }
                | Branch::To { .. } => {}
            }
        }
        self.take(publish, push, out, agenda);
    }

    fn push(
        &mut self,
        publish: &Publish,
        own: bool,
        mid: MessageId,
        from: Option<Party>,
        channel: &str,
    ) -> Option<(Number, MessageId)> {
        let (n, data) = match message::read(&self.stage.run, &publish.payload) {
            Letter::Ours(n, data) => (n, data),
            Letter::Others => return None,
            Letter::Unreadable => {
                self.note(What::Unreadable { of: self.log.party });
                return None;
            }
        };
        let message = Number(n);
        if !own {
            self.note(What::Overheard { message });
            return None;
        }
        self.note(What::Pushed {
            message,
            mid,
            dup: publish.dup,
            from,
            print: Print {
                data,
                channel: message::print(channel),
            },
        });
        self.stage.live.pushed.raise();
        Some((message, mid))
    }

    /// A copy of somebody's upload, for who may hear it.
    fn observe(&mut self, publish: &Publish, owner: &str, channel: &str) {
        let owner = self.stage.cast.find(owner);
        let (n, data) = match (message::read(&self.stage.run, &publish.payload), owner) {
            (Letter::Ours(n, data), _) => (n, data),
            (Letter::Unreadable, Some(of)) => {
                self.note(What::Unreadable { of });
                return;
            }
            (Letter::Others | Letter::Unreadable, _) => return,
        };
        let message = Number(n);
        let allowed = match &self.stage.cast.member(self.log.party).role {
            Role::App => true,
            Role::User { devices } => devices.binary_search(&message.sender()).is_ok(),
            Role::Device { .. } => false,
        };
        self.note(if allowed && owner == Some(message.sender()) {
            What::Heard {
                message,
                dup: publish.dup,
                print: Print {
                    data,
                    channel: message::print(channel),
                },
            }
        } else {
            What::Overheard { message }
        });
    }

    /// A `live` message or a will.
    fn live(&mut self, publish: &Publish, owner: &str) {
        let of = self.stage.cast.find(owner);
        match (message::read(&self.stage.run, &publish.payload), of) {
            (Letter::Ours(n, data), of) => self.note(What::Listened {
                message: Number(n),
                of,
                retained: publish.retain,
                data,
            }),
            (Letter::Unreadable, Some(of)) => self.note(What::Unreadable { of }),
            (Letter::Others | Letter::Unreadable, _) => {}
        }
    }

    fn presence(&mut self, payload: &[u8]) {
        let Ok(presence) = serde_json::from_slice::<Presence>(payload) else {
            return;
        };
        if presence.principal.kind != PrincipalKind::Device {
            return;
        }
        if let Some(of) = self.stage.cast.find(&presence.principal.to_string()) {
            let online = presence.state == Connectivity::Online;
            self.note(What::Presence {
                of,
                epoch: presence.epoch,
                seq: presence.seq,
                since: Some(presence.since.as_millis() - self.stage.zero_ms),
                online,
                reason: presence.reason,
            });
        }
    }

    fn status(&mut self, payload: &[u8]) {
        let Ok(told) = serde_json::from_slice::<Told>(payload) else {
            self.note(What::EndedUnreadable);
            return;
        };
        if told.code == Status::QUEUED.code() {
            return;
        }
        let mid = told.message;
        let to = told.destination();
        let answer = told.answer.map(|answer| answer.status);
        let named = told
            .id
            .as_deref()
            .and_then(|id| message::named(&self.stage.run, id));
        let message = match named {
            Some(n) => Some(Number(n)),
            None if told.id.as_deref().is_some_and(message::is_ours) => return,
            None if self.version == MqttVersion::V5 => None,
            None => self.next_unnamed(mid),
        };
        match message {
            Some(message) => {
                if let Some(to) = to {
                    let to = self.stage.cast.find(&to);
                    self.note(What::EndedFor { message, to });
                }
                self.note(What::Ended {
                    message,
                    code: told.code,
                    answer,
                    mid,
                });
                self.stage.live.ended.raise();
                self.stage.live.open.add(-1);
            }
            None => self.note(What::EndedUnknown { code: told.code }),
        }
    }
}

impl Desk {
    /// What a status without an id is about: what it was about before, else the oldest that has none.
    fn next_unnamed(&mut self, mid: Option<MessageId>) -> Option<Number> {
        if let Some(known) = mid.and_then(|mid| self.ended.get(&mid)) {
            return Some(*known);
        }
        let message = self.unnamed.pop_front()?;
        if let Some(mid) = mid {
            self.ended.insert(mid, message);
        }
        Some(message)
    }
}

/// A status as it stands on the wire.
#[derive(Deserialize)]
struct Told {
    code: u16,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    message: Option<MessageId>,
    #[serde(default)]
    answer: Option<ToldAnswer>,
    /// The application an upload went to.
    #[serde(default)]
    app: Option<String>,
    /// The principal a push went to.
    #[serde(default)]
    to: Option<String>,
}

impl Told {
    /// Whom it names, without a domain.
    fn destination(&self) -> Option<String> {
        let app = self.app.as_ref().map(|app| format!("app/{app}"));
        let whole = app.or_else(|| self.to.clone())?;
        whole.split('@').next().map(str::to_owned)
    }
}

#[derive(Deserialize)]
struct ToldAnswer {
    status: u16,
}
