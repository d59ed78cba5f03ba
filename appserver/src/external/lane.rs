//! What of an endpoint's queue is tried next. Order is kept per sender: a message that has to wait holds up the later
//! ones of its sender and nobody else's.
//!
//! The lane knows senders, not messages: those are read from disk one at a time, oldest first. So its memory is bounded
//! by the senders that have something waiting, however much waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use irsp_courier::Backoff;

use super::breaker::{Breaker, Standing};

/// How long after the disk has failed it is asked again.
const DISK_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tries under way at one time.
    pub(crate) concurrency: usize,
    /// Between two tries of one message.
    pub(crate) retry: Backoff,
    /// Senders whose messages must fail before the endpoint is left alone, and for how long.
    pub(crate) breaker_failures: usize,
    pub(crate) breaker: Backoff,
}

/// One endpoint's queue.
pub(crate) struct Lane {
    limits: Limits,
    /// Confirmed, not paused, and its application may receive.
    open: bool,
    senders: HashMap<String, Place>,
    ready: VecDeque<String>,
    waiting: BTreeSet<(Instant, String)>,
    busy: usize,
    breaker: Breaker,
}

enum Place {
    Ready,
    /// A try is under way. `more`: something was stored meanwhile.
    Busy {
        more: bool,
    },
    Waiting,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The sender had nothing waiting.
    Nothing,
    /// The message has ended; `healthy`: the endpoint works, whatever it said.
    Ended { healthy: bool },
    /// The message waits, after so many failures, for this long at least.
    Again { failures: u32, after: Duration },
    /// The disk could not be read.
    Unread,
}

impl Lane {
    pub(crate) fn new(limits: Limits) -> Lane {
        Lane {
            limits,
            open: false,
            senders: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            busy: 0,
            breaker: Breaker::new(limits.breaker_failures, limits.breaker),
        }
    }

    pub(crate) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Starts anew with a fresh breaker, and what has failed is tried at once: the endpoint was changed.
    pub(crate) fn refresh(&mut self) {
        self.breaker = Breaker::new(self.limits.breaker_failures, self.limits.breaker);
        for (_, sender) in std::mem::take(&mut self.waiting) {
            self.make_ready(sender);
        }
    }

    /// A message of `sender` is on disk.
    pub(crate) fn arrived(&mut self, sender: &str) {
        match self.senders.get_mut(sender) {
            Some(Place::Busy { more }) => *more = true,
            // It is found behind the one that is tried first.
            Some(Place::Ready | Place::Waiting) => {}
            None => self.make_ready(sender.to_owned()),
        }
    }

