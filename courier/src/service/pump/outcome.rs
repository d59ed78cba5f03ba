//! What has become of the pump's jobs: who is told, and what may go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use irsp_protocol::{Envelope, Kind, MessageId, Principal};

use super::Pump;
use crate::Backoff;
use crate::clock::Now;
use crate::core::{Leaving, RELOAD_WAIT};
use crate::hop::Hop;
use crate::role::Ended;
use crate::service::events::Event;
use crate::service::handing::Step;
use crate::service::jobs::Hand;
use crate::store::{Effects, EndedRow, Left, StoreError};

/// Before the role is asked again whether a push may be handed over, longer the more often in a row it has said "not yet".
const NOT_YET: Backoff = Backoff {
    min: Duration::from_millis(20),
    max: RELOAD_WAIT,
};

impl Pump {
    pub(in crate::service) fn on_event(&mut self, event: Event, now: Now) {
        match event {
            Event::Committed(effects) => self.on_committed(effects, now),
            Event::Received {
                delivered,
                stale,
                permit,
            } => {
                if permit.is_none() {
                    self.frames_under_way -= 1;
                }
                self.on_received(delivered, now);
                self.on_settled(stale, now);
            }
            Event::Settled {
                settled,
                again,
                unstored,
            } => {
                self.unstored.keep(unstored, now);
                for (hop, id, failures) in again {
                    if let Hop::Principal(to) = hop {
                        self.role.again(&to, id, failures);
                    }
                }
                self.on_settled(settled, now);
            }
            Event::Swept(result) => self.upkeep.end(result, now),
            Event::Handed {
                to,
                ticket,
                envelopes,
            } => self.on_handed(&to, ticket, envelopes, now),
        }
    }

    fn on_handed(
        &mut self,
        to: &Principal,
        ticket: u64,
        envelopes: Result<Vec<Arc<Envelope>>, StoreError>,
        now: Now,
    ) {
        if !self.handing.awaits(to, ticket) {
            return;
        }
        match envelopes {
            Ok(envelopes) => {
                self.not_yet = 0;
                for step in self.handing.recorded(to, envelopes) {
                    self.step(to, step);
                }
            }
            Err(error) => {
                // The role says "not yet" while its own word is on its way to the disk.
                let wait = if let StoreError::Refused { .. } = error {
                    self.not_yet = self.not_yet.saturating_add(1);
                    NOT_YET.after(self.not_yet, u32::MAX)
                } else {
                    tracing::warn!(%to, %error, "pushes cannot be handed over just now; they are tried again");
                    RELOAD_WAIT
                };
                self.handing.forget(to);
                self.core.not_handed(to, wait, now);
            }
        }
    }

    pub(super) fn step(&mut self, to: &Principal, step: Step) {
        match step {
            Step::Deliver(envelopes) => self.deliver(to, envelopes),
            Step::Record { ticket, envelopes } => {
                let job = Hand {
                    role: Arc::clone(&self.role),
                    to: to.clone(),
                    ticket,
                    handed: Vec::with_capacity(envelopes.len()),
                    envelopes,
                    events: self.report.clone(),
                };
                self.write(job);
            }
        }
    }

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        if !envelopes.is_empty() {
            self.role.deliver(to, envelopes);
        }
    }

    fn on_committed(&mut self, effects: Effects, now: Now) {
        // What has ended in the commit that stored it is not sent.
        let gone: HashSet<MessageId> = match effects.stored.is_empty() {
            true => HashSet::new(),
            false => effects.left.iter().map(|left| left.id).collect(),
        };
        for stored in &effects.stored {
            // What a late word has brought back, and left in custody, may expire as well.
            self.upkeep.expires(stored.envelope.expires);
            if gone.contains(&stored.envelope.id) {
                continue;
            }
            match &stored.hop {
                Hop::Principal(service) if service.kind == Kind::External => {
                    self.role.waits(service, &stored.envelope);
                }
                Hop::Principal(_) | Hop::Server(_) | Hop::Peer(_) => {
                    self.core.stored(&stored.hop, stored.seq, &stored.envelope, now);
                }
            }
        }
        for left in effects.left {
            let why = match left.is_answered() {
                true => Leaving::Answered,
                false => Leaving::Unanswered,
            };
            let Left { id, hop, end } = left;
            if let Hop::Principal(receiver) = &hop {
                self.handing.ended(receiver, id);
            }
            let sent = self.core.left(&hop, id, why, now);
            if let Some(end) = end {
                self.upkeep.wrote(now);
                self.on_ended(hop, sent, end);
            }
        }
    }

    /// `sent` is the envelope, if its lane still had it; else it is read from its row.
    fn on_ended(&mut self, hop: Hop, sent: Option<Arc<Envelope>>, end: EndedRow) {
        let envelope = sent.map_or_else(|| serde_json::from_str(&end.head).map(Arc::new), Ok);
        match envelope {
            Ok(envelope) => self.role.ended(Ended {
                envelope,
                hop,
                origin: end.origin,
                status: end.status,
                answer: end.answer,
                cause: end.cause,
                at: end.at,
            }),
            Err(error) => tracing::error!(%hop, %error, "an ended message cannot be read"),
        }
    }

    /// An answer was dealt with, whatever it changed: the slot is free.
    fn on_settled(&mut self, settled: Vec<(Hop, MessageId)>, now: Now) {
        for (hop, id) in settled {
            self.core.left(&hop, id, Leaving::Answered, now);
        }
    }
}
