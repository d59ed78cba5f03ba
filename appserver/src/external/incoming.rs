//! What the service of an external application asks of us (clause 8.8.3): pushes and messages, as CloudEvents in binary,
//! structured or batch mode, or as the JSON of `POST /v1/push` and `/v1/message`, one or an array of them.
//!
//! The idempotency key of an item is its own id; without one it is the request's `webhook-id`, in a batch with the item's
//! place behind it (`{webhook-id}:0`), so that a request sent again is accepted once.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsp_protocol::api::app::{Period, PushRequest};
use irsp_protocol::api::receivers::Receivers;
use irsp_protocol::{Address, Channel, Kind, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::signature;
use crate::push::What;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Why a request, or one item of it, is not understood: 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum IncomingError {
    #[error("the body is not understood: {0}")]
    Json(String),
    #[error("a batch has 1 to {max} items, not {len}")]
    Items { len: usize, max: usize },
    #[error("specversion is 1.0")]
    Version,
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    #[error("the attribute {name} is not understood: {reason}")]
    Attribute { name: &'static str, reason: String },
    #[error("to {to} goes the type {wanted}, not {given}")]
    Type {
        to: Address,
        wanted: &'static str,
        given: String,
    },
    #[error("an event has data or data_base64, not both")]
    Data,
    #[error("the items of a batch do not wait")]
    Wait,
    #[error("an item has one receiver: send a batch")]
    Receivers,
}

/// Whether one answer is wanted or one for each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    Batch,
}

/// One push or message that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) to: Address,
    pub(crate) request: PushRequest,
}

/// A request as it was understood.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) shape: Shape,
    pub(crate) items: Vec<Result<Item, IncomingError>>,
}

impl Incoming {
    /// Reads a request. An item of a batch that is not understood is an error of its own.
    pub(crate) fn read(
        headers: &HeaderMap,
        body: &[u8],
        items_max: usize,
    ) -> Result<Incoming, IncomingError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let webhook_id = text(signature::ID);
        let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let mut incoming = match media_type.as_str() {
            STRUCTURED => Incoming::single(parsed::<CloudEvent>(body)?.item()),
            BATCH => Incoming::batch(body, items_max, |raw| parsed::<CloudEvent>(raw)?.item())?,
            _ if headers.contains_key("ce-specversion") => Incoming::single(binary(headers, body)),
            _ if body.trim_ascii_start().starts_with(b"[") => {
                Incoming::batch(body, items_max, |raw| plain(parsed(raw)?))?
            }
            _ => Incoming::single(plain(parsed(body)?)),
        };
        if incoming.shape == Shape::Batch {
            let waits = |item: &Item| item.request.wait.is_some();
            for item in &mut incoming.items {
                if item.as_ref().is_ok_and(waits) {
                    *item = Err(IncomingError::Wait);
                }
            }
        }
        for (n, item) in incoming.items.iter_mut().enumerate() {
            if let (Ok(Item { request, .. }), Some(id)) = (item, webhook_id) {
                request.id.get_or_insert_with(|| match incoming.shape {
                    Shape::Single => id.to_owned(),
                    Shape::Batch => format!("{id}:{n}"),
                });
            }
        }
        Ok(incoming)
    }

    fn single(item: Result<Item, IncomingError>) -> Incoming {
        Incoming {
            shape: Shape::Single,
            items: vec![item],
        }
    }

    fn batch(
        body: &[u8],
        max: usize,
        read: impl Fn(&[u8]) -> Result<Item, IncomingError>,
    ) -> Result<Incoming, IncomingError> {
        let items: Vec<&RawValue> = parsed_ref(body)?;
        if items.is_empty() || items.len() > max {
            return Err(IncomingError::Items {
                len: items.len(),
                max,
            });
        }
        Ok(Incoming {
            shape: Shape::Batch,
            items: items.iter().map(|raw| read(raw.get().as_bytes())).collect(),
        })
    }
}

/// An event in JSON, with the attributes we know; others are left alone, as CloudEvents asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CloudEvent {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
    destination: Option<String>,
    expirytime: Option<String>,
    datacontenttype: Option<String>,
    supersedekey: Option<String>,
    onlyifepoch: Option<Value>,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
}

