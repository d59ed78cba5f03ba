//! What a client subscribes to, and what it hears of it at once.

use bytestring::ByteString;
use irsp_protocol::Status;
use irsp_session::{Connection, SubscribeFilter, SubscribeToken, UnsubscribeToken};

use super::Client;
use super::waiting::{Subscribed, Waiting};
use crate::access;
use crate::metrics::Limit;
use crate::store::session::Wanted;
use crate::topics::{Begun, split_share};

/// Why a filter is refused.
struct Denied {
    status: Status,
    /// For a person.
    detail: &'static str,
}

impl Denied {
    fn because(status: Status, detail: &'static str) -> Denied {
        Denied { status, detail }
    }
}

impl From<Status> for Denied {
    fn from(status: Status) -> Denied {
        Denied::because(status, status.name())
    }
}

impl Client<'_> {
    pub(super) fn subscribe(
        &mut self,
        connection: &mut Connection,
        token: SubscribeToken,
        filters: &[SubscribeFilter],
        id: Option<u32>,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut why = None;
        let mut granted = Vec::new();
        let mut retained = Vec::new();
        let mut listens = false;
        for wanted in filters {
            match self.subscribe_one(wanted, id) {
                Ok(begun) => {
                    let new = begun.as_ref().is_none_or(|begun| begun.is_new);
                    reasons.push(wanted.qos as u8);
                    granted.push(wanted.clone());
                    // Said again, a filter delivers nothing again: what is unanswered came with the session.
                    listens |= new && access::hears_pushes(&self.principal, &wanted.filter);
                    retained.extend(begun.and_then(|begun| begun.catch_up));
                }
                Err(Denied { status, detail }) => {
                    tracing::debug!(principal = %self.principal, filter = %wanted.filter, %status, detail, "filter refused");
                    self.edge.metrics.filters_refused.inc(status);
                    reasons.push(status.suback_reason());
                    why = why.or(Some(detail));
                }
            }
        }
        let subscribed = Subscribed {
            token,
            reasons,
            why,
            granted: granted.iter().map(|wanted| wanted.filter.clone()).collect(),
            retained,
            listens,
        };
        match self.mailbox.session() {
            Some(session) if !granted.is_empty() => {
                let wanted = granted.into_iter().map(|filter| Wanted {
                    filter,
                    subscription_id: id,
                });
                self.subscribing += 1;
                let token = self.wait_for(Waiting::Subscribed(subscribed));
                let done = self.settles(token);
                self.edge
                    .enforcer
                    .keeper
                    .subscribe(session, wanted.collect(), done);
            }
            Some(_) | None => self.subscribed(connection, subscribed, Ok(())),
        }
    }

    /// Answers a SUBSCRIBE. One that could not be stored is taken back.
    pub(super) fn subscribed(
        &mut self,
        connection: &mut Connection,
        subscribed: Subscribed,
        stored: Result<(), Status>,
    ) {
        let Subscribed {
            token,
            mut reasons,
            why,
            granted,
            retained,
            listens,
        } = subscribed;
        if let Err(status) = stored {
            for filter in &granted {
                self.edge.enforcer.topics.unsubscribe(&self.mailbox, filter);
            }
            reasons.fill(status.suback_reason());
            return connection.subscribed(token, &reasons, Some("the session cannot be stored"));
        }
        connection.subscribed(token, &reasons, why);
        for reader in retained {
            self.mailbox.catches_up();
            self.backlog.add(reader);
        }
        if listens {
            self.listens();
        }
    }

    /// `None`: on the bus, whose filters are not the edge's.
    fn subscribe_one(&mut self, wanted: &SubscribeFilter, id: Option<u32>) -> Result<Option<Begun>, Denied> {
        if let Some(bus) = &mut self.bus {
            bus.subscribe(&wanted.filter, &self.mailbox, &self.edge.tasks)?;
            return Ok(None);
        }
        let held = self.mailbox.filters();
        if held.len() >= self.edge.limits.subscriptions_max && !held.contains(&wanted.filter) {
            self.edge.metrics.limit(Limit::SubscriptionsMax);
            return Err(Denied::because(
                Status::OVER_QUOTA,
                "more than mqtt.subscriptions_max",
            ));
        }
        let (_, plain) = split_share(&wanted.filter);
        let limits = &self.edge.limits;
        if plain.len() > limits.filter_bytes_max {
            self.edge.metrics.limit(Limit::FilterBytesMax);
            return Err(Denied::because(
                Status::TOO_LARGE,
                "longer than mqtt.filter_bytes_max",
            ));
        }
        if plain.split('/').count() > limits.filter_levels_max {
            self.edge.metrics.limit(Limit::FilterLevelsMax);
            return Err(Denied::because(
                Status::TOO_LARGE,
                "more than mqtt.filter_levels_max",
            ));
        }
        access::subscribe(&self.principal, plain, &*self.edge.enforcer.directory)?;
        let topics = &self.edge.enforcer.topics;
        Ok(Some(topics.subscribe(&self.mailbox, wanted, id)))
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: &mut Connection,
        token: UnsubscribeToken,
        filters: Vec<ByteString>,
    ) {
        let reasons: Vec<u8> = filters
            .iter()
            .map(|filter| self.unsubscribe_one(filter))
            .collect();
        let Some(session) = self.mailbox.session() else {
            return connection.unsubscribed(token, &reasons);
        };
        let waiting = self.wait_for(Waiting::Unsubscribed { token, reasons });
        let done = self.settles(waiting);
        self.edge.enforcer.keeper.unsubscribe(session, filters, done);
    }

    fn unsubscribe_one(&mut self, filter: &ByteString) -> u8 {
        let removed = self.edge.enforcer.topics.unsubscribe(&self.mailbox, filter);
        self.backlog.remove(filter);
        if removed && access::hears_pushes(&self.principal, filter) {
            self.edge.stops_listening(&self.principal);
        }
        if removed {
            irsp_session::reason::SUCCESS
        } else {
            irsp_session::reason::NO_SUBSCRIPTION_EXISTED
        }
    }
}
