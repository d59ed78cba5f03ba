//! What each packet of the client leads to.

use std::time::{Duration, Instant};

use super::Connection;
use crate::action::{Action, CloseCause, SubscribeToken, UnsubscribeToken};
use crate::check;
use crate::codec::{self, TAIL};
use crate::encode;
use crate::error::ProtocolError;
use crate::frame::{self, Frame};
use crate::inbound::{Arrival, Inbound, Outcome};
use crate::packet::{Incoming, IncomingPublish, QoS, Version};
use crate::reason;

/// A message larger than this counts as a sign of life while it arrives.
const LARGE_REST: usize = 1000;

/// Room made for a packet that has only begun; more when it really comes.
const REST_AT_ONCE: usize = 16 * 1024;

impl Connection {
    /// Handles every complete packet and keeps the beginning of another.
    pub(super) fn packets(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), ProtocolError> {
        while let Some(&first) = bytes.first() {
            check::first_byte(self.version, first)?;
            let Some(frame) = frame::locate(bytes, self.limits.packet_size_max)? else {
                break;
            };
            let Some((packet, behind)) = bytes.split_at_checked(frame.total) else {
                if frame.total - bytes.len() > LARGE_REST {
                    self.keep_alive.heard(now);
                }
                self.rest.reserve(frame.total.min(REST_AT_ONCE) + TAIL);
                break;
            };
            bytes = behind;
            self.copied(frame, packet, now)?;
            if self.closed {
                return Ok(());
            }
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Completes the packet whose beginning was kept, then goes on behind it.
    pub(super) fn continued(&mut self, bytes: &[u8], now: Instant) -> Result<(), ProtocolError> {
        self.rest.extend_from_slice(bytes);
        let Some(frame) = frame::locate(&self.rest, self.limits.packet_size_max)? else {
            return Ok(());
        };
        if self.rest.len() < frame.total {
            if frame.total - self.rest.len() > LARGE_REST {
                self.keep_alive.heard(now);
            }
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.rest);
        if buffer.len() == frame.total {
            return self.packet(codec::decode(self.version, frame, buffer, now)?, now);
        }
        // a copy, so that a message that is kept does not keep what came behind it
        let (packet, behind) = buffer.split_at(frame.total);
        self.copied(frame, packet, now)?;
        match self.closed {
            true => Ok(()),
            false => self.packets(behind, now),
        }
    }

    fn copied(&mut self, frame: Frame, packet: &[u8], now: Instant) -> Result<(), ProtocolError> {
        let packet = codec::decode_copied(self.version, frame, packet, &mut self.last_topic, now)?;
        self.packet(packet, now)
    }

    fn packet(&mut self, packet: Incoming, now: Instant) -> Result<(), ProtocolError> {
        self.keep_alive.heard(now);
        match packet {
            Incoming::Publish(publish) => self.publish(publish),
            Incoming::PubAck { packet_id, reason } => {
                self.outbound
                    .acknowledged(packet_id, reason, &mut self.session, &mut self.actions)?;
                self.pump(now);
                Ok(())
            }
            Incoming::PubRec { packet_id, reason } => {
                let Self {
                    outbound,
                    session,
                    output,
                    actions,
                    ..
                } = self;
                outbound.received(packet_id, reason, session, output, actions)?;
                self.pump(now);
                Ok(())
            }
            Incoming::PubComp { packet_id, reason } => {
                self.outbound
                    .completed(packet_id, reason, &mut self.session, &mut self.actions)?;
                self.pump(now);
                Ok(())
            }
            Incoming::PubRel { packet_id } => {
                self.released(packet_id);
                Ok(())
            }
            Incoming::Subscribe {
                packet_id,
                filters,
                subscription_id,
            } => {
                let token = SubscribeToken {
                    packet_id,
                    filters: filters.len() as u32,
                };
                self.actions.push_back(Action::Subscribe {
                    token,
                    filters,
                    subscription_id,
                });
                Ok(())
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let token = UnsubscribeToken {
                    packet_id,
                    filters: filters.len() as u32,
                };
                self.actions.push_back(Action::Unsubscribe { token, filters });
                Ok(())
            }
            Incoming::PingReq => {
                // [MQTT-3.12.4-1]
                self.send(&[frame::PINGRESP << 4, 0]);
                Ok(())
            }
            Incoming::Disconnect {
                reason,
                session_expiry,
            } => self.client_disconnects(reason, session_expiry),
        }
    }

    fn publish(&mut self, incoming: IncomingPublish) -> Result<(), ProtocolError> {
        let IncomingPublish {
            mut publish,
            packet_id,
            alias,
        } = incoming;
        if let Some(alias) = alias {
            let aliases = self.inbound.aliases.get_or_insert_default();
            publish.topic = aliases.resolve(alias, publish.topic, self.limits.topic_alias_max)?;
        }
        if publish.qos > QoS::AtMostOnce {
            match self.inbound.arrival(packet_id, publish.qos, &self.session) {
                Arrival::New => {}
                Arrival::InUse => return self.identifier_in_use(packet_id, publish.qos),
                Arrival::Pending => return Ok(()),
                Arrival::Repeated => {
                    // [MQTT-4.3.3-10]
                    self.acknowledge(
                        packet_id,
                        QoS::ExactlyOnce,
                        Outcome {
                            reason: reason::SUCCESS,
                            text: None,
                        },
                    );
                    return Ok(());
                }
            }
        }
        let utf8 = publish
            .properties
            .as_ref()
            .is_some_and(|properties| properties.payload_utf8 == Some(true));
        let invalid = utf8 && std::str::from_utf8(&publish.payload).is_err();
        if publish.qos == QoS::AtMostOnce {
            if invalid {
                return Err(ProtocolError::PayloadFormatInvalid);
            }
            self.actions.push_back(Action::Publish {
                token: Inbound::token_qos_0(),
                publish,
            });
            return Ok(());
        }
        self.check_receive_max()?;
        let token = self.inbound.push(packet_id, publish.qos);
        match invalid {
            // 3.3.2.3.2
            true => {
                let error = ProtocolError::PayloadFormatInvalid;
                self.settle(token, error.reason(), Some(&error.to_string()));
            }
            false => self.actions.push_back(Action::Publish { token, publish }),
        }
        Ok(())
    }

    /// A client has given an identifier that is in use to another message: MQTT 5 has a code for it, before that it is a
    /// violation [MQTT-4.8.0-1 of 3.1.1]. A client that has lost its state would meet it for ever, so the end is also that of
    /// the exchange.
    fn identifier_in_use(&mut self, packet_id: u16, qos: QoS) -> Result<(), ProtocolError> {
        if !self.version.is_v5() {
            self.session.forget_received(packet_id);
            return Err(ProtocolError::Violation("a packet identifier that is in use"));
        }
        self.check_receive_max()?;
        let token = self.inbound.push(packet_id, qos);
        let text = "the packet identifier is in use";
        self.settle(token, reason::PACKET_IDENTIFIER_IN_USE, Some(text));
        Ok(())
    }

    fn check_receive_max(&self) -> Result<(), ProtocolError> {
        let max = self.limits.receive_max;
        let exceeded = match self.version {
            Version::V5 => self.inbound.exceeds(max),
            Version::V31 | Version::V311 => Inbound::hoards(&self.session, max),
        };
        if exceeded {
            Err(ProtocolError::ReceiveMaximumExceeded)
        } else {
            Ok(())
        }
    }

    /// PUBREL is always answered [MQTT-4.3.3-11], in MQTT 5 with a hint when nothing waited for it.
    fn released(&mut self, packet_id: u16) {
        if self.session.is_durable() && self.session.has_received(packet_id) {
            self.actions.push_back(Action::Released { packet_id });
        } else {
            self.end_received(packet_id);
        }
    }

    pub(super) fn end_received(&mut self, packet_id: u16) {
        let reason = match self.inbound.released(packet_id, &mut self.session) {
            true => reason::SUCCESS,
            false => reason::PACKET_IDENTIFIER_NOT_FOUND,
        };
        encode::acknowledgement(frame::PUBCOMP, self.version, packet_id, reason, &mut self.output);
    }

    fn client_disconnects(&mut self, reason: u8, asked: Option<Duration>) -> Result<(), ProtocolError> {
        // 3.14.2.2.2
        if !self.session_expires && asked.is_some_and(|asked| !asked.is_zero()) {
            return Err(ProtocolError::Violation(
                "a session expiry where CONNECT had none",
            ));
        }
        let session_expiry = asked.map(|asked| asked.min(self.limits.session_expiry_max));
        // [MQTT-3.14.4-3]: only a normal disconnection discards the will
        self.close(CloseCause::Disconnect {
            will: reason != reason::SUCCESS,
            session_expiry,
        });
        Ok(())
    }

    fn pump(&mut self, now: Instant) {
        self.outbound
            .pump(&mut self.session, &mut self.output, &mut self.actions, now);
    }
}
