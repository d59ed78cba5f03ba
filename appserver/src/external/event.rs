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
use bytes::Bytes;
use irsp_protocol::cloud_event::{self, Extensions};
use irsp_protocol::{Domain, Envelope};

use super::endpoint::Mode;

/// The media type of one event in JSON.
pub(crate) const STRUCTURED: &str = cloud_event::CONTENT_TYPE;

/// What is sent: headers without the signature, and the body it is of.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The event of an envelope; an envelope whose attributes cannot be written is no event.
pub(crate) fn event(envelope: &Envelope, domain: &Domain, mode: Mode) -> Result<Event, serde_json::Error> {
    let envelope = Envelope {
        source: envelope.source.clone().or_in(domain),
        destination: envelope.destination.clone().or_in(domain),
        ..envelope.clone()
    };
    match mode {
        Mode::Binary => binary(&envelope),
        Mode::Structured => structured(&envelope),
    }
}

fn attributes(envelope: &Envelope) -> Result<Vec<(&str, String)>, serde_json::Error> {
    let mut list = vec![
        ("specversion", "1.0".to_owned()),
        ("id", envelope.id.to_string()),
        ("source", envelope.source.to_string()),
        ("type", format!("irsp.{}", envelope.kind.as_str())),
        ("time", envelope.time.to_string()),
        ("expirytime", envelope.expires.to_string()),
        ("destination", envelope.destination.to_string()),
    ];
    let subject = envelope.channel.as_ref().map(ToString::to_string);
    list.extend(subject.map(|subject| ("subject", subject)));
    list.extend(envelope.sender_id.clone().map(|id| ("senderid", id)));
    let Extensions { named, others } = cloud_event::extensions(envelope)?;
    list.extend(named.into_iter().map(|(name, value)| (name, value.to_owned())));
    list.extend(others.map(|others| (cloud_event::USER_PROPERTIES, others)));
    Ok(list)
}

fn binary(envelope: &Envelope) -> Result<Event, serde_json::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes(envelope)? {
        let name = HeaderName::from_bytes(format!("ce-{name}").as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&header_value(&value))) {
            headers.append(name, value);
        }
    }
    let own = envelope.content_type.as_deref().map(HeaderValue::from_str);
    let content_type = match own {
        Some(Ok(own)) => own,
        Some(Err(_)) | None => HeaderValue::from_static("application/octet-stream"),
    };
    headers.insert(CONTENT_TYPE, content_type);
    Ok(Event {
        headers,
        body: envelope.data.clone(),
    })
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

fn structured(envelope: &Envelope) -> Result<Event, serde_json::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    Ok(Event {
        headers,
        body: Bytes::from(cloud_event::of_envelope(envelope)?),
    })
}

#[cfg(test)]
mod tests {
    use irsp_protocol::{MessageId, MessageKind, PushOptions, Timestamp};
    use serde_json::{Value, json};

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
        event(envelope, &Domain::new("home.example").unwrap(), mode).unwrap()
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
        let others: Value =
            serde_json::from_str(r#"[["Bad-Name","x"],["id","forged"],["data","x"]]"#).unwrap();
        assert_eq!(header("ce-userproperties"), header_value(&others.to_string()));
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
        assert_eq!(
            event["userproperties"],
            r#"[["Bad-Name","x"],["id","forged"],["data","x"]]"#
        );
        let event = read(None, b"21.5");
        assert_eq!(
            (&event["data"], &event["datacontenttype"]),
            (&json!(21.5), &json!("application/json"))
        );
        assert_eq!(read(Some("text/plain"), b"21.5")["data"], json!("21.5"));
        let event = read(None, b"txt");
        assert_eq!(
            (&event["data"], &event["datacontenttype"]),
            (&json!("txt"), &json!("text/plain"))
        );
        // Base64 says what JSON text would not: these bytes, and no JSON.
        assert_eq!(
            read(Some("application/json"), b"not json")["data_base64"],
            json!("bm90IGpzb24=")
        );
        assert_eq!(read(None, b"").get("data"), None);
        let event = read(None, b"\x00\xFF");
        assert_eq!((event.get("data"), &event["data_base64"]), (None, &json!("AP8=")));
    }
}
