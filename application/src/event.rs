//! What an attached application receives: a structured CloudEvent 1.0, read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use irsp_protocol::{Address, Channel, MessageId, MessageKind, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// An upload or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The same whenever it comes again.
    pub id: MessageId,
    pub kind: MessageKind,
    pub source: Address,
    pub channel: Option<Channel>,
    pub time: Timestamp,
    /// The id its sender gave it.
    pub sender_id: Option<String>,
    pub content_type: Option<String>,
    /// What was sent: JSON as it was spelled, text, or any bytes.
    pub data: Bytes,
}

/// Why bytes are no event of the platform.
#[derive(Debug, Error)]
pub enum EventError {
    #[error("not a CloudEvent of the platform: {0}")]
    Json(#[from] serde_json::Error),
    #[error("data_base64 is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

impl Event {
    pub fn read(bytes: &[u8]) -> Result<Event, EventError> {
        let written: Written<'_> = serde_json::from_slice(bytes)?;
        let data = match (written.data, written.data_base64) {
            (None, None) => Bytes::new(),
            (None, Some(text)) => STANDARD.decode(text)?.into(),
            (Some(raw), _) => data(raw, written.datacontenttype.as_deref())?,
        };
        Ok(Event {
            id: written.id,
            kind: written.kind,
            source: written.source,
            channel: written.subject,
            time: written.time,
            sender_id: written.senderid,
            content_type: written.datacontenttype,
            data,
        })
    }

    /// The data as JSON.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }
}

#[derive(Deserialize)]
struct Written<'a> {
    id: MessageId,
    #[serde(rename = "type")]
    kind: MessageKind,
    source: Address,
    subject: Option<Channel>,
    time: Timestamp,
    senderid: Option<String>,
    datacontenttype: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// JSON is itself; of any other media type the data is a string's text.
fn data(raw: &RawValue, content_type: Option<&str>) -> Result<Bytes, EventError> {
    let is_json = content_type.is_none_or(|text| {
        let plain = text.split(';').next().unwrap_or_default().trim();
        plain.ends_with("/json") || plain.ends_with("+json")
    });
    if is_json {
        return Ok(Bytes::copy_from_slice(raw.get().as_bytes()));
    }
    Ok(Bytes::from(serde_json::from_str::<String>(raw.get())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_events_are_read() {
        let upload = Event::read(include_bytes!("../../docs/golden/upload.json")).unwrap();
        assert_eq!(upload.kind, MessageKind::Upload);
        assert_eq!(upload.source.to_string(), "dev/lamp-1");
        assert_eq!(upload.sender_id.as_deref(), Some("17"));
        assert_eq!(upload.data, r#"{ "c": 21.50 }"#, "as it was spelled");
        let message = Event::read(include_bytes!("../../docs/golden/message.json")).unwrap();
        assert_eq!(
            (message.kind, &message.data[..]),
            (MessageKind::Message, &b"paid"[..])
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["", "{}", "[]", "21.5"] {
            assert!(Event::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
