//! The live tail: the stages messages pass, kept in memory for whoever listens just now.
//!
//! Nothing is recorded unless somebody has asked of late, so a server without listeners pays one look at a flag for
//! each commit. What a listener does not fetch in time is passed over, and it is told how much.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use irsp_protocol::inquiry::TailMark;
use irsp_protocol::receipt::{Stage, StageReport};
use irsp_protocol::{Address, MessageId, Status, Timestamp};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::lock::lock;
use crate::store::Effects;

/// Events kept for listeners that are behind.
const EVENTS_MAX: usize = 8_192;
/// Events in one answer.
const ANSWER_MAX: usize = 512;
/// How long a question waits for something to happen: below the time after which it is asked again.
const WAIT: Duration = Duration::from_millis(500);
/// Without a question for so long, nobody listens any more.
const INTEREST: Duration = Duration::from_secs(10);

/// Records what happens while somebody listens.
pub(super) struct Recorder {
    /// Whether anybody listens, as far as we know.
    recording: AtomicBool,
    state: Mutex<State>,
    news: Notify,
}

struct State {
    /// Of this recorder: numbers of an earlier one mean nothing here.
    life: MessageId,
    /// Of the last event.
    number: u64,
    events: VecDeque<Event>,
    asked: Option<Instant>,
}

/// A message has passed a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: MessageId,
    stage: Stage,
    code: Option<Status>,
    at: Timestamp,
}

/// What has happened since a mark.
pub(super) struct Seen {
    pub(super) events: Vec<Event>,
    pub(super) mark: TailMark,
    pub(super) missed: u64,
}

impl Event {
    pub(super) fn report(&self, reporter: &Address) -> StageReport {
        StageReport {
            stage: self.stage,
            time: self.at,
            reporter: reporter.clone(),
            code: self.code,
        }
    }
}

impl Recorder {
    pub(super) fn new(life: MessageId) -> Recorder {
        Recorder {
            recording: AtomicBool::new(false),
            state: Mutex::new(State {
                life,
                number: 0,
                events: VecDeque::new(),
                asked: None,
            }),
            news: Notify::new(),
        }
    }

    /// A commit has changed this.
    pub(super) fn committed(&self, effects: &Effects, clock: &dyn Clock) {
        if !self.recording.load(Ordering::Relaxed) {
            return;
        }
        let now = clock.now();
        let stored = effects.stored.iter().map(|stored| Event {
            id: stored.envelope.id,
            stage: Stage::Accepted,
            code: None,
            at: now.wall,
        });
        let left = effects.left.iter().map(|left| match &left.end {
            Some(end) => Event {
                id: left.id,
                stage: Stage::Ended,
                code: Some(end.status),
                at: end.at,
            },
            None => Event {
                id: left.id,
                stage: Stage::Answered,
                code: Some(Status::QUEUED),
                at: now.wall,
            },
        });
        self.record(stored.chain(left), now.instant);
    }

    /// What has happened since `after`; from now on, if that is none or of another life. Waits a moment if it is
    /// nothing.
    pub(super) async fn since(&self, after: Option<TailMark>, clock: &dyn Clock) -> Seen {
        let news = self.news.notified();
        tokio::pin!(news);
        // From here on news is not missed, even while we look.
        news.as_mut().enable();
        let seen = self.look(after, clock.now().instant);
        if !seen.events.is_empty() || seen.missed > 0 || after != Some(seen.mark) {
            return seen;
        }
        // Without news until then, there is nothing to tell.
        let _quiet = timeout(WAIT, news).await;
        self.look(after, clock.now().instant)
    }

