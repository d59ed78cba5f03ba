//! Live messages: heard by every subscriber, or their publisher waits; at QoS 0 only for one that takes what it is given. One that
//! takes nothing for as long as a publish waits is disconnected.

use std::sync::Arc;
use std::time::Instant;

use irsp_protocol::Status;
use irsp_session::{Connection, Publish, PublishToken, QoS};

use super::waiting::Waiting;
use super::{Client, Refused};
use crate::metrics::Limit;
use crate::topics::{Durable, Slow, Unheard};

/// A live publish that waits for room at a slow subscriber. What the client sends behind it waits too.
pub(in crate::edge) struct Stalled {
    publish_token: PublishToken,
    publish: Arc<Publish>,
    pub(in crate::edge) slow: Slow,
    /// After this the publish is refused, or heard without those that hear it at QoS 0 and have no room.
    pub(in crate::edge) until: Instant,
}

impl Stalled {
    pub(super) fn is_qos_0(&self) -> bool {
        self.publish.qos == QoS::AtMostOnce
    }
}

impl Client<'_> {
    /// Tries a stalled publish again; refuses it when its time is over.
    pub(in crate::edge) fn retry_stalled(&mut self, connection: &mut Connection, now: Instant) {
        let Some(stalled) = self
            .stalled
            .take_if(|stalled| now >= stalled.until || stalled.slow.has_room())
        else {
            return;
        };
        let waits = now < stalled.until;
        let patience = self.edge.limits.stall_timeout;
        let topics = &self.edge.enforcer.topics;
        match topics.publish(&stalled.publish, &self.mailbox, waits) {
            Ok(durable) => self.heard(connection, stalled.publish_token, &stalled.publish, durable),
            Err(Unheard::Full(slow)) if !waits => {
                let slow = slow.or_longer(stalled.slow);
                if slow.is_stuck(now, patience) {
                    // Heard as soon as its connection has ended; should another be stuck as well, its time begins now.
                    self.edge.metrics.limit(Limit::QueueMessagesMax);
                    slow.give_up();
                    let until = now + patience;
                    self.stalled = Some(Stalled {
                        slow,
                        until,
                        ..stalled
                    });
                    return;
                }
                self.edge.metrics.limit(Limit::StallTimeout);
                let refused = Refused(Status::OVER_QUOTA, "a subscriber cannot follow".to_owned());
                self.refuse(connection, stalled.publish_token, &stalled.publish, &refused, now);
            }
            Err(Unheard::Full(slow)) => {
                let slow = slow.or_longer(stalled.slow);
                self.stalled = Some(Stalled { slow, ..stalled });
            }
            Err(Unheard::NoRoom) => {
                let refused = no_room();
                self.refuse(connection, stalled.publish_token, &stalled.publish, &refused, now);
            }
            Err(Unheard::Retained) => {
                let refused = self.no_room_to_retain();
                self.refuse(connection, stalled.publish_token, &stalled.publish, &refused, now);
            }
        }
    }

    /// Every present subscriber has it: it is settled when it is on disk for the durable ones, and as retained.
    fn heard(
        &mut self,
        connection: &mut Connection,
        publish_token: PublishToken,
        publish: &Arc<Publish>,
        durable: Durable,
    ) {
        let taken = self.taken(connection, publish_token);
        if durable.is_empty() && taken.is_none() && !publish.retain {
            return connection.settle(publish_token, irsp_session::reason::SUCCESS, None);
        }
        let waiting = Waiting::Live {
            publish_token,
            publish: Arc::clone(publish),
        };
        let token = self.wait_with(publish, waiting);
        self.put(Arc::clone(publish), durable, taken, token);
    }

    pub(super) fn publish_live(
        &mut self,
        connection: &mut Connection,
        token: PublishToken,
        publish: &Arc<Publish>,
        now: Instant,
    ) -> Result<(), Refused> {
        match self.edge.enforcer.topics.publish(publish, &self.mailbox, true) {
            Ok(durable) => self.heard(connection, token, publish, durable),
            Err(Unheard::NoRoom) => return Err(no_room()),
            Err(Unheard::Retained) => return Err(self.no_room_to_retain()),
            Err(Unheard::Full(slow)) => {
                self.edge.metrics.stalls.inc();
                let until = now + self.edge.limits.stall_timeout;
                self.stalled = Some(Stalled {
                    publish_token: token,
                    publish: Arc::clone(publish),
                    slow,
                    until,
                });
            }
        }
        Ok(())
    }

    fn no_room_to_retain(&self) -> Refused {
        self.edge.metrics.limit(Limit::RetainedMax);
        let detail = "no room for another retained message";
        Refused(Status::OVER_QUOTA, detail.to_owned())
    }
}

fn no_room() -> Refused {
    Refused(
        Status::QUEUE_FULL,
        "no room for another message of sessions that are away".to_owned(),
    )
}
