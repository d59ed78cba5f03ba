//! The circuit breaker of one endpoint: while it fails for everybody, it is left alone.
//!
//! ```text
//! closed --- `failures` senders failed since the last success ---> open
//! open   --- its wait has passed ---> half-open: one try
//! half-open --- success ---> closed;   failure ---> open, with a wait twice as long
//! ```
//!
//! It counts senders, not tries: one device whose uploads the endpoint cannot digest does not close it for the others;
//! that device's own back-off spares the endpoint.

use std::collections::BTreeSet;
use std::time::Instant;

use irsp_courier::Backoff;

pub(crate) struct Breaker {
    /// Senders that must fail without a success between them.
    failures: usize,
    waits: Backoff,
    state: State,
}

enum State {
    Closed {
        failing: BTreeSet<String>,
    },
    Open {
        until: Instant,
        /// How often in a row it was opened.
        times: u32,
    },
    /// One try is under way.
    HalfOpen {
        times: u32,
    },
}

/// How the breaker stands, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Closed,
    Open,
    HalfOpen,
}

impl Standing {
    pub(crate) const ALL: [Standing; 3] = [Standing::Closed, Standing::Open, Standing::HalfOpen];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Standing::Closed => "closed",
            Standing::Open => "open",
            Standing::HalfOpen => "half-open",
        }
    }
}

impl Breaker {
    pub(crate) fn new(failures: usize, waits: Backoff) -> Breaker {
        Breaker {
            failures: failures.max(1),
            waits,
            state: State::Closed {
                failing: BTreeSet::new(),
            },
        }
    }

    /// Whether a try may begin now; if so, it counts as begun.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, times } if until <= now => {
                self.state = State::HalfOpen { times };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.state = State::Closed {
            failing: BTreeSet::new(),
        };
    }

    pub(crate) fn failed(&mut self, sender: &str, now: Instant, dice: u32) {
        let times = match &mut self.state {
            State::Closed { failing } => {
                failing.insert(sender.to_owned());
                if failing.len() < self.failures {
                    return;
                }
                1
            }
            State::HalfOpen { times } => times.saturating_add(1),
            // A try that began before it was opened.
            State::Open { .. } => return,
        };
        self.state = State::Open {
            until: now + self.waits.after(times, dice),
            times,
        };
    }

    /// The try that was begun came to nothing: it says neither.
    pub(crate) fn withdrawn(&mut self, now: Instant) {
        if let State::HalfOpen { times } = self.state {
            self.state = State::Open { until: now, times };
        }
    }

    /// When a try may begin, if that is not now and needs no other news.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { .. } => Standing::Open,
            State::HalfOpen { .. } => Standing::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use irsp_courier::Backoff;

    use super::*;

    const WAIT: Duration = Duration::from_secs(4);

    fn breaker() -> (Breaker, Instant) {
        let waits = Backoff {
            min: WAIT,
            max: 4 * WAIT,
        };
        (Breaker::new(3, waits), Instant::now())
    }

    #[test]
    fn it_opens_when_several_senders_fail_and_not_for_one() {
        let (mut breaker, now) = breaker();
        for _ in 0..100 {
            assert!(breaker.begin(now));
            breaker.failed("dev/a", now, 0);
        }
        breaker.failed("dev/b", now, 0);
        assert_eq!(breaker.standing(), Standing::Closed);
        breaker.succeeded();
        breaker.failed("dev/b", now, 0);
        breaker.failed("dev/c", now, 0);
        assert!(breaker.begin(now), "a success has wiped the slate");
        breaker.failed("dev/a", now, u32::MAX);
        assert_eq!(breaker.standing(), Standing::Open);
        assert!(!breaker.begin(now) && !breaker.begin(now + WAIT / 2));
        assert_eq!(breaker.opens_at(), Some(now + WAIT));
    }

    #[test]
    fn half_open_lets_one_try_through_whose_end_decides() {
        let (mut breaker, now) = breaker();
        for sender in ["dev/a", "dev/b", "dev/c"] {
            breaker.failed(sender, now, u32::MAX);
        }
        let later = now + WAIT;
        assert!(breaker.begin(later));
        assert_eq!(breaker.standing(), Standing::HalfOpen);
        assert!(!breaker.begin(later), "one try");
        breaker.failed("dev/a", later, u32::MAX);
        assert_eq!(breaker.opens_at(), Some(later + 2 * WAIT), "twice as long");
        let later = later + 2 * WAIT;
        assert!(breaker.begin(later));
        breaker.withdrawn(later);
        assert!(breaker.begin(later), "a try that did not happen is made good");
        breaker.succeeded();
        assert!(breaker.begin(later) && breaker.begin(later));
        assert_eq!(breaker.opens_at(), None);
    }
}
