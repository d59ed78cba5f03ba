//! What a client subscribes to, and what it hears of it at once.

use std::time::Instant;

use bytestring::ByteString;
use irsp_courier::Hop;
use irsp_protocol::Status;
use irsp_session::{Connection, Delivery, RetainHandling, SubscribeFilter, SubscribeToken, SubscriptionIds};

use super::Client;
use crate::access;
use crate::topics::split_share;

impl Client<'_> {
    pub(super) fn subscribe(
        &mut self,
        connection: &mut Connection,
        token: SubscribeToken,
        filters: &[SubscribeFilter],
        id: Option<u32>,
        now: Instant,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut retained = Vec::new();
        let mut listens = false;
        for wanted in filters {
            match self.subscribe_one(wanted, id) {
                Ok(new) => {
                    reasons.push(wanted.qos as u8);
                    listens |= self.is_down(&wanted.filter);
                    let send = match wanted.retain_handling {
                        RetainHandling::Send => true,
                        RetainHandling::SendIfNew => new,
                        RetainHandling::DoNotSend => false,
                    };
                    if let (None, plain, true) = (split_share(&wanted.filter).0, &wanted.filter, send) {
                        let found = self.edge.enforcer.topics.retained(plain, now);
                        retained.extend(found.into_iter().map(|publish| (wanted.qos, publish)));
                    }
                }
                Err(status) => {
                    tracing::debug!(principal = %self.principal, filter = %wanted.filter, %status, "filter refused");
                    reasons.push(status.suback_reason());
                }
            }
        }
        connection.subscribed(token, &reasons);
        for (qos, publish) in retained {
            let qos = qos.min(publish.qos);
            let subscription_ids = SubscriptionIds::from(id);
            connection.deliver(
                &Delivery {
                    publish,
                    qos,
                    retain: true,
                    subscription_ids,
                    tag: None,
                },
                now,
            );
        }
        if listens {
            self.listens();
        }
    }

    fn subscribe_one(&mut self, wanted: &SubscribeFilter, id: Option<u32>) -> Result<bool, Status> {
        if let Some(bus) = &mut self.bus {
            return bus
                .subscribe(&wanted.filter, &self.mailbox, &self.edge.tasks)
                .map(|()| true);
        }
        let held = self.mailbox.filters();
        if held.len() >= self.edge.limits.subscriptions_max && !held.contains(&wanted.filter) {
            return Err(Status::OVER_QUOTA);
        }
        let (_, plain) = split_share(&wanted.filter);
        access::subscribe(&self.principal, plain, &*self.edge.enforcer.directory)?;
        Ok(self.edge.enforcer.topics.subscribe(&self.mailbox, wanted, id))
    }

    pub(super) fn unsubscribe(&mut self, filter: &ByteString) -> u8 {
        let removed = self.edge.enforcer.topics.unsubscribe(&self.mailbox, filter);
        if removed && self.is_down(filter) && !self.is_listening() {
            self.edge.courier.absent(&Hop::Principal(self.principal.clone()));
        }
        if removed {
            irsp_session::reason::SUCCESS
        } else {
            irsp_session::reason::NO_SUBSCRIPTION_EXISTED
        }
    }
}
