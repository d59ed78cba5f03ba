//! From a client's publish to an envelope, and from an answer's payload to an answer.
//!
//! Metadata travels in MQTT 5 user properties under CloudEvents attribute names; a 3.1.1 device that wants to set it
//! uploads a structured CloudEvent instead.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use irsp_protocol::expiry::{Expiry, ExpiryError};
use irsp_protocol::options::{self, OptionError};
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Address, Channel, Envelope, MessageId, MessageKind, Status, Timestamp};
use irsp_session::Publish;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::properties::{Given, PropertyError};

/// Why a publish on a topic of the contract is not understood.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error("an upload, push or answer cannot be retained")]
    Retained,
    #[error("an answer is a number such as 200, or {{\"status\":200,\"body\":...}}")]
    Answer,
    #[error("an answer here is {{\"id\":\"...\",\"status\":200,\"body\":...}}, with the message's id")]
    NamedAnswer,
    #[error("not a CloudEvent 1.0 in JSON: {0}")]
    CloudEvent(String),
    #[error(transparent)]
    Property(#[from] PropertyError),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
}

impl Malformed {
    pub(super) fn status(&self) -> Status {
        match self {
            Malformed::Expiry(error) => error.status(),
            Malformed::Retained
            | Malformed::Answer
            | Malformed::NamedAnswer
            | Malformed::CloudEvent(_)
            | Malformed::Property(_)
            | Malformed::Option(_) => Status::MALFORMED,
        }
    }
}

/// What the server itself says of a message it accepts.
pub(super) struct Acceptance {
    pub(super) id: MessageId,
    pub(super) kind: MessageKind,
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) now: Timestamp,
    pub(super) expiry: Expiry,
}

/// An envelope with the publish's payload, properties and expiry. The payload is copied: an envelope that waits in memory
/// would keep the whole of what its connection had read.
pub(super) fn from_publish(
    acceptance: Acceptance,
    channel: Channel,
    publish: &Publish,
    arrived: Instant,
) -> Result<Envelope, Malformed> {
    let given = match &publish.properties {
        Some(properties) => Given::read(acceptance.kind, properties)?,
        None => Given::default(),
    };
    envelope(
        acceptance,
        channel,
        Bytes::copy_from_slice(&publish.payload),
        given,
        period(publish, arrived),
    )
}

/// MQTT 5's Message Expiry Interval [MQTT-3.3.2-5].
fn period(publish: &Publish, arrived: Instant) -> Option<Duration> {
    publish
        .expires
        .map(|expires| expires.saturating_duration_since(arrived))
}

/// A structured CloudEvent 1.0; `source` and the destination are the server's to say.
#[derive(Deserialize)]
struct CloudEvent<'a> {
    specversion: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
    time: Option<Timestamp>,
    expirytime: Option<Timestamp>,
    datacontenttype: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// An envelope from a structured CloudEvent. Its channel is the event's `subject`, or its `type` without one.
pub(super) fn from_cloud_event(
    acceptance: Acceptance,
    publish: &Publish,
    arrived: Instant,
) -> Result<Envelope, Malformed> {
    let payload = &publish.payload;
    let event: CloudEvent<'_> =
        serde_json::from_slice(payload).map_err(|error| Malformed::CloudEvent(error.to_string()))?;
    if event.specversion != "1.0" {
        return Err(Malformed::CloudEvent(format!(
            "specversion {:?}",
            event.specversion
        )));
    }
    let data = match (event.data, event.data_base64) {
        (Some(_), Some(_)) => return Err(Malformed::CloudEvent("both data and data_base64".to_owned())),
        (Some(data), None) => Bytes::copy_from_slice(data.get().as_bytes()),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| Malformed::CloudEvent("data_base64 is not base64".to_owned()))?
            .into(),
        (None, None) => Bytes::new(),
    };
    let channel = event.subject.as_deref().unwrap_or(&event.kind);
    let channel = Channel::new(channel).map_err(|error| Malformed::CloudEvent(error.to_string()))?;
    let given = Given {
        sender_id: Some(options::sender_id(&event.id)?),
        time: event.time,
        expires: event.expirytime,
        content_type: event.datacontenttype,
        attributes: vec![("type".to_owned(), event.kind)],
        ..Given::default()
    };
    envelope(acceptance, channel, data, given, period(publish, arrived))
}

fn envelope(
    acceptance: Acceptance,
    channel: Channel,
    data: Bytes,
    given: Given,
    period: Option<Duration>,
) -> Result<Envelope, Malformed> {
    Ok(Envelope {
        id: acceptance.id,
        kind: acceptance.kind,
        source: acceptance.source,
        destination: acceptance.destination,
        channel: Some(channel),
        time: given.time.unwrap_or(acceptance.now),
        expires: acceptance.expiry.until(acceptance.now, period, given.expires)?,
        sender_id: given.sender_id,
        content_type: given.content_type,
        options: given.options,
        attributes: given.attributes,
        data,
    })
}

/// A device's or user's answer to a push: `200`, or `{"status":200,"body":...}`.
pub(super) fn answer(payload: &[u8]) -> Result<Answer, Malformed> {
    #[derive(Deserialize)]
    #[serde(untagged, deny_unknown_fields)]
    enum Form {
        Code(u16),
        Full {
            status: u16,
            body: Option<serde_json::Value>,
        },
    }
    match serde_json::from_slice(payload).map_err(|_| Malformed::Answer)? {
        Form::Code(code) => Ok(Answer {
            code,
            body: Bytes::new(),
        }),
        Form::Full { status, body } => Ok(full(status, body)),
    }
}

