//! What passes the gate, with its time: the one thing a device is judged by.

use std::time::Duration;

use irsp_protocol::MessageId;
use serde_json::Value;
use tokio::time::Instant;

use devicesim::options::MqttVersion;
use devicesim::wire::Publish;

/// One thing that happened at the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The device has made a connection.
    Dial,
    /// Its CONNECT.
    Connect { version: MqttVersion },
    /// The platform has taken it.
    Welcome,
    /// It subscribes: filters, each with its QoS.
    Subscribe(Vec<(String, u8)>),
    /// It uploads.
    Upload(Upload),
    /// It was handed a push.
    Push { mid: MessageId, packet: u16 },
    /// It has acknowledged a packet (PUBACK or PUBREC).
    Acknowledged { packet: u16 },
    /// It has answered a push.
    Answer { mid: MessageId, answer: Reply },
    /// An acknowledgement of an upload was kept from it.
    Kept,
    /// The connection has ended, whoever ended it.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub topic: String,
    /// The sender's own id: a user property, or that of the CloudEvent.
    pub id: Option<String>,
    pub payload: Vec<u8>,
    pub qos: u8,
}

/// A device's answer: its own number, and the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: Option<u64>,
    pub text: String,
}

/// What one waits for; each gives what it looks for in one thing that was seen.
impl Seen {
    pub fn is(&self, other: &Seen) -> Option<()> {
        (self == other).then_some(())
    }

    /// The version of a CONNECT.
    pub fn version(&self) -> Option<MqttVersion> {
        if let Seen::Connect { version } = self {
            Some(*version)
        } else {
            None
        }
    }

    /// The QoS of a subscription that hears `topic`.
    pub fn subscribes(&self, topic: &str) -> Option<u8> {
        if let Seen::Subscribe(filters) = self {
            let found = filters.iter().find(|(filter, _)| hears(filter, topic));
            found.map(|(_, qos)| *qos)
        } else {
            None
        }
    }

    /// The packet in which this push is handed over.
    pub fn hands(&self, mid: MessageId) -> Option<u16> {
        if let Seen::Push { mid: of, packet } = self {
            (*of == mid).then_some(*packet)
        } else {
            None
        }
    }

    /// The answer to this push.
    pub fn answers(&self, mid: MessageId) -> Option<Reply> {
        if let Seen::Answer { mid: of, answer } = self {
            (*of == mid).then(|| answer.clone())
        } else {
            None
        }
    }

    /// An upload that is acknowledged.
    pub fn upload(&self) -> Option<&Upload> {
        if let Seen::Upload(upload) = self {
            (upload.qos > 0).then_some(upload)
        } else {
            None
        }
    }
}

impl Upload {
    /// `None` when the topic is none of uploads.
    pub fn of(publish: &Publish) -> Option<Upload> {
        let branch = publish.topic.split('/').nth(3)?;
        let id = match branch {
            "up" => publish.user("id").map(str::to_owned),
            "ce" => {
                let event: Value = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
                event["id"].as_str().map(str::to_owned)
            }
            _ => return None,
        };
        Some(Upload {
            topic: publish.topic.clone(),
            id,
            payload: publish.payload.to_vec(),
            qos: publish.qos,
        })
    }

