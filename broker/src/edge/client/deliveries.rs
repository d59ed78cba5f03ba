//! What the client hears: first what was retained before its subscriptions, then what waits in its mailbox.

use std::time::Instant;

use irsp_session::{Connection, Delivery};

use super::Client;
use crate::access;
use crate::metrics::Class;
use crate::sessions::tag::stored_seq;
use crate::topics::split_share;

/// Deliveries given to a connection at once, so that reading and delivering take turns.
const PER_TURN: usize = 256;
/// Deliveries kept behind a closed window, so that it never waits for more; filled up by lumps.
const BEHIND_WINDOW: usize = 256;
const LUMP: usize = 32;
/// Bytes that wait to be written before no further deliveries are taken.
const OUTPUT_HIGH: usize = 64 << 10;

impl Client<'_> {
    /// Moves what waits for the client into the connection, as far as the client reads (`unwritten` bytes wait already);
    /// `true` if there may be more at once.
    pub(in crate::edge) fn deliver(
        &mut self,
        connection: &mut Connection,
        unwritten: usize,
        now: Instant,
    ) -> bool {
        let room = |connection: &Connection| OUTPUT_HIGH.saturating_sub(unwritten + connection.output_len());
        if self.subscribing > 0 {
            return false;
        }
        for _ in 0..PER_TURN {
            let (is_open, room) = (connection.window_open(), room(connection));
            match is_open && room > 0 {
                true => self.mailbox.goes_on(),
                false => self.mailbox.hold_up(),
            }
            if self.backlog.is_empty() {
                let max = match is_open {
                    true => PER_TURN.min(connection.queue_room()),
                    false => behind_window(connection),
                };
                return room > 0 && max > 0 && self.deliver_mail(connection, max, room, now);
            }
            if !is_open || room == 0 {
                return false;
            }
            self.deliver_retained(connection, now);
        }
        true
    }

    /// Takes out what waits for the client and is no longer granted: in its mailbox, behind its window, and of what was
    /// retained before its subscriptions. What was sent and is not acknowledged stays the client's.
    pub(in crate::edge) fn withdraw(&mut self, connection: &mut Connection) {
        let (edge, principal) = (self.edge, &self.principal);
        self.backlog.retain(|filter| {
            let (_, plain) = split_share(filter);
            access::subscribe(principal, plain, &*edge.enforcer.directory).is_ok()
        });
        let mut stored = Vec::new();
        let mut keep = |delivery: &Delivery| {
            let granted = edge.may_hear(principal, &delivery.publish.topic);
            if !granted {
                stored.extend(stored_seq(delivery));
            }
            granted
        };
        self.mailbox.retain_deliveries(&mut keep);
        connection.retain_queued(&mut keep);
        stored.into_iter().for_each(|seq| self.done_with(seq));
        self.has_heard_the_last();
    }

    /// Takes out what waits behind the client's window and is over: a push that has ended, or was answered.
    pub(in crate::edge) fn forget_over(&self, connection: &mut Connection) {
        connection.retain_queued(|delivery| self.mailbox.is_wanted(delivery.tag));
    }

    /// A change is carried out: nothing more is delivered of what it has taken.
    pub(in crate::edge) fn has_heard_the_last(&self) {
        if let Some(changed) = self.mailbox.take_changed() {
            let ago = self.edge.courier.now().since(changed);
            self.edge.metrics.last_delivery.observe(ago.as_secs_f64());
        }
    }

    /// Moves waiting mail into the connection: at most `max` deliveries, and no further one after `bytes_max` bytes;
    /// `true` if the one or the other kept some back.
    pub(super) fn deliver_mail(
        &self,
        connection: &mut Connection,
        max: usize,
        bytes_max: usize,
        now: Instant,
    ) -> bool {
        let mut deliveries = Vec::new();
        let more = self.mailbox.take_deliveries(max, bytes_max, &mut deliveries);
        deliveries
            .iter()
            .for_each(|delivery| connection.deliver(delivery, now));
        more
    }

    /// Delivers the next retained message, or ends the subscription's turn.
    fn deliver_retained(&mut self, connection: &mut Connection, now: Instant) {
        let Some(reader) = self.backlog.first() else {
            return;
        };
        let Some(publish) = reader.ready.pop_front() else {
            if reader.at_end {
                self.backlog.first_is_done();
            } else {
                self.edge.enforcer.topics.read_retained(reader, now);
            }
            return;
        };
        let delivery = reader.delivery(publish);
        let class = Class::of(&delivery.publish.topic);
        self.edge.metrics.deliveries.of(class, delivery.qos.into()).inc();
        connection.deliver(&delivery, now);
    }
}

/// How many deliveries fit behind a closed window, or none if they are few: they come by lumps.
fn behind_window(connection: &Connection) -> usize {
    let places = BEHIND_WINDOW.saturating_sub(connection.queued());
    match places >= LUMP {
        true => places.min(connection.queue_room()),
        false => 0,
    }
}
