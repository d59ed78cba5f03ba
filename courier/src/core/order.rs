//! Which unanswered message stands before which, in the order of their source and destination.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use irsp_protocol::{Envelope, MessageId};

/// One chain per source and destination, of what is under way to one hop.
#[derive(Default)]
pub(super) struct Order {
    links: HashMap<MessageId, Link>,
    /// The last of each chain.
    last: HashMap<u64, MessageId>,
}

struct Link {
    chain: u64,
    before: Option<MessageId>,
    next: Option<MessageId>,
}

impl Order {
    /// The message goes on its way behind all that are.
    pub(super) fn join(&mut self, envelope: &Envelope) {
        if !envelope.kind.keeps_order() {
            return;
        }
        // Two chains that share a number are one: an order more than was promised.
        let chain = BuildHasherDefault::<DefaultHasher>::default()
            .hash_one((&envelope.source, &envelope.destination));
        let before = self.last.insert(chain, envelope.id);
        if let Some(link) = before.and_then(|before| self.links.get_mut(&before)) {
            link.next = Some(envelope.id);
        }
        let link = Link {
            chain,
            before,
            next: None,
        };
        self.links.insert(envelope.id, link);
    }

    /// The message is under way no more.
    pub(super) fn leave(&mut self, id: MessageId) {
        let Some(gone) = self.links.remove(&id) else {
            return;
        };
        if let Some(before) = gone.before.and_then(|before| self.links.get_mut(&before)) {
            before.next = gone.next;
        }
        match gone.next.and_then(|next| self.links.get_mut(&next)) {
            Some(next) => next.before = gone.before,
            None => match gone.before {
                Some(before) => {
                    self.last.insert(gone.chain, before);
                }
                None => {
                    self.last.remove(&gone.chain);
                }
            },
        }
    }

    /// The message that has to be seen before this one.
    pub(super) fn before(&self, id: MessageId) -> Option<MessageId> {
        self.links.get(&id)?.before
    }
}
