//! The only source of chance: one seed, one story.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// Dice of their own, so that one part's throws do not change another's.
    pub(crate) fn part(&mut self) -> Dice {
        Dice::new(self.0.random())
    }

    /// Happens in so many of a thousand cases.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1000) < per_mille
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// A place in a list of so many; 0 if it is empty.
    pub(crate) fn place(&mut self, count: usize) -> usize {
        if count == 0 {
            0
        } else {
            self.0.random_range(0..count)
        }
    }

    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, choice: [T; N]) -> T {
        choice[self.place(N)]
    }
}
