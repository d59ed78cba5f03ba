//! What waits for the disk: publishes given to the courier, and the changes of a durable session.

use std::sync::Arc;
use std::time::Instant;

use irsp_session::{Connection, Publish, PublishToken, reason};

use super::Client;
use super::waiting::Waiting;
use crate::sessions::keeper::{Done, Put};
use crate::sessions::mailbox::Settled;
use crate::sessions::tag::Tag;
use crate::store::session::SessionId;
use crate::topics::Durable;

impl Client<'_> {
    /// What `token` names is on disk, or refused.
    pub(in crate::edge) fn settled(&mut self, connection: &mut Connection, settled: Settled, now: Instant) {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.token == settled.token);
        let Some(pending) = at.and_then(|at| self.pending.remove(at)) else {
            return;
        };
        match (pending.waiting, settled.result) {
            (
                Waiting::Accepted {
                    publish_token,
                    publish,
                    observed,
                    sender_id,
                },
                Ok(accepted),
            ) => {
                if let (Some(first), Some(id)) = (accepted.filter(|accepted| accepted.duplicate), sender_id) {
                    self.tell_repeat(&publish, &id, first.id);
                }
                let fresh = accepted.is_some_and(|accepted| !accepted.duplicate);
                let durable = match observed && fresh {
                    true => self.edge.enforcer.topics.observe(&publish),
                    false => Durable::new(),
                };
                if durable.is_empty() {
                    connection.settle(publish_token, reason::SUCCESS, None);
                } else {
                    let done = self.wait_with(&publish, Waiting::Observed { publish_token });
                    self.put(publish, durable, None, done);
                }
            }
            (
                Waiting::Answered {
                    publish_token,
                    id,
                    comes_again,
                    ..
                },
                Ok(_),
            ) => {
                self.was_answered(id, comes_again);
                connection.settle(publish_token, reason::SUCCESS, None);
            }
            (Waiting::Live { publish_token, .. }, Ok(_)) => {
                connection.settle(publish_token, reason::SUCCESS, None);
            }
            (
                Waiting::Accepted {
                    publish_token,
                    publish,
                    ..
                }
                | Waiting::Answered {
                    publish_token,
                    publish,
                    ..
                }
                | Waiting::Live {
                    publish_token,
                    publish,
                },
                Err(status),
            ) => self.refuse(connection, publish_token, &publish, &status.into(), now),
            (Waiting::Observed { publish_token }, stored) => {
                // The publish itself is safe; only its observers miss it.
                if let Err(status) = stored {
                    tracing::warn!(principal = %self.principal, %status, "observers miss an upload");
                }
                connection.settle(publish_token, reason::SUCCESS, None);
            }
            (Waiting::Subscribed(subscribed), stored) => {
                self.subscribing = self.subscribing.saturating_sub(1);
                self.subscribed(connection, subscribed, stored.map(drop));
            }
            (Waiting::Unsubscribed { token, reasons }, Ok(_)) => connection.unsubscribed(token, &reasons),
            (Waiting::Received { packet_id }, Ok(_)) => connection.release(packet_id),
            (Waiting::Released { packet_id }, Ok(_)) => connection.complete(packet_id),
            (
                Waiting::Unsubscribed { .. } | Waiting::Received { .. } | Waiting::Released { .. },
                Err(status),
            ) => connection.disconnect(status.disconnect_reason(), Some("the session cannot be stored")),
        }
    }

    /// Stores a publish of this client for the durable sessions that hear it, as retained if it is, and that it
    /// was taken.
    pub(super) fn put(
        &self,
        publish: Arc<Publish>,
        hearers: Durable,
        taken: Option<(SessionId, u16)>,
        token: u64,
    ) {
        let put = Put {
            // Only live publishes may be: others have been refused.
            retained: publish.retain.then(|| self.mailbox.publisher()),
            publish,
            hearers,
            taken,
        };
        let done = self.settles(token);
        self.edge.enforcer.keeper.put(put, done);
    }

    /// The QoS 2 identifier of a publish, if it has to be remembered across a restart [MQTT-4.3.3-10].
    pub(super) fn taken(&self, connection: &Connection, token: PublishToken) -> Option<(SessionId, u16)> {
        Some((self.mailbox.session()?, connection.packet_id_qos_2(token)?))
    }

    /// The client has received a tagged QoS 2 delivery: PUBREL follows when that is stored.
    pub(super) fn received(&mut self, connection: &mut Connection, packet_id: u16, tag: u64) {
        let (Some(id), Tag::Stored(seq)) = (self.mailbox.session(), Tag::of(tag)) else {
            return connection.release(packet_id);
        };
        let token = self.wait_for(Waiting::Received { packet_id });
        let done = self.settles(token);
        self.edge.enforcer.keeper.received(id, seq, done);
    }

    /// The client has ended a QoS 2 publish: PUBCOMP follows when that is stored.
    pub(super) fn released(&mut self, connection: &mut Connection, packet_id: u16) {
        let Some(id) = self.mailbox.session() else {
            return connection.complete(packet_id);
        };
        let token = self.wait_for(Waiting::Released { packet_id });
        let done = self.settles(token);
        self.edge.enforcer.keeper.complete(id, packet_id, done);
    }

    /// A stored delivery has been acknowledged, or can never be.
    pub(super) fn done_with(&self, seq: u64) {
        if let Some(id) = self.mailbox.session() {
            self.edge.enforcer.keeper.remove(id, &self.mailbox, seq);
        }
    }

    pub(super) fn settles(&self, token: u64) -> Done {
        Done::Settles(Arc::clone(&self.mailbox), token)
    }
}
