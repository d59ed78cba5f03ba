//! What waits in memory for one session, in order, and how much it is.

use std::collections::VecDeque;

use irsp_session::Delivery;

use super::kept::Bounds;

#[derive(Default)]
pub(super) struct Mail {
    deliveries: VecDeque<Delivery>,
    /// Of their payloads. Subscribers of one publish share it, but each may be the last to hold it.
    bytes: u64,
}

impl Mail {
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.bytes += bytes(&delivery);
        self.deliveries.push_back(delivery);
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.bytes -= bytes(&delivery);
        if self.deliveries.is_empty() {
            // An idle session holds no buffer.
            self.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Takes out what `keep` denies; says how many that were.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) -> usize {
        let (before, left) = (self.deliveries.len(), &mut self.bytes);
        self.deliveries.retain(|delivery| {
            let stays = keep(delivery);
            if !stays {
                *left -= bytes(delivery);
            }
            stays
        });
        before - self.deliveries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Whether nothing more may wait. One message waits whatever its size.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        self.deliveries.len() as u64 >= bounds.messages_max || self.bytes >= bounds.bytes_max
    }
}

fn bytes(delivery: &Delivery) -> u64 {
    delivery.publish.payload.len() as u64
}
