//! Retained messages: the last one of each topic [MQTT-3.3.1-5], bounded in number and bytes. One that has expired gives
//! its place free when the next comes, or when it is looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use irsp_session::{Publish, filter};

use crate::sessions::backlog::CatchUp;
use crate::sessions::kept::Bounds;
use crate::sessions::publisher::Publisher;
use crate::store::publish::weight;

/// Topics a reader looks at once, so that one that matches few of them does not keep the store from its writers.
const LOOKED_AT_MAX: usize = 4_096;

/// The last retained message of each topic.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<ByteString, Kept>,
    /// Those that will expire, by when.
    expiring: BTreeSet<(Instant, ByteString)>,
    /// Topics of those that have, and may still be on disk.
    expired: Vec<ByteString>,
    /// How many messages were ever kept: each has its number.
    count: u64,
    bytes: u64,
    bounds: Bounds,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    publish: Arc<Publish>,
    publisher: Option<Publisher>,
}

/// There is no room for another topic, or for so many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RetainedFull;

impl Retained {
    pub(crate) fn new(bounds: Bounds) -> Retained {
        Retained {
            messages: BTreeMap::new(),
            expiring: BTreeSet::new(),
            expired: Vec::new(),
            count: 0,
            bytes: 0,
            bounds,
        }
    }

    /// How many messages were ever kept: what a subscription that begins now is to hear has no greater number.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message as its topic's last, or forgets the topic if the payload is empty [MQTT-3.3.1-6]. What no client has
    /// published is nobody's.
    pub(crate) fn keep(
        &mut self,
        publish: &Arc<Publish>,
        publisher: Option<Publisher>,
        now: Instant,
    ) -> Result<(), RetainedFull> {
        self.sweep(now);
        if publish.payload.is_empty() {
            self.forget(&publish.topic);
            return Ok(());
        }
        let replaced = self
            .messages
            .get(&publish.topic)
            .map(|kept| weight(&kept.publish));
        let bytes = self.bytes - replaced.unwrap_or(0) + weight(publish);
        let is_full = self.messages.len() as u64 >= self.bounds.messages_max && replaced.is_none();
        if is_full || bytes > self.bounds.bytes_max {
            return Err(RetainedFull);
        }
        self.forget(&publish.topic);
        self.bytes = bytes;
        self.count += 1;
        if let Some(expires) = publish.expires {
            self.expiring.insert((expires, publish.topic.clone()));
        }
        let kept = Kept {
            number: self.count,
            publish: Arc::clone(publish),
            publisher,
        };
        self.messages.insert(publish.topic.clone(), kept);
        Ok(())
    }

