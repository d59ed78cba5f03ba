//! The bus: loses, repeats, delays and reorders frames.

use std::time::Duration;

use bytes::Bytes;

use crate::dice::Dice;
use crate::home::Site;
use crate::plan::Plan;

#[derive(Debug)]
pub(crate) struct Bus {
    dice: Dice,
    under_way: Vec<Flight>,
}

#[derive(Clone, Debug)]
struct Flight {
    /// True time of arrival.
    at: Duration,
    to: Site,
    frame: Bytes,
}

impl Bus {
    pub(crate) fn new(dice: Dice) -> Bus {
        Bus {
            dice,
            under_way: Vec::new(),
        }
    }

    /// Takes a frame and treats it as `plan` says; without one, well.
    pub(crate) fn send(&mut self, to: Site, frame: Bytes, now: Duration, plan: Option<&Plan>) {
        let Some(plan) = plan else {
            self.under_way.push(Flight { at: now, to, frame });
            return;
        };
        if self.dice.chance(plan.lost) {
            return;
        }
        let copies = if self.dice.chance(plan.repeated) { 2 } else { 1 };
        for _ in 0..copies {
            let late_ms = if self.dice.chance(plan.late) {
                self.dice.range(1, 20_000)
            } else {
                0
            };
            self.under_way.push(Flight {
                at: now + Duration::from_millis(late_ms),
                to,
                frame: frame.clone(),
            });
        }
    }

    /// Any frame that has arrived; the oldest, if `in_order`.
    pub(crate) fn arrive(&mut self, to: Site, now: Duration, in_order: bool) -> Option<Bytes> {
        let arrived = |flight: &Flight| flight.to == to && flight.at <= now;
        let count = self.under_way.iter().filter(|flight| arrived(flight)).count();
        let nth = if in_order { 0 } else { self.dice.place(count) };
        let found = self
            .under_way
            .iter()
            .enumerate()
            .filter(|(_, flight)| arrived(flight))
            .nth(nth)
            .map(|(place, _)| place)?;
        Some(self.under_way.remove(found).frame)
    }

    /// When the next frame arrives anywhere.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.iter().map(|flight| flight.at).min()
    }
}
