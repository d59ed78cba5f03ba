//! Publishers that wait for room in a mailbox.
//!
//! For each place that becomes free one of them is woken, so that a thousand that wait for one slow subscriber do not all
//! try again for every message it takes. Who is woken and takes no place, because the mailbox is full again or the publish
//! goes elsewhere, wakes nobody: the next place that becomes free does, and an empty mailbox wakes all.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Room {
    waiting: AtomicUsize,
    notify: Notify,
}

/// One that waits, until dropped.
struct Waits<'r>(&'r AtomicUsize);

impl Room {
    /// Completes when there may be room again. `has_room` looks, and is asked after whoever makes room can see that somebody
    /// waits.
    pub(super) async fn wait(&self, has_room: impl Fn() -> bool) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(&self.waiting);
        let notified = self.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !has_room() {
            notified.await;
        }
    }

    /// So many places have become free.
    pub(super) fn freed(&self, places: usize) {
        let waiting = self.waiting.load(Ordering::SeqCst);
        for _ in 0..places.min(waiting) {
            self.notify.notify_one();
        }
    }

    /// There is nothing to wait for any more.
    pub(super) fn open(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.notify.notify_waiters();
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn as_many_are_woken_as_there_are_places_and_all_when_it_is_empty() {
        let room = Room::default();
        let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(room.wait(|| false))).collect();
        let mut woken = || {
            let before = waiting.len();
            waiting.retain_mut(|waits| waits.now_or_never().is_none());
            before - waiting.len()
        };
        assert_eq!(woken(), 0);
        room.freed(2);
        assert_eq!(woken(), 2);
        room.freed(1);
        assert_eq!(woken(), 1);
        room.open();
        assert_eq!(woken(), 2);
        room.freed(7);
        assert!(
            room.wait(|| false).now_or_never().is_none(),
            "nobody waited: nothing is kept"
        );
    }

    #[test]
    fn one_that_gives_up_passes_its_place_on() {
        let room = Room::default();
        let mut first = Box::pin(room.wait(|| false));
        let mut second = Box::pin(room.wait(|| false));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        room.freed(1);
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn room_that_is_found_when_somebody_begins_to_wait_is_not_waited_for() {
        let room = Room::default();
        let looks = Cell::new(0);
        let found = room.wait(|| {
            looks.set(looks.get() + 1);
            true
        });
        assert!(found.now_or_never().is_some());
        assert_eq!(looks.get(), 1);
    }
}