    /// Forgets every topic that begins so.
    pub(crate) fn forget_below(&mut self, beginning: &str) {
        let below: Vec<ByteString> = self
            .messages
            .range::<str, _>((Bound::Included(beginning), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(beginning))
            .map(|(topic, _)| topic.clone())
            .collect();
        below.iter().for_each(|topic| self.forget(topic));
    }

    fn forget(&mut self, topic: &ByteString) {
        if let Some(kept) = self.messages.remove(topic) {
            self.bytes -= weight(&kept.publish);
            if let Some(expires) = kept.publish.expires {
                self.expiring.remove(&(expires, topic.clone()));
            }
        }
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Instant) {
        while let Some((expires, topic)) = self.expiring.first().cloned()
            && expires <= now
        {
            self.forget(&topic);
            self.expired.push(topic);
        }
    }

    /// Gives the topics of what has expired since it was last asked.
    pub(crate) fn take_expired(&mut self) -> Vec<ByteString> {
        std::mem::take(&mut self.expired)
    }

    /// Takes the next messages of a subscription that have not expired, at most `max`.
    pub(crate) fn read(&self, reader: &mut CatchUp, max: usize, now: Instant) {
        let wanted = reader.filter.clone();
        // Only topics that begin as the filter does can match: a range of the ordered map.
        let literal = wanted.split(['+', '#']).next().unwrap_or_default();
        let single = literal.len() == wanted.len();
        // `a/#` matches `a` too.
        let literal = if single {
            literal
        } else {
            literal.trim_end_matches('/')
        };
        let from = match reader.after.take() {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(ByteString::from(literal)),
        };
        let topics = self
            .messages
            .range((from, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(literal));
        for (looked_at, (topic, kept)) in topics.enumerate() {
            if single && *topic != wanted {
                break;
            }
            // [MQTT-3.8.3-3]
            let is_own = kept.publisher.is_some() && kept.publisher == reader.not_of;
            let hears = kept.number <= reader.until && !is_own && filter::matches(&wanted, topic);
            if hears && !kept.publish.is_expired(now) {
                reader.ready.push_back(Arc::clone(&kept.publish));
            }
            if reader.ready.len() >= max || looked_at + 1 >= LOOKED_AT_MAX {
                reader.after = Some(topic.clone());
                return;
            }
        }
        reader.at_end = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use irsp_session::QoS;

    use super::*;
    use crate::sessions::SessionKey;
    use crate::topics::catch_up::READY_MAX;

    fn retained(messages_max: usize) -> Retained {
        Retained::new(Bounds {
            messages_max: messages_max as u64,
            bytes_max: 1 << 20,
        })
    }

    #[test]
    fn bytes_are_bounded_and_come_free_again() {
        let mut retained = Retained::new(Bounds {
            messages_max: 9,
            bytes_max: 10,
        });
        retained
            .keep(&message("a", "12345"), None, Instant::now())
            .unwrap();
        assert_eq!(
            retained.keep(&message("b", "1234"), None, Instant::now()),
            Err(RetainedFull)
        );
        assert_eq!(
            retained.keep(&message("a", "1234567890"), None, Instant::now()),
            Err(RetainedFull)
        );
        retained.keep(&message("a", "1"), None, Instant::now()).unwrap();
        retained
            .keep(&message("b", "1234567"), None, Instant::now())
            .unwrap();
        retained.keep(&message("b", ""), None, Instant::now()).unwrap();
        retained.forget_below("a");
        retained
            .keep(&message("c", "123456789"), None, Instant::now())
            .unwrap();
    }

    #[test]
    fn what_has_expired_gives_its_place_free() {
        let (mut retained, now) = (retained(2), Instant::now());
        let until = |topic: &str, expires| {
            let mut publish = Publish::new(topic, "1".to_owned(), QoS::AtLeastOnce);
            publish.expires = Some(expires);
            Arc::new(publish)
        };
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        retained.keep(&until("a", soon), None, now).unwrap();
        retained.keep(&until("b", soon), None, now).unwrap();
        retained.keep(&until("b", later), None, now).unwrap();
        assert_eq!(retained.keep(&message("c", "1"), None, now), Err(RetainedFull));
        retained.keep(&message("c", "1"), None, soon).unwrap();
        assert_eq!(topics(&retained, "#"), ["b", "c"]);
        retained.sweep(later);
        assert_eq!(retained.take_expired(), ["a", "b"]);
        assert_eq!((retained.len(), retained.expiring.len()), (1, 0));
        retained.keep(&message("c", ""), None, later).unwrap();
        assert_eq!(retained.bytes, 0);
    }

    fn message(topic: &str, payload: &str) -> Arc<Publish> {
        Arc::new(Publish::new(topic, payload.to_owned(), QoS::AtLeastOnce))
    }

    fn reader(retained: &Retained, filter: &str) -> CatchUp {
        CatchUp {
            filter: filter.into(),
            qos: QoS::AtLeastOnce,
            not_of: None,
            id: None,
            until: retained.count(),
            after: None,
            at_end: false,
            ready: VecDeque::new(),
        }
    }

    /// Everything the reader is still to hear, as a client that keeps reading would.
    fn rest(retained: &Retained, reader: &mut CatchUp) -> Vec<Arc<Publish>> {
        let mut heard = Vec::new();
        while !reader.at_end {
            retained.read(reader, READY_MAX, Instant::now());
            assert!(reader.ready.len() <= READY_MAX, "the memory is bounded");
            heard.extend(reader.ready.drain(..));
        }
        heard
    }

    fn matching(retained: &Retained, filter: &str) -> Vec<Arc<Publish>> {
        rest(retained, &mut reader(retained, filter))
    }

    fn topics(retained: &Retained, filter: &str) -> Vec<String> {
        matching(retained, filter)
            .iter()
            .map(|publish| publish.topic.to_string())
            .collect()
    }

    #[test]
    fn the_last_message_of_a_topic_is_kept_until_an_empty_one() {
        let mut retained = retained(2);
        retained.keep(&message("a/b", "1"), None, Instant::now()).unwrap();
        retained.keep(&message("a/b", "2"), None, Instant::now()).unwrap();
        assert_eq!(matching(&retained, "a/b")[0].payload, "2");
        retained.keep(&message("a/b", ""), None, Instant::now()).unwrap();
        assert!(matching(&retained, "#").is_empty());
    }

    #[test]
    fn there_is_a_bound_and_replacing_is_always_possible() {
        let mut retained = retained(1);
        retained.keep(&message("a", "1"), None, Instant::now()).unwrap();
        assert_eq!(
            retained.keep(&message("b", "1"), None, Instant::now()),
            Err(RetainedFull)
        );
        retained.keep(&message("a", "2"), None, Instant::now()).unwrap();
    }

    #[test]
    fn wildcards_find_what_they_match() {
        let mut retained = retained(9);
        for topic in [
            "v1/dev/a/presence",
            "v1/dev/b/presence",
            "v1/dev/a/live/x",
            "v1",
            "$x/y",
        ] {
            retained.keep(&message(topic, "1"), None, Instant::now()).unwrap();
        }
        assert_eq!(
            topics(&retained, "v1/dev/+/presence"),
            ["v1/dev/a/presence", "v1/dev/b/presence"]
        );
        assert_eq!(topics(&retained, "v1/#").len(), 4);
        assert_eq!(topics(&retained, "+/y"), Vec::<String>::new());
        assert_eq!(topics(&retained, "v1/dev/a/live/x"), ["v1/dev/a/live/x"]);
    }

    #[test]
    fn a_reader_passes_its_own_clients_messages_by_if_it_asks_for_that() {
        let of =
            |client_id: &str| Publisher::of(&SessionKey::new("usr/ann".parse().unwrap(), &client_id.into()));
        let mut retained = retained(9);
        let mut keep = |topic, publisher| {
            retained
                .keep(&message(topic, "1"), publisher, Instant::now())
                .unwrap()
        };
        keep("phone", Some(of("phone")));
        keep("tablet", Some(of("tablet")));
        keep("platform", None);
        let mut reader = reader(&retained, "#");
        reader.not_of = Some(of("phone"));
        let heard = rest(&retained, &mut reader);
        let topics: Vec<&str> = heard.iter().map(|publish| &*publish.topic).collect();
        assert_eq!(topics, ["platform", "tablet"]);
    }

    #[test]
    fn a_reader_hears_each_topic_once_and_nothing_that_was_kept_after_it_began() {
        let mut retained = retained(LOOKED_AT_MAX * 3);
        for n in 0..LOOKED_AT_MAX * 2 {
            retained
                .keep(
                    &message(&format!("v1/dev/d{n}/live/noise"), "1"),
                    None,
                    Instant::now(),
                )
                .unwrap();
            if n % 100 == 0 {
                retained
                    .keep(
                        &message(&format!("v1/dev/d{n}/live/x"), "old"),
                        None,
                        Instant::now(),
                    )
                    .unwrap();
            }
        }
        let mut reader = reader(&retained, "v1/dev/+/live/x");
        retained.read(&mut reader, READY_MAX, Instant::now());
        assert!(!reader.at_end, "there is more");
        retained
            .keep(&message("v1/dev/d9/live/x", "new"), None, Instant::now())
            .unwrap();
        retained
            .keep(&message("v1/dev/d8100/live/x", "new"), None, Instant::now())
            .unwrap();
        retained
            .keep(&message("v1/dev/d8000/live/x", ""), None, Instant::now())
            .unwrap();
        let heard = rest(&retained, &mut reader);
        let mut topics: Vec<_> = heard.iter().map(|publish| publish.topic.clone()).collect();
        assert_eq!(topics.len(), LOOKED_AT_MAX * 2 / 100 + 1 - 2);
        topics.dedup();
        assert_eq!(topics.len(), heard.len(), "each once");
        assert!(heard.iter().all(|publish| publish.payload == "old"));
    }

    #[test]
    fn a_principal_that_is_gone_leaves_nothing() {
        let mut retained = retained(9);
        for topic in [
            "v1/dev/a/live/x",
            "v1/dev/a/live/y/z",
            "v1/dev/ab/live/x",
            "v1/dev/a/presence",
        ] {
            retained.keep(&message(topic, "1"), None, Instant::now()).unwrap();
        }
        retained.forget_below("v1/dev/a/live/");
        assert_eq!(topics(&retained, "#"), ["v1/dev/a/presence", "v1/dev/ab/live/x"]);
    }
}
