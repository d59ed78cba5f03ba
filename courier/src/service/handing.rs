//! Pushes with options on their way to their receivers: that they go is on disk before they go, so that no newer push
//! takes the place of one that was handed over. What comes behind them for the same receiver waits, for the order's sake;
//! all other pushes pass through without a detour.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use irsp_protocol::{Envelope, MessageId, Principal};

pub(super) type Envelopes = Vec<Arc<Envelope>>;

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Deliver(Envelopes),
    /// Write it down first, and come back with the ticket.
    Record {
        ticket: u64,
        envelopes: Envelopes,
    },
}

#[derive(Default)]
pub(super) struct Handing {
    /// Receivers for whom something is being written down.
    queues: HashMap<Principal, Queue>,
    tickets: u64,
}

struct Queue {
    /// Of the record under way. A receiver that goes and comes again starts anew.
    ticket: u64,
    waiting: VecDeque<Envelopes>,
    /// What has ended meanwhile: it is not handed over any more.
    ended: HashSet<MessageId>,
}

impl Handing {
    /// These are to go to their receiver; `None` if they wait behind others.
    pub(super) fn send(&mut self, to: &Principal, envelopes: Envelopes) -> Option<Step> {
        if let Some(queue) = self.queues.get_mut(to) {
            queue.waiting.push_back(envelopes);
            return None;
        }
        if envelopes.iter().all(|envelope| envelope.options.is_empty()) {
            return Some(Step::Deliver(envelopes));
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let queue = Queue {
            ticket,
            waiting: VecDeque::new(),
            ended: HashSet::new(),
        };
        self.queues.insert(to.clone(), queue);
        Some(Step::Record { ticket, envelopes })
    }

    /// Whether a record that has come back is still wanted.
    pub(super) fn awaits(&self, to: &Principal, ticket: u64) -> bool {
        self.queues.get(to).is_some_and(|queue| queue.ticket == ticket)
    }

    /// These are written down: they go now, and what the record has held up, as far as it goes.
    pub(super) fn recorded(&mut self, to: &Principal, envelopes: Envelopes) -> Vec<Step> {
        let Some(queue) = self.queues.remove(to) else {
            return Vec::new();
        };
        let lives = |envelope: &Arc<Envelope>| !queue.ended.contains(&envelope.id);
        let alive = |mut envelopes: Envelopes| {
            envelopes.retain(lives);
            envelopes
        };
        let mut steps = vec![Step::Deliver(alive(envelopes))];
        for waiting in queue.waiting {
            steps.extend(self.send(to, alive(waiting)));
        }
        steps
    }

    /// A message for this receiver has ended.
    pub(super) fn ended(&mut self, to: &Principal, id: MessageId) {
        if let Some(queue) = self.queues.get_mut(to) {
            queue.ended.insert(id);
        }
    }

    /// The receiver has gone, or has come again: whatever it was to get is read from the disk anew.
    pub(super) fn forget(&mut self, to: &Principal) {
        self.queues.remove(to);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use irsp_protocol::{MessageKind, PushOptions, Timestamp};

    use super::*;

    fn push(n: u8, key: Option<&str>) -> Envelopes {
        vec![Arc::new(Envelope {
            id: MessageId::from_bytes([n; 16]),
            kind: MessageKind::Push,
            source: "app/climate".parse().unwrap(),
            destination: "dev/lamp-1".parse().unwrap(),
            channel: None,
            time: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(1),
            sender_id: None,
            content_type: None,
            options: PushOptions {
                supersede_key: key.map(|key| key.parse().unwrap()),
                only_if_epoch: None,
            },
            attributes: Vec::new(),
            data: Bytes::new(),
        })]
    }

    #[test]
    fn what_has_no_options_passes_and_what_comes_behind_a_record_waits_for_it() {
        let mut handing = Handing::default();
        let (lamp, other) = ("dev/lamp-1".parse().unwrap(), "dev/lamp-2".parse().unwrap());
        assert_eq!(
            handing.send(&lamp, push(1, None)),
            Some(Step::Deliver(push(1, None)))
        );
        let Some(Step::Record { ticket, envelopes }) = handing.send(&lamp, push(2, Some("power"))) else {
            panic!("options are written down first");
        };
        assert_eq!(envelopes, push(2, Some("power")));
        assert_eq!(handing.send(&lamp, push(3, None)), None);
        assert_eq!(handing.send(&lamp, push(4, Some("power"))), None);
        assert_eq!(handing.send(&lamp, push(5, None)), None);
        assert!(handing.send(&other, push(6, None)).is_some(), "nobody else waits");
        assert!(handing.awaits(&lamp, ticket) && !handing.awaits(&lamp, ticket + 1));
        let steps = handing.recorded(&lamp, push(2, Some("power")));
        assert_eq!(steps[0], Step::Deliver(push(2, Some("power"))));
        assert_eq!(steps[1], Step::Deliver(push(3, None)));
        assert!(matches!(&steps[2], Step::Record { envelopes, .. } if *envelopes == push(4, Some("power"))));
        assert_eq!(steps.len(), 3, "the fifth waits behind the fourth");
        let steps = handing.recorded(&lamp, push(4, Some("power")));
        assert_eq!(steps[1], Step::Deliver(push(5, None)));
    }

    /// The receiver had it from its session before, and answers while it is written down that it goes.
    #[test]
    fn what_ends_meanwhile_is_not_handed_over() {
        let mut handing = Handing::default();
        let lamp = "dev/lamp-1".parse().unwrap();
        let id = |n: u8| MessageId::from_bytes([n; 16]);
        assert!(matches!(
            handing.send(&lamp, push(1, Some("power"))),
            Some(Step::Record { .. })
        ));
        assert_eq!(handing.send(&lamp, push(2, None)), None);
        assert_eq!(handing.send(&lamp, push(3, None)), None);
        handing.ended(&lamp, id(1));
        handing.ended(&lamp, id(2));
        let steps = handing.recorded(&lamp, push(1, Some("power")));
        let delivered: Vec<MessageId> = steps
            .into_iter()
            .flat_map(|step| match step {
                Step::Deliver(envelopes) | Step::Record { envelopes, .. } => envelopes,
            })
            .map(|envelope| envelope.id)
            .collect();
        assert_eq!(delivered, [id(3)]);
    }

    #[test]
    fn a_receiver_that_comes_again_starts_anew() {
        let mut handing = Handing::default();
        let lamp = "dev/lamp-1".parse().unwrap();
        let Some(Step::Record { ticket, .. }) = handing.send(&lamp, push(1, Some("power"))) else {
            panic!("options are written down first");
        };
        handing.forget(&lamp);
        assert!(!handing.awaits(&lamp, ticket));
        assert!(matches!(
            handing.send(&lamp, push(2, None)),
            Some(Step::Deliver(_))
        ));
    }
}
