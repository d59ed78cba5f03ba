//! An envelope as the CloudEvent 1.0 that an endpoint receives, over HTTP in binary or in structured mode.
//!
//! ```text
//! binary       content-type: the sender's           ce-id, ce-source, ce-type, ...    body: the sender's bytes
//! structured   application/cloudevents+json                                           body: the whole event
//! ```
//!
//! The signature is of the body, so in structured mode it covers the attributes, too.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use irsp_protocol::{Domain, Envelope};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::endpoint::Mode;

/// The media type of one event in JSON.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";

/// What is sent: headers without the signature, and the body it is of.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The event of an envelope. Attributes whose names CloudEvents does not allow are left out.
pub(crate) fn event(envelope: &Envelope, domain: &Domain, mode: Mode) -> Event {
    let attributes = attributes(envelope, domain);
    match mode {
        Mode::Binary => binary(envelope, &attributes),
        Mode::Structured => structured(envelope, &attributes),
    }
}

fn attributes(envelope: &Envelope, domain: &Domain) -> Vec<(String, String)> {
    let mut list = vec![
        ("specversion".to_owned(), "1.0".to_owned()),
        ("id".to_owned(), envelope.id.to_string()),
        (
            "source".to_owned(),
            envelope.source.clone().or_in(domain).to_string(),
        ),
        ("type".to_owned(), format!("irsp.{}", envelope.kind.as_str())),
        ("time".to_owned(), envelope.time.to_string()),
        ("expirytime".to_owned(), envelope.expires.to_string()),
        (
            "destination".to_owned(),
            envelope.destination.clone().or_in(domain).to_string(),
        ),
    ];
    let subject = envelope.channel.as_ref().map(ToString::to_string);
    list.extend(subject.map(|subject| ("subject".to_owned(), subject)));
    list.extend(envelope.sender_id.clone().map(|id| ("senderid".to_owned(), id)));
    for (name, value) in &envelope.attributes {
        let allowed = name.len() <= 20
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && !matches!(name.as_str(), "data" | "datacontenttype" | "dataschema")
            && list.iter().all(|(taken, _)| taken != name);
        if allowed {
            list.push((name.clone(), value.clone()));
        }
    }
    list
}

fn binary(envelope: &Envelope, attributes: &[(String, String)]) -> Event {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes {
        let name = HeaderName::from_bytes(format!("ce-{name}").as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&header_value(value))) {
            headers.append(name, value);
        }
    }
    let own = envelope.content_type.as_deref().map(HeaderValue::from_str);
    let content_type = match own {
        Some(Ok(own)) => own,
        Some(Err(_)) | None => HeaderValue::from_static("application/octet-stream"),
    };
    headers.insert(CONTENT_TYPE, content_type);
    Event {
        headers,
        body: envelope.data.clone(),
    }
}

/// Percent-encoded as the HTTP binding has it (3.1.3.2): what is not visible ASCII, the double quote and the percent
/// sign.
fn header_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}

/// JSON keeps its spelling as `data`; text is a JSON string; any other bytes are `data_base64`.
fn structured(envelope: &Envelope, attributes: &[(String, String)]) -> Event {
    let mut map: Map<String, Value> = (attributes.iter())
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    if let Some(content_type) = &envelope.content_type {
        map.insert("datacontenttype".to_owned(), Value::String(content_type.clone()));
    }
    let head = Value::Object(map).to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    let is_json = (envelope.content_type.as_deref()).is_none_or(|kind| kind.contains("json"));
    let data = match serde_json::from_slice::<&RawValue>(&envelope.data) {
        Ok(raw) if is_json => format!(r#""data":{raw}"#),
        Ok(_) | Err(_) => match std::str::from_utf8(&envelope.data) {
            Ok(text) => format!(r#""data":{}"#, Value::String(text.to_owned())),
            Err(_) => format!(r#""data_base64":"{}""#, STANDARD.encode(&envelope.data)),
        },
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    Event {
        headers,
        body: Bytes::from(format!("{head},{data}}}")),
    }
}

#[cfg(test)]
mod tests {
    use irsp_protocol::{MessageId, MessageKind, PushOptions, Timestamp};
    use serde_json::json;

    use super::*;

    fn envelope(content_type: Option<&str>, data: &'static [u8]) -> Envelope {
        Envelope {
            id: MessageId::from_bytes([7; 16]),
            kind: MessageKind::Upload,
            source: "dev/lamp-1".parse().unwrap(),
            destination: "app/climate".parse().unwrap(),
            channel: Some(irsp_protocol::Channel::new("room/temp").unwrap()),
            time: Timestamp::from_millis(1_795_392_000_000),
            expires: Timestamp::from_millis(1_795_392_060_000),
            sender_id: Some("17".to_owned()),
            content_type: content_type.map(str::to_owned),
            options: PushOptions::default(),
            attributes: [
                ("unit", "50 % \"°C\""),
                ("Bad-Name", "x"),
                ("id", "forged"),
                ("data", "x"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            data: Bytes::from_static(data),
        }
    }

    fn of(envelope: &Envelope, mode: Mode) -> Event {
        event(envelope, &Domain::new("home.example").unwrap(), mode)
    }

    #[test]
    fn binary_mode_has_attributes_in_headers_and_the_devices_own_bytes() {
        let event = of(&envelope(None, b"\x00\xFF"), Mode::Binary);
        let header = |name: &str| event.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("ce-type"), "irsp.upload");
        assert_eq!(header("ce-source"), "dev/lamp-1@home.example");
        assert_eq!(header("ce-destination"), "app/climate@home.example");
        assert_eq!(header("ce-subject"), "room/temp");
        assert_eq!(header("ce-senderid"), "17");
        assert_eq!(header("ce-id"), MessageId::from_bytes([7; 16]).to_string());
        assert_eq!(header("ce-unit"), "50%20%25%20%22%C2%B0C%22");
        assert_eq!(header("content-type"), "application/octet-stream");
        assert_eq!(
            event.headers.get_all("ce-id").iter().count(),
            1,
            "the sender's own is not believed"
        );
        assert!(!event.headers.contains_key("ce-bad-name") && !event.headers.contains_key("ce-data"));
        assert_eq!(event.body, &b"\x00\xFF"[..]);
        let event = of(&envelope(Some("bad\nheader"), b""), Mode::Binary);
        assert_eq!(event.headers["content-type"], "application/octet-stream");
    }

    #[test]
    fn structured_mode_has_it_all_in_the_body() {
        let read = |content_type, data: &'static [u8]| -> Value {
            let event = of(&envelope(content_type, data), Mode::Structured);
            assert_eq!(event.headers["content-type"], STRUCTURED);
            serde_json::from_slice(&event.body).unwrap()
        };
        let event = read(Some("application/json"), br#"{"t": 21.50}"#);
        assert_eq!(event["source"], "dev/lamp-1@home.example");
        assert_eq!(event["datacontenttype"], "application/json");
        assert_eq!(event["unit"], "50 % \"°C\"");
        assert_eq!(event["data"], json!({"t": 21.50}));
        assert_eq!(read(None, b"21.5")["data"], json!(21.5));
        assert_eq!(read(Some("text/plain"), b"21.5")["data"], json!("21.5"));
        assert_eq!(
            read(Some("application/json"), b"not json")["data"],
            json!("not json")
        );
        assert_eq!(read(None, b"")["data"], json!(""));
        let event = read(None, b"\x00\xFF");
        assert_eq!((event.get("data"), &event["data_base64"]), (None, &json!("AP8=")));
    }
}