    /// Whose oldest message is to be tried now. To be asked until there is none.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<String> {
        while let Some((until, _)) = self.waiting.first()
            && *until <= now
            && let Some((_, sender)) = self.waiting.pop_first()
        {
            self.make_ready(sender);
        }
        if !self.open || self.busy >= self.limits.concurrency || self.ready.is_empty() {
            return None;
        }
        if !self.breaker.begin(now) {
            return None;
        }
        let sender = self.ready.pop_front()?;
        self.senders.insert(sender.clone(), Place::Busy { more: false });
        self.busy += 1;
        Some(sender)
    }

    /// The try that [`poll`](Lane::poll) asked for has ended. `dice` is any random number.
    pub(crate) fn tried(&mut self, sender: &str, tried: Tried, now: Instant, dice: u32) {
        self.busy = self.busy.saturating_sub(1);
        let more = matches!(self.senders.get(sender), Some(Place::Busy { more: true }));
        match tried {
            Tried::Ended { healthy: true } => self.breaker.succeeded(),
            Tried::Ended { healthy: false } | Tried::Again { .. } => {
                self.breaker.failed(sender, now, dice);
            }
            Tried::Nothing | Tried::Unread => self.breaker.withdrawn(now),
        }
        match tried {
            Tried::Ended { .. } => self.make_ready(sender.to_owned()),
            Tried::Nothing if more => self.make_ready(sender.to_owned()),
            Tried::Nothing => {
                self.senders.remove(sender);
            }
            Tried::Again { failures, after } => {
                let wait = self.limits.retry.after(failures, dice).max(after);
                self.wait(sender, now + wait);
            }
            Tried::Unread => self.wait(sender, now + DISK_WAIT),
        }
    }

    /// When [`poll`](Lane::poll) may have something that it has not now; `None` if only other news can change that.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        if !self.open || self.busy >= self.limits.concurrency {
            return None;
        }
        let due = self.waiting.first().map(|(until, _)| *until);
        match self.breaker.standing() {
            Standing::Closed => due,
            Standing::HalfOpen => None,
            Standing::Open if !self.ready.is_empty() => self.breaker.opens_at(),
            Standing::Open => due.max(self.breaker.opens_at()).filter(|_| due.is_some()),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.breaker.standing()
    }

    /// Tries under way.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Senders that have something waiting, those with a try under way among them.
    pub(crate) fn senders(&self) -> usize {
        self.senders.len()
    }

    fn make_ready(&mut self, sender: String) {
        self.senders.insert(sender.clone(), Place::Ready);
        self.ready.push_back(sender);
    }

    fn wait(&mut self, sender: &str, until: Instant) {
        self.senders.insert(sender.to_owned(), Place::Waiting);
        self.waiting.insert((until, sender.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HEALTHY: Tried = Tried::Ended { healthy: true };

    fn again(failures: u32) -> Tried {
        Tried::Again {
            failures,
            after: Duration::ZERO,
        }
    }

    fn lane(concurrency: usize) -> (Lane, Instant) {
        let waits = Backoff {
            min: SECOND,
            max: 60 * SECOND,
        };
        let mut lane = Lane::new(Limits {
            concurrency,
            retry: waits,
            breaker_failures: 2,
            breaker: Backoff {
                min: 10 * SECOND,
                ..waits
            },
        });
        lane.set_open(true);
        (lane, Instant::now())
    }

    fn poll(lane: &mut Lane, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| lane.poll(now)).collect()
    }

    #[test]
    fn a_sender_has_one_try_at_a_time_and_others_pass_it() {
        let (mut lane, now) = lane(8);
        for sender in ["dev/a", "dev/b", "dev/a"] {
            lane.arrived(sender);
        }
        assert_eq!(poll(&mut lane, now), ["dev/a", "dev/b"]);
        lane.arrived("dev/a");
        assert_eq!(lane.poll(now), None, "its first is under way");
        lane.tried("dev/a", again(1), now, u32::MAX);
        lane.tried("dev/b", HEALTHY, now, 0);
        assert_eq!(poll(&mut lane, now), ["dev/b"], "there may be more of it");
        lane.tried("dev/b", Tried::Nothing, now, 0);
        assert_eq!((lane.senders(), lane.next_wake()), (1, Some(now + SECOND)));
        lane.arrived("dev/a");
        assert_eq!(lane.poll(now + SECOND / 2), None);
        assert_eq!(poll(&mut lane, now + SECOND), ["dev/a"]);
    }

    #[test]
    fn what_comes_while_the_disk_is_asked_is_not_forgotten() {
        let (mut lane, now) = lane(8);
        lane.arrived("dev/a");
        assert_eq!(poll(&mut lane, now), ["dev/a"]);
        lane.arrived("dev/a");
        lane.tried("dev/a", Tried::Nothing, now, 0);
        assert_eq!(poll(&mut lane, now), ["dev/a"]);
        lane.tried("dev/a", Tried::Unread, now, 0);
        assert_eq!(lane.next_wake(), Some(now + DISK_WAIT));
    }

    #[test]
    fn so_many_at_a_time_and_none_while_closed() {
        let (mut lane, now) = lane(2);
        for sender in ["dev/a", "dev/b", "dev/c"] {
            lane.arrived(sender);
        }
        assert_eq!(poll(&mut lane, now).len(), 2);
        lane.set_open(false);
        lane.tried("dev/a", HEALTHY, now, 0);
        assert_eq!((lane.poll(now), lane.next_wake()), (None, None));
        lane.set_open(true);
        assert_eq!(poll(&mut lane, now), ["dev/c"]);
    }

    #[test]
    fn retry_after_is_waited_for_and_a_changed_endpoint_is_tried_at_once() {
        let (mut lane, now) = lane(8);
        lane.arrived("dev/a");
        assert_eq!(poll(&mut lane, now), ["dev/a"]);
        let asked = Tried::Again {
            failures: 1,
            after: 30 * SECOND,
        };
        lane.tried("dev/a", asked, now, 0);
        assert_eq!(lane.next_wake(), Some(now + 30 * SECOND));
        lane.refresh();
        assert_eq!(poll(&mut lane, now), ["dev/a"]);
    }

    #[test]
    fn an_endpoint_that_fails_for_all_is_left_alone_and_probed_once() {
        let (mut lane, now) = lane(8);
        for sender in ["dev/a", "dev/b", "dev/c"] {
            lane.arrived(sender);
        }
        assert_eq!(poll(&mut lane, now).len(), 3);
        for sender in ["dev/a", "dev/b", "dev/c"] {
            lane.tried(sender, again(1), now, u32::MAX);
        }
        assert_eq!(lane.standing(), Standing::Open);
        assert_eq!(lane.poll(now + 5 * SECOND), None);
        assert_eq!(lane.next_wake(), Some(now + 10 * SECOND));
        let later = now + 10 * SECOND;
        assert_eq!(poll(&mut lane, later).len(), 1, "half-open: one");
        assert_eq!(lane.next_wake(), None);
        lane.tried("dev/a", HEALTHY, later, 0);
        assert_eq!(poll(&mut lane, later).len(), 3);
    }
}
