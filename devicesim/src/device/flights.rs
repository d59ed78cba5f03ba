//! Uploads under way, by packet id. Pure.

use std::collections::HashMap;

/// Uploads one device has under way at once; later ones wait, and their latency counts from when they were due.
pub(super) const WINDOW: u16 = 64;
/// Packet ids of one device. Twice the window, so that an id is free again before its turn comes.
const PACKET_IDS: u16 = 2 * WINDOW;

#[derive(Debug)]
pub(super) struct Flights {
    by_id: HashMap<u16, Flight>,
    last: u16,
    window: usize,
}

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// PUBLISH is out.
    Published(u64),
    /// PUBREL is out: the server has it.
    Released(u64),
}

impl Flight {
    pub(super) fn number(self) -> u64 {
        match self {
            Flight::Published(n) | Flight::Released(n) => n,
        }
    }
}

impl Flights {
    pub(super) fn new() -> Flights {
        Flights {
            by_id: HashMap::new(),
            last: 0,
            window: usize::from(WINDOW),
        }
    }

    /// A connection on which the server takes so many at once.
    pub(super) fn allow(&mut self, receive_max: u16) {
        self.window = usize::from(WINDOW.min(receive_max.max(1)));
    }

    pub(super) fn full(&self) -> bool {
        self.by_id.len() >= self.window
    }

    /// Upload `n` goes out under the packet id that is returned.
    pub(super) fn begin(&mut self, n: u64) -> u16 {
        loop {
            self.last = self.last % PACKET_IDS + 1;
            if let std::collections::hash_map::Entry::Vacant(place) = self.by_id.entry(self.last) {
                place.insert(Flight::Published(n));
                return self.last;
            }
        }
    }

    /// PUBREC that accepts.
    pub(super) fn release(&mut self, id: u16) {
        if let Some(flight) = self.by_id.get_mut(&id) {
            *flight = Flight::Released(flight.number());
        }
    }

    /// The upload that the answer under this id ends.
    pub(super) fn end(&mut self, id: u16) -> Option<u64> {
        self.by_id.remove(&id).map(Flight::number)
    }

    /// All of them with their packet ids, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<(u16, Flight)> {
        let mut all: Vec<(u16, Flight)> = self.by_id.iter().map(|(id, flight)| (*id, *flight)).collect();
        all.sort_unstable_by_key(|(_, flight)| flight.number());
        all
    }

    /// The server has forgotten them: their numbers, in their order.
    pub(super) fn forget(&mut self) -> Vec<u64> {
        let numbers = self.all().into_iter().map(|(_, flight)| flight.number());
        let numbers = numbers.collect();
        self.by_id.clear();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_free_again_when_its_upload_has_ended_and_not_before() {
        let mut flights = Flights::new();
        let first = flights.begin(7);
        for n in 0..u64::from(PACKET_IDS) * 2 {
            let id = flights.begin(n);
            assert!(id != first && (1..=PACKET_IDS).contains(&id));
            assert_eq!(flights.end(id), Some(n));
        }
        assert_eq!((flights.end(first), flights.end(first)), (Some(7), None));
    }

    #[test]
    fn the_window_is_the_smaller_of_both_sides() {
        let mut flights = Flights::new();
        flights.allow(2);
        flights.begin(0);
        assert!(!flights.full());
        let id = flights.begin(1);
        assert!(flights.full());
        flights.release(id);
        assert_eq!(flights.all()[1], (id, Flight::Released(1)));
        assert_eq!(flights.forget(), [0, 1]);
        assert!(!flights.full());
    }
}