    fn look(&self, after: Option<TailMark>, now: Instant) -> Seen {
        let mut state = lock(&self.state);
        state.asked = Some(now);
        self.recording.store(true, Ordering::Relaxed);
        let State { life, number, .. } = *state;
        let begin = match after {
            Some(mark) if mark.life == life => mark.number.min(number),
            Some(_) | None => number,
        };
        let oldest = number - state.events.len() as u64;
        let missed = oldest.saturating_sub(begin);
        let skip = usize::try_from(begin.max(oldest) - oldest).unwrap_or(usize::MAX);
        let events: Vec<Event> = state.events.iter().skip(skip).take(ANSWER_MAX).copied().collect();
        let mark = TailMark {
            life,
            number: begin.max(oldest) + events.len() as u64,
        };
        Seen { events, mark, missed }
    }

    fn record(&self, events: impl Iterator<Item = Event>, now: Instant) {
        {
            let mut state = lock(&self.state);
            let idle = |asked: Instant| now.saturating_duration_since(asked) > INTEREST;
            if state.asked.is_none_or(idle) {
                self.recording.store(false, Ordering::Relaxed);
                state.events.clear();
                // Whoever comes back sees from the number that something is missing.
                state.number += events.count() as u64;
                return;
            }
            for event in events {
                if state.events.len() >= EVENTS_MAX {
                    state.events.pop_front();
                }
                state.events.push_back(event);
                state.number += 1;
            }
        }
        self.news.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn event(n: u8) -> Event {
        Event {
            id: MessageId::from_bytes([n; 16]),
            stage: Stage::Accepted,
            code: None,
            at: Timestamp::default(),
        }
    }

    fn ids(seen: &Seen) -> Vec<u8> {
        seen.events.iter().map(|event| event.id.as_bytes()[0]).collect()
    }

    #[test]
    fn a_listener_hears_everything_from_its_first_question_on_and_once() {
        let (recorder, now) = (Recorder::new(event(7).id), Instant::now());
        recorder.record([event(1)].into_iter(), now);
        let begin = recorder.look(None, now);
        assert_eq!((ids(&begin), begin.missed), (vec![], 0));
        recorder.record([event(2), event(3)].into_iter(), now);
        let seen = recorder.look(Some(begin.mark), now);
        assert_eq!(ids(&seen), [2, 3]);
        recorder.record([event(4)].into_iter(), now);
        let seen = recorder.look(Some(seen.mark), now);
        assert_eq!(ids(&seen), [4]);
        assert_eq!(ids(&recorder.look(Some(seen.mark), now)), [] as [u8; 0]);
    }

    #[tokio::test]
    async fn a_question_waits_for_what_happens_next() {
        let recorder = Recorder::new(event(7).id);
        let begin = recorder.since(None, &SystemClock).await.mark;
        let (seen, ()) = tokio::join!(recorder.since(Some(begin), &SystemClock), async {
            recorder.record([event(5)].into_iter(), SystemClock.now().instant);
        });
        assert_eq!(ids(&seen), [5]);
    }

    #[test]
    fn a_listener_that_is_late_or_from_another_life_is_told_so() {
        let (recorder, now) = (Recorder::new(event(7).id), Instant::now());
        let begin = recorder.look(None, now).mark;
        recorder.record((0..EVENTS_MAX + 3).map(|_| event(1)), now);
        let seen = recorder.look(Some(begin), now);
        assert_eq!((seen.missed, seen.events.len()), (3, ANSWER_MAX));
        let stranger = TailMark {
            life: event(8).id,
            number: 1,
        };
        assert!(recorder.look(Some(stranger), now).events.is_empty());
    }

    #[test]
    fn nothing_is_kept_once_nobody_asks() {
        let (recorder, now) = (Recorder::new(event(7).id), Instant::now());
        let begin = recorder.look(None, now).mark;
        let later = now + INTEREST + Duration::from_secs(1);
        recorder.record([event(1)].into_iter(), later);
        assert!(!recorder.recording.load(Ordering::Relaxed));
        let seen = recorder.look(Some(begin), later);
        assert_eq!((ids(&seen), seen.missed), (vec![], 1));
    }
}
