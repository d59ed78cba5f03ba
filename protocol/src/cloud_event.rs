//! An envelope as whoever is outside the platform reads it: a structured CloudEvent 1.0 in JSON.
//!
//! ```text
//! {"specversion":"1.0","id":"0190...","type":"irsp.upload","source":"dev/lamp-1","destination":"app/climate",
//!  "subject":"temp","time":"...","expirytime":"...","senderid":"17","datacontenttype":"application/json","data":21.5}
//! ```
//!
//! The data is `data` as it was spelled when it is JSON, `data` as a string when it is other text, else `data_base64`.
//! What the sender added stands beside it under its own name where CloudEvents allows the name; the rest is a JSON
//! text of pairs in `userproperties`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::address::Address;
use crate::envelope::Envelope;
use crate::presence::Presence;

/// Media type of the JSON.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Longest name of an attribute that stands at the top, in bytes (CloudEvents 1.0, 3.1).
const NAME_LEN_MAX: usize = 20;
/// What is added to an event under names that CloudEvents does not allow stands in this attribute.
pub const USER_PROPERTIES: &str = "userproperties";
/// Names that the event itself uses.
const OWN_NAMES: [&str; 12] = [
    "specversion",
    "id",
    "type",
    "source",
    "destination",
    "subject",
    "time",
    "expirytime",
    "senderid",
    "datacontenttype",
    "data",
    USER_PROPERTIES,
];

/// Writes an envelope as a structured CloudEvent.
pub fn of_envelope(envelope: &Envelope) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Event(envelope))
}

/// Writes presence news as a structured CloudEvent. Its id is unique for its source: (epoch, seq) never comes again.
pub fn of_presence(presence: &Presence) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct News<'a> {
        specversion: &'static str,
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        source: Address,
        time: String,
        datacontenttype: &'static str,
        data: &'a Presence,
    }
    serde_json::to_vec(&News {
        specversion: "1.0",
        id: format!("{}.{}", presence.epoch, presence.seq),
        kind: "irsp.presence",
        source: Address::local(presence.principal.clone()),
        time: presence.since.to_string(),
        datacontenttype: "application/json",
        data: presence,
    })
}

/// What the sender added, as an event has it.
#[derive(Debug)]
pub struct Extensions<'a> {
    /// Attributes of their own, each name once.
    pub named: Vec<(&'a str, &'a str)>,
    /// The others, in [`USER_PROPERTIES`]: the JSON text of a list of pairs.
    pub others: Option<String>,
}

/// What the sender added to an envelope.
pub fn extensions(envelope: &Envelope) -> Result<Extensions<'_>, serde_json::Error> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for (name, value) in &envelope.attributes {
        let pair = (name.as_str(), value.as_str());
        // A name that stands there twice cannot be an attribute twice.
        if is_name(name) && named.iter().all(|(taken, _)| *taken != pair.0) {
            named.push(pair);
        } else {
            others.push(pair);
        }
    }
    let others = (!others.is_empty()).then(|| serde_json::to_string(&others));
    Ok(Extensions {
        named,
        others: others.transpose()?,
    })
}

struct Event<'a>(&'a Envelope);

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event(envelope) = self;
        let data = Data::of(&envelope.data, envelope.content_type.as_deref());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &envelope.id)?;
        map.serialize_entry("type", &envelope.kind)?;
        map.serialize_entry("source", &envelope.source)?;
        map.serialize_entry("destination", &envelope.destination)?;
        if let Some(channel) = &envelope.channel {
            map.serialize_entry("subject", channel)?;
        }
        map.serialize_entry("time", &envelope.time)?;
        map.serialize_entry("expirytime", &envelope.expires)?;
        if let Some(sender_id) = &envelope.sender_id {
            map.serialize_entry("senderid", sender_id)?;
        }
        let Extensions { named, others } = extensions(envelope).map_err(serde::ser::Error::custom)?;
        for (name, value) in named {
            map.serialize_entry(name, value)?;
        }
        if let Some(others) = others {
            map.serialize_entry(USER_PROPERTIES, &others)?;
        }
        if let Some(content_type) = envelope.content_type.as_deref().or(data.content_type()) {
            map.serialize_entry("datacontenttype", content_type)?;
        }
        match data {
            Data::None => {}
            Data::Json(raw) => map.serialize_entry("data", raw)?,
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// How bytes stand in the event.
enum Data<'a> {
    None,
    Json(&'a RawValue),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(bytes: &'a [u8], content_type: Option<&str>) -> Data<'a> {
        if bytes.is_empty() {
            return Data::None;
        }
        let raw = || serde_json::from_slice::<&RawValue>(bytes).ok();
        // What most readers would refuse as JSON (too deep, numbers out of range) is none.
        let json = || {
            serde_json::from_slice::<serde_json::Value>(bytes)
                .ok()
                .and_then(|_| raw())
        };
        let text = std::str::from_utf8(bytes).ok();
        let found = match content_type.map(is_json) {
            Some(true) => json().map(Data::Json),
            Some(false) => text.map(Data::Text),
            None => json().map(Data::Json).or(text.map(Data::Text)),
        };
        found.unwrap_or(Data::Bytes(bytes))
    }

    /// What the data is called when its sender has not said.
    fn content_type(&self) -> Option<&'static str> {
        match self {
            Data::Json(_) => Some("application/json"),
            Data::Text(_) => Some("text/plain"),
            Data::None | Data::Bytes(_) => None,
        }
    }
}

