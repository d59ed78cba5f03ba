//! Retained messages: the last one of each topic [MQTT-3.3.1-5], bounded in number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;
use irsp_session::{Publish, filter};

/// The last retained message of each topic.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<ByteString, Arc<Publish>>,
    max: usize,
}

/// There is no room for another topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RetainedFull;

impl Retained {
    pub(crate) fn new(max: usize) -> Retained {
        Retained {
            messages: BTreeMap::new(),
            max,
        }
    }

    /// Keeps a message as its topic's last, or forgets the topic if the payload is empty [MQTT-3.3.1-6].
    pub(crate) fn keep(&mut self, publish: &Arc<Publish>) -> Result<(), RetainedFull> {
        if publish.payload.is_empty() {
            self.messages.remove(&publish.topic);
            return Ok(());
        }
        if self.messages.len() >= self.max && !self.messages.contains_key(&publish.topic) {
            return Err(RetainedFull);
        }
        self.messages.insert(publish.topic.clone(), Arc::clone(publish));
        Ok(())
    }

    /// The messages whose topics match `wanted` and that have not expired.
    pub(crate) fn matching(&self, wanted: &str, now: Instant) -> Vec<Arc<Publish>> {
        let live = |publish: &&Arc<Publish>| !publish.is_expired(now);
        if !wanted.contains(['+', '#']) {
            return self
                .messages
                .get(wanted)
                .filter(live)
                .cloned()
                .into_iter()
                .collect();
        }
        // Only topics that begin as the filter does can match: a range of the ordered map.
        let literal = wanted
            .split(['+', '#'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        self.messages
            .range::<str, _>((std::ops::Bound::Included(literal), std::ops::Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(literal))
            .filter(|(topic, _)| filter::matches(wanted, topic))
            .map(|(_, publish)| publish)
            .filter(live)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irsp_session::QoS;

    fn message(topic: &str, payload: &str) -> Arc<Publish> {
        Arc::new(Publish::new(topic, payload.to_owned(), QoS::AtLeastOnce))
    }

    fn topics(retained: &Retained, filter: &str) -> Vec<String> {
        retained
            .matching(filter, Instant::now())
            .iter()
            .map(|publish| publish.topic.to_string())
            .collect()
    }

    #[test]
    fn the_last_message_of_a_topic_is_kept_until_an_empty_one() {
        let mut retained = Retained::new(2);
        retained.keep(&message("a/b", "1")).unwrap();
        retained.keep(&message("a/b", "2")).unwrap();
        assert_eq!(retained.matching("a/b", Instant::now())[0].payload, "2");
        retained.keep(&message("a/b", "")).unwrap();
        assert!(retained.matching("#", Instant::now()).is_empty());
    }

    #[test]
    fn there_is_a_bound_and_replacing_is_always_possible() {
        let mut retained = Retained::new(1);
        retained.keep(&message("a", "1")).unwrap();
        assert_eq!(retained.keep(&message("b", "1")), Err(RetainedFull));
        retained.keep(&message("a", "2")).unwrap();
    }

    #[test]
    fn wildcards_find_what_they_match() {
        let mut retained = Retained::new(9);
        for topic in [
            "v1/dev/a/presence",
            "v1/dev/b/presence",
            "v1/dev/a/live/x",
            "v1",
            "$x/y",
        ] {
            retained.keep(&message(topic, "1")).unwrap();
        }
        assert_eq!(
            topics(&retained, "v1/dev/+/presence"),
            ["v1/dev/a/presence", "v1/dev/b/presence"]
        );
        assert_eq!(topics(&retained, "v1/#").len(), 4);
        assert_eq!(topics(&retained, "+/y"), Vec::<String>::new());
        assert_eq!(topics(&retained, "v1/dev/a/live/x"), ["v1/dev/a/live/x"]);
    }
}