    /// Whether this is the same upload again.
    pub fn repeats(&self, first: &Upload) -> bool {
        match (&self.id, &first.id) {
            (Some(id), Some(first)) => id == first,
            (None, None) => self.topic == first.topic && self.payload == first.payload,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The push an answer is for, and what it says; `None` when it is no answer.
pub fn answer(publish: &Publish) -> Option<(MessageId, Reply)> {
    let mut levels = publish.topic.split('/').skip(3);
    if levels.next() != Some("ack") {
        return None;
    }
    let text = String::from_utf8_lossy(&publish.payload).into_owned();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let named = levels.next().or_else(|| body["id"].as_str())?;
    let code = body.as_u64().or_else(|| body["status"].as_u64());
    Some((named.parse().ok()?, Reply { code, text }))
}

/// The push in a topic `v1/dev/{id}/down/{from}/{mid}/{channel...}`.
pub fn push(topic: &str) -> Option<MessageId> {
    let mut levels = topic.split('/').skip(3);
    (levels.next() == Some("down")).then_some(())?;
    levels.nth(1)?.parse().ok()
}

/// Everything so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Log(Vec<(Instant, Seen)>);

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(usize);

impl Log {
    pub fn add(&mut self, at: Instant, seen: Seen) {
        self.0.push((at, seen));
    }

    pub fn end(&self) -> Place {
        Place(self.0.len())
    }

    /// The first at or after `from` that `is` knows, and the place behind it.
    pub fn find<T>(
        &self,
        from: Place,
        mut is: impl FnMut(&Seen) -> Option<T>,
    ) -> Option<(Instant, T, Place)> {
        let (n, (at, found)) = (self.0.iter().enumerate().skip(from.0))
            .find_map(|(n, (at, seen))| Some((n, (*at, is(seen)?))))?;
        Some((at, found, Place(n + 1)))
    }

    /// The pauses since `from`: from each end of a connection (or refused attempt) to the next attempt.
    pub fn pauses(&self, from: Place) -> Vec<Duration> {
        let (mut gone, mut pauses) = (None, Vec::new());
        for (at, seen) in self.0.iter().skip(from.0) {
            if *seen == Seen::Gone {
                gone = gone.or(Some(*at));
            } else if *seen == Seen::Dial
                && let Some(gone) = gone.take()
            {
                pauses.push(at.saturating_duration_since(gone));
            }
        }
        pauses
    }
}

/// Whether a filter hears a topic (both are well-formed; shared and `$` topics do not occur here).
pub fn hears(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            (_, _) => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MID: &str = "01a205d3-8694-739b-aea5-966c26f8ad91";

    fn publish(topic: &str, payload: &str, id: Option<&str>) -> Publish {
        Publish {
            topic: topic.to_owned(),
            payload: payload.to_owned().into(),
            qos: 1,
            id: 7,
            dup: false,
            retain: false,
            expiry_s: None,
            user: id
                .into_iter()
                .map(|id| ("id".to_owned(), id.to_owned()))
                .collect(),
        }
    }

    #[test]
    fn answers_are_read_in_every_form() {
        let mid: MessageId = MID.parse().unwrap();
        for (topic, text, code) in [
            (format!("v1/dev/a/ack/{MID}"), "200".to_owned(), Some(200)),
            (
                format!("v1/dev/a/ack/{MID}"),
                r#"{"status":409,"body":1}"#.to_owned(),
                Some(409),
            ),
            (
                "v1/dev/a/ack".to_owned(),
                format!(r#"{{"id":"{MID}","status":201}}"#),
                Some(201),
            ),
            (format!("v1/dev/a/ack/{MID}"), "yes".to_owned(), None),
        ] {
            let (of, found) = answer(&publish(&topic, &text, None)).unwrap();
            assert_eq!((of, found.code), (mid, code), "{topic} {text}");
        }
        assert!(answer(&publish("v1/dev/a/up/ack/x", "200", None)).is_none());
        assert_eq!(push(&format!("v1/dev/a/down/climate/{MID}/set/power")), Some(mid));
        assert_eq!(push("v1/dev/a/status"), None);
    }

    #[test]
    fn a_repeat_is_known_by_its_id_or_else_by_what_it_says() {
        let up = |payload, id| Upload::of(&publish("v1/dev/a/up/climate/t", payload, id)).unwrap();
        assert!(up("1", Some("x")).repeats(&up("1", Some("x"))));
        assert!(!up("1", Some("y")).repeats(&up("1", Some("x"))));
        assert!(up("1", None).repeats(&up("1", None)));
        assert!(!up("2", None).repeats(&up("1", None)));
        let event = publish("v1/dev/a/ce/climate", r#"{"id":"e-1"}"#, None);
        assert_eq!(Upload::of(&event).unwrap().id.as_deref(), Some("e-1"));
    }

    #[test]
    fn pauses_run_from_an_end_to_the_next_attempt() {
        let mut log = Log::default();
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        for (ms, seen) in [
            (0, Seen::Gone),
            (300, Seen::Dial),
            (310, Seen::Gone),
            (910, Seen::Dial),
            (920, Seen::Welcome),
        ] {
            log.add(at(ms), seen);
        }
        let ms: Vec<u128> = log.pauses(Place(0)).iter().map(Duration::as_millis).collect();
        assert_eq!(ms, [300, 600]);
        let (_, (), after) = log
            .find(Place(0), |seen| (*seen == Seen::Dial).then_some(()))
            .unwrap();
        assert_eq!(after, Place(2));
    }

    #[test]
    fn filters() {
        let topic = "v1/dev/a/down/climate/m/set";
        for good in ["v1/dev/a/down/#", "v1/dev/a/down/+/+/set", "#", "v1/dev/a/#"] {
            assert!(hears(good, topic), "{good}");
        }
        for bad in ["v1/dev/a/down/+", "v1/dev/b/down/#", "v1/dev/a/down/climate/m"] {
            assert!(!hears(bad, topic), "{bad}");
        }
    }
}