/// CloudEvents JSON format, 3.1: `*/json` and `*/*+json`, parameters aside.
fn is_json(content_type: &str) -> bool {
    let plain = content_type.split(';').next().unwrap_or_default().trim();
    let subtype = plain.rsplit_once('/').map_or("", |(_, subtype)| subtype);
    subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LEN_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !OWN_NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::message_id::MessageId;
    use crate::message_kind::MessageKind;
    use crate::options::PushOptions;
    use crate::time::Timestamp;
    use crate::topic::Channel;

    fn envelope(data: &'static [u8], content_type: Option<&str>) -> Envelope {
        Envelope {
            id: MessageId::from_bytes([7; 16]),
            kind: MessageKind::Upload,
            source: "dev/lamp-1".parse().unwrap(),
            destination: "app/climate".parse().unwrap(),
            channel: Some(Channel::new("room/temp").unwrap()),
            time: Timestamp::from_millis(1_000),
            expires: Timestamp::from_millis(61_000),
            sender_id: None,
            content_type: content_type.map(str::to_owned),
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::from_static(data),
        }
    }

    fn event(envelope: &Envelope) -> Value {
        serde_json::from_slice(&of_envelope(envelope).unwrap()).unwrap()
    }

    #[test]
    fn the_golden_events_are_what_is_written() {
        let mut upload = envelope(b"{ \"c\": 21.50 }", None);
        upload.sender_id = Some("17".to_owned());
        upload.attributes = vec![("unit".into(), "C".into()), ("My-Key".into(), "x".into())];
        let message = Envelope {
            kind: MessageKind::Message,
            source: "app/billing".parse().unwrap(),
            ..envelope(b"paid", Some("text/plain"))
        };
        let presence = Presence {
            principal: "dev/lamp-1".parse().unwrap(),
            epoch: 7,
            seq: 1,
            state: crate::presence::Connectivity::Online,
            since: Timestamp::from_millis(1_000),
            reason: crate::presence::Reason::Connected,
        };
        for (golden, written) in [
            (
                include_str!("../../docs/golden/upload.json"),
                of_envelope(&upload).unwrap(),
            ),
            (
                include_str!("../../docs/golden/message.json"),
                of_envelope(&message).unwrap(),
            ),
            (
                include_str!("../../docs/golden/presence.json"),
                of_presence(&presence).unwrap(),
            ),
        ] {
            assert_eq!(String::from_utf8(written).unwrap(), golden.trim_end());
        }
    }

    #[test]
    fn data_stands_there_as_what_it_is() {
        for (data, content_type, expected) in [
            (&b"21.5"[..], None, json!({ "data": 21.5 })),
            (
                b"21.5",
                Some("text/plain; charset=utf-8"),
                json!({ "data": "21.5" }),
            ),
            (b"on", None, json!({ "data": "on" })),
            (b"on", Some("application/json"), json!({ "data_base64": "b24=" })),
            (
                b"{\"a\":1}",
                Some("application/senml+json"),
                json!({ "data": { "a": 1 } }),
            ),
            (b"\xff\xfe", None, json!({ "data_base64": "//4=" })),
            (b"", None, json!({})),
        ] {
            let event = event(&envelope(data, content_type));
            for member in ["data", "data_base64"] {
                assert_eq!(
                    event.get(member),
                    expected.get(member),
                    "{data:?} {content_type:?}"
                );
            }
        }
    }

    #[test]
    fn no_attribute_is_lost_or_takes_the_place_of_another() {
        let mut upload = envelope(b"1", None);
        for (name, value) in [
            ("unit", "C"),
            ("unit", "K"),
            ("id", "x"),
            ("Ab", "y"),
            ("data", "z"),
        ] {
            upload.attributes.push((name.to_owned(), value.to_owned()));
        }
        let event = event(&upload);
        assert_eq!((&event["unit"], &event["data"]), (&json!("C"), &json!(1)));
        let others: Vec<(String, String)> =
            serde_json::from_str(event["userproperties"].as_str().unwrap()).unwrap();
        let names: Vec<_> = others
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(names, ["unit=K", "id=x", "Ab=y", "data=z"]);
    }
}