/// An answer that names its message: `{"id":"...","status":200,"body":...}`.
pub(super) fn named_answer(payload: &[u8]) -> Result<(MessageId, Answer), Malformed> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        id: MessageId,
        status: u16,
        body: Option<serde_json::Value>,
    }
    let named: Named = serde_json::from_slice(payload).map_err(|_| Malformed::NamedAnswer)?;
    Ok((named.id, full(named.status, named.body)))
}

fn full(code: u16, body: Option<serde_json::Value>) -> Answer {
    Answer {
        code,
        body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use irsp_session::{PublishProperties, QoS};

    fn acceptance() -> Acceptance {
        Acceptance {
            id: MessageId::from_bytes([1; 16]),
            kind: MessageKind::Upload,
            source: "dev/lamp".parse().unwrap(),
            destination: "app/climate".parse().unwrap(),
            now: Timestamp::from_millis(1_000),
            expiry: Expiry::default(),
        }
    }

    #[test]
    fn properties_become_attributes() {
        let now = Instant::now();
        let mut publish = Publish::new("t", "21.5", QoS::AtLeastOnce);
        publish.expires = Some(now + Duration::from_secs(5));
        publish.properties = Some(Box::new(PublishProperties {
            content_type: Some("text/plain".into()),
            correlation_data: Some(Bytes::from_static(b"\x01")),
            user_properties: vec![("id".into(), "m-1".into()), ("unit".into(), "C".into())],
            ..PublishProperties::default()
        }));
        let envelope = from_publish(acceptance(), Channel::new("temp").unwrap(), &publish, now).unwrap();
        assert_eq!(envelope.sender_id.as_deref(), Some("m-1"));
        assert_eq!(envelope.expires, Timestamp::from_millis(6_000));
        assert_eq!(
            envelope.attributes,
            [
                ("unit".into(), "C".into()),
                ("correlationdata".into(), "AQ==".to_owned())
            ]
        );
    }

    #[test]
    fn a_cloud_event_keeps_its_data_as_it_was_written() {
        let payload = Bytes::from_static(
            br#"{"specversion":"1.0","id":"7","source":"x","type":"reading","subject":"temp","data":{ "v": 1 }}"#,
        );
        let publish = |payload: Bytes| Publish::new("t", payload, QoS::AtLeastOnce);
        let now = Instant::now();
        let envelope = from_cloud_event(acceptance(), &publish(payload), now).unwrap();
        assert_eq!(&envelope.data[..], br#"{ "v": 1 }"#);
        assert_eq!(envelope.channel.unwrap().as_str(), "temp");
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"specversion":"0.3","id":"7","source":"x","type":"t"}"#,
            r#"{"specversion":"1.0","id":"","source":"x","type":"t"}"#,
            r#"{"specversion":"1.0","id":"7","source":"x","type":"t","data":1,"data_base64":"AA=="}"#,
        ] {
            assert!(
                from_cloud_event(acceptance(), &publish(Bytes::from(wrong)), now).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_expiry_stands_in_the_packet_or_in_the_event_and_is_bounded() {
        let now = Instant::now();
        let event = |more: &str| {
            let text = format!(r#"{{"specversion":"1.0","id":"7","source":"x","type":"t"{more}}}"#);
            Publish::new("t", text, QoS::AtLeastOnce)
        };
        let expires = |publish: &Publish| {
            from_cloud_event(acceptance(), publish, now)
                .map(|envelope| envelope.expires)
                .map_err(|error| error.status().code())
        };
        let at = r#","expirytime":"1970-01-01T00:00:09Z""#;
        assert_eq!(expires(&event(at)), Ok(Timestamp::from_millis(9_000)));
        assert_eq!(
            expires(&event(r#","expirytime":"1970-01-01T00:00:01Z""#)),
            Err(408)
        );
        let mut both = event(at);
        both.expires = Some(now + Duration::from_secs(5));
        assert_eq!(expires(&both), Err(400));
        for (seconds, expected) in [
            (0, Err(408)),
            (5, Ok(Timestamp::from_millis(6_000))),
            (Expiry::default().max.as_secs() + 1, Err(400)),
        ] {
            let mut publish = event("");
            publish.expires = Some(now + Duration::from_secs(seconds));
            assert_eq!(expires(&publish), expected, "{seconds} s");
        }
    }

    #[test]
    fn answers_are_numbers_or_objects() {
        assert_eq!(
            answer(b"200").unwrap(),
            Answer {
                code: 200,
                body: Bytes::new()
            }
        );
        let full = answer(br#"{"status":422,"body":{"why":"hot"}}"#).unwrap();
        assert_eq!((full.code, &full.body[..]), (422, &br#"{"why":"hot"}"#[..]));
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        let named = named_answer(format!(r#"{{"id":"{id}","status":503}}"#).as_bytes()).unwrap();
        assert_eq!((named.0.to_string().as_str(), named.1.code), (id, 503));
        for wrong in ["200", r#"{"status":200}"#, r#"{"id":"17","status":200}"#] {
            assert!(named_answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "ok",
            "-1",
            "70000",
            "{}",
            r#"{"status":"200"}"#,
            r#"{"status":200,"extra":1}"#,
        ] {
            assert!(answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