impl CloudEvent {
    fn item(self) -> Result<Item, IncomingError> {
        if self.specversion.as_deref() != Some("1.0") {
            return Err(IncomingError::Version);
        }
        // Required by CloudEvents, and not believed: the sender is whoever signed.
        self.source.as_ref().ok_or(IncomingError::Missing("source"))?;
        let id = self.id.ok_or(IncomingError::Missing("id"))?;
        let given = self.r#type.ok_or(IncomingError::Missing("type"))?;
        let to: Address = attribute("destination", self.destination)?;
        let subject = self.subject.ok_or(IncomingError::Missing("subject"))?;
        let channel: Channel = from_value("subject", Value::String(subject))?;
        let (what, wanted) = what(&to);
        if given != wanted {
            return Err(IncomingError::Type { to, wanted, given });
        }
        let is_json = (self.datacontenttype.as_deref()).is_none_or(|kind| kind.contains("json"));
        let (data, text) = match (self.data, &self.data_base64) {
            (Some(_), Some(_)) => return Err(IncomingError::Data),
            (Some(data), None) => match serde_json::from_str::<String>(data.get()) {
                Ok(text) if !is_json => (None, Some(text)),
                Ok(_) | Err(_) => (Some(data), None),
            },
            (None, Some(_)) => (None, None),
            (None, None) => (None, Some(String::new())),
        };
        let optional = |name, text: Option<String>| text.map(|text| attribute(name, Some(text))).transpose();
        let expires: Option<Timestamp> = optional("expirytime", self.expirytime)?;
        let supersede_key = self
            .supersedekey
            .map(|key| from_value("supersedekey", Value::String(key)));
        let epoch = self
            .onlyifepoch
            .map(|epoch| from_value("onlyifepoch", number(epoch)));
        Ok(Item {
            what,
            to: to.clone(),
            request: PushRequest {
                from: None,
                to: Receivers::One(to),
                channel,
                data,
                text,
                data_base64: self.data_base64,
                content_type: self.datacontenttype,
                expiry: None::<Period>,
                expires,
                id: Some(id),
                supersede_key: supersede_key.transpose()?,
                only_if_epoch: epoch.transpose()?,
                wait: None,
            },
        })
    }
}

/// The JSON of `POST /v1/push` or `/v1/message`.
fn plain(request: PushRequest) -> Result<Item, IncomingError> {
    let Receivers::One(to) = &request.to else {
        return Err(IncomingError::Receivers);
    };
    Ok(Item {
        what: what(to).0,
        to: to.clone(),
        request,
    })
}

/// Binary mode: attributes in headers, percent-encoded; the body is the data.
fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Item, IncomingError> {
    let header = |name: &str| {
        let value = headers.get(name)?;
        Some(decoded(value.as_bytes()))
    };
    let event = CloudEvent {
        specversion: header("ce-specversion"),
        id: header("ce-id"),
        source: header("ce-source"),
        r#type: header("ce-type"),
        subject: header("ce-subject"),
        destination: header("ce-destination"),
        expirytime: header("ce-expirytime"),
        datacontenttype: headers.get(CONTENT_TYPE).map(|value| decoded(value.as_bytes())),
        supersedekey: header("ce-supersedekey"),
        onlyifepoch: header("ce-onlyifepoch").map(Value::String),
        data: None,
        data_base64: Some(STANDARD.encode(body)),
    };
    event.item()
}

fn what(to: &Address) -> (What, &'static str) {
    match to.principal.kind {
        Kind::Application => (What::Message, "irsp.message"),
        Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => (What::Push, "irsp.push"),
    }
}

fn attribute<T>(name: &'static str, text: Option<String>) -> Result<T, IncomingError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = text.ok_or(IncomingError::Missing(name))?;
    text.parse().map_err(|error: T::Err| IncomingError::Attribute {
        name,
        reason: error.to_string(),
    })
}

fn from_value<T: DeserializeOwned>(name: &'static str, value: Value) -> Result<T, IncomingError> {
    serde_json::from_value(value).map_err(|error| IncomingError::Attribute {
        name,
        reason: error.to_string(),
    })
}

/// A number that was written as text, as headers have it.
fn number(value: Value) -> Value {
    match &value {
        Value::String(text) => text.parse::<u64>().map_or(value, Value::from),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value,
    }
}

/// Percent-decoded; what is no encoding stays as it is.
fn decoded(value: &[u8]) -> String {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, IncomingError> {
    parsed_ref(body)
}

fn parsed_ref<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, IncomingError> {
    serde_json::from_slice(body).map_err(|error| IncomingError::Json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    fn read(list: &[(&'static str, &'static str)], body: &str) -> Result<Incoming, IncomingError> {
        Incoming::read(&headers(list), body.as_bytes(), 3)
    }

    fn one(list: &[(&'static str, &'static str)], body: &str) -> Result<Item, IncomingError> {
        let mut incoming = read(list, body)?;
        assert_eq!((incoming.shape, incoming.items.len()), (Shape::Single, 1));
        incoming.items.remove(0)
    }

    const EVENT: &str = r#"{"specversion":"1.0","id":"e-1","source":"https://hooks.example","type":"irsp.push",
        "destination":"dev/lamp-1","subject":"set","onlyifepoch":3,"supersedekey":"power","unknown":[1],"data":{"on": true}}"#;

    #[test]
    fn the_three_modes_and_plain_json_say_the_same() {
        let structured = one(
            &[("content-type", "application/cloudevents+json; charset=utf-8")],
            EVENT,
        )
        .unwrap();
        let binary = one(
            &[
                ("content-type", "application/json"),
                ("ce-specversion", "1.0"),
                ("ce-id", "e-1"),
                ("ce-source", "x"),
                ("ce-type", "irsp.push"),
                ("ce-destination", "dev/lamp-1"),
                ("ce-subject", "s%65t"),
                ("ce-onlyifepoch", "3"),
                ("ce-supersedekey", "power"),
            ],
            r#"{"on": true}"#,
        )
        .unwrap();
        let plain = one(
            &[],
            r#"{"to":"dev/lamp-1","channel":"set","data":{"on": true},"id":"e-1","only_if_epoch":3,"supersede_key":"power"}"#,
        )
        .unwrap();
        for item in [structured, binary, plain] {
            let request = &item.request;
            assert_eq!(item.what, What::Push);
            assert_eq!(item.to.to_string(), "dev/lamp-1");
            assert_eq!(request.channel.to_string(), "set");
            assert_eq!(request.body().bytes().unwrap(), r#"{"on": true}"#);
            assert_eq!(request.id.as_deref(), Some("e-1"));
            assert_eq!(request.only_if_epoch.unwrap().get(), 3);
            assert_eq!(request.supersede_key.as_ref().unwrap().as_str(), "power");
        }
        let message = one(&[], r#"{"to":"app/billing","channel":"invoice","text":"x"}"#).unwrap();
        assert_eq!(message.what, What::Message);
    }

    #[test]
    fn each_item_of_a_batch_stands_for_itself_and_has_an_id() {
        let body = r#"[{"to":"dev/a","channel":"set","text":"1"},{"to":"nobody"},{"to":"dev/b","channel":"set","text":"2","id":"own"}]"#;
        let incoming = read(&[("webhook-id", "req-1")], body).unwrap();
        assert_eq!(incoming.shape, Shape::Batch);
        let ids: Vec<_> = (incoming.items.iter())
            .map(|item| item.as_ref().ok().and_then(|item| item.request.id.clone()))
            .collect();
        assert_eq!(ids, [Some("req-1:0".to_owned()), None, Some("own".to_owned())]);
        let batch = read(
            &[("content-type", "application/cloudevents-batch+json")],
            &format!("[{EVENT}]"),
        );
        assert!(batch.unwrap().items[0].is_ok());
        assert_eq!(
            read(&[], "[]").unwrap_err(),
            IncomingError::Items { len: 0, max: 3 }
        );
        assert_eq!(
            read(&[], "[1,2,3,4]").unwrap_err(),
            IncomingError::Items { len: 4, max: 3 }
        );
        let waits = read(&[], r#"[{"to":"dev/a","channel":"set","text":"1","wait":"1s"}]"#).unwrap();
        assert_eq!(waits.items[0].as_ref().unwrap_err(), &IncomingError::Wait);
        let many = one(&[], r#"{"to":["dev/a","dev/b"],"channel":"set","text":"1"}"#);
        assert_eq!(many.unwrap_err(), IncomingError::Receivers);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let structured =
            |body: &str| one(&[("content-type", "application/cloudevents+json")], body).unwrap_err();
        assert_eq!(structured(r#"{"specversion":"0.3"}"#), IncomingError::Version);
        assert_eq!(
            structured(r#"{"specversion":"1.0"}"#),
            IncomingError::Missing("source")
        );
        let without = |name: &str| {
            let mut event: Value = serde_json::from_str(EVENT).unwrap();
            event.as_object_mut().unwrap().remove(name);
            structured(&event.to_string())
        };
        for name in ["id", "type", "destination", "subject"] {
            assert_eq!(
                without(name).to_string(),
                format!("the attribute {name} is missing")
            );
        }
        let with = |name: &str, value: Value| {
            let mut event: Value = serde_json::from_str(EVENT).unwrap();
            event[name] = value;
            structured(&event.to_string())
        };
        assert!(matches!(
            with("type", "irsp.message".into()),
            IncomingError::Type { .. }
        ));
        for (name, value) in [
            ("destination", Value::from("lamp")),
            ("expirytime", "soon".into()),
            ("onlyifepoch", "x".into()),
            ("supersedekey", "".into()),
        ] {
            assert!(
                matches!(with(name, value), IncomingError::Attribute { .. }),
                "{name}"
            );
        }
        assert_eq!(with("data_base64", "AA==".into()), IncomingError::Data);
        assert!(matches!(read(&[], "x"), Err(IncomingError::Json(_))));
        assert!(matches!(
            read(&[], r#"{"to":"dev/a","channel":"set","text":"","colour":1}"#),
            Err(IncomingError::Json(_))
        ));
    }

    #[test]
    fn text_is_text_unless_it_is_json() {
        let with = |kind: &str| {
            let mut event: Value = serde_json::from_str(EVENT).unwrap();
            event["data"] = "on".into();
            event["datacontenttype"] = kind.into();
            let item = one(
                &[("content-type", "application/cloudevents+json")],
                &event.to_string(),
            )
            .unwrap();
            item.request.body().bytes().unwrap()
        };
        assert_eq!(with("text/plain"), "on");
        assert_eq!(with("application/json"), "\"on\"");
    }
}
