//! Bodies of the application server's API: uploads, pushes, presence and receipts (clauses 7.3, 8.3).
//!
//! What a client writes is refused when it holds a field we do not know; what we write may grow.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use thiserror::Error;
use utoipa::ToSchema;

use super::receivers::{PushTo, Receivers};
use crate::address::{Address, Domain, Id};
use crate::message_id::MessageId;
use crate::options::{Epoch, SupersedeKey};
use crate::presence::{Connectivity, Presence, Reason};
use crate::receipt::{Answer, Cause, Receipt, Stage, StageReport};
use crate::state::State;
use crate::status::Status;
use crate::time::Timestamp;
use crate::topic::Channel;

/// Somebody's own bytes inside JSON: as they are when they are JSON, else as text, else as base64.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pub data: Option<Box<RawValue>>,
    pub text: Option<String>,
    pub data_base64: Option<String>,
}

/// Why a request's payload is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("give exactly one of data, text and data_base64")]
    NotOne,
    #[error("data_base64 is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

impl Body {
    /// How `bytes` are shown. JSON keeps its spelling, so that no digit of a number is lost; what most readers
    /// would refuse as JSON (too deep, numbers out of range) is shown as text.
    pub fn of(bytes: &[u8]) -> Body {
        let readable = serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
        if let (true, Ok(raw)) = (readable, serde_json::from_slice::<&RawValue>(bytes)) {
            return Body {
                data: Some(raw.to_owned()),
                ..Body::default()
            };
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Body {
                text: Some(text.to_owned()),
                ..Body::default()
            },
            Err(_) => Body {
                data_base64: Some(STANDARD.encode(bytes)),
                ..Body::default()
            },
        }
    }

    /// The bytes that were meant.
    pub fn bytes(&self) -> Result<Bytes, BodyError> {
        match (&self.data, &self.text, &self.data_base64) {
            (Some(data), None, None) => Ok(Bytes::copy_from_slice(data.get().as_bytes())),
            (None, Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, None, Some(text)) => Ok(STANDARD.decode(text)?.into()),
            _ => Err(BodyError::NotOne),
        }
    }
}

/// A length of time as clients write it: `"60s"`, `"500ms"`, `"5m"`, `"24h"`, `"7d"`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a length of time is written 500ms, 60s, 5m, 24h or 7d, or as a number of seconds: {0:?}")]
pub struct PeriodError(String);

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Period, PeriodError> {
        let error = || PeriodError(text.chars().take(40).collect());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| error())?;
        let unit_ms: u64 = match &text[digits..] {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(error)?;
        Ok(Period(Duration::from_millis(ms)))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        struct Written;
        impl de::Visitor<'_> for Written {
            type Value = Period;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"60s\", or a number of seconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Period, E> {
                Ok(Period(Duration::from_secs(seconds)))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// One stored upload (clause 8.3.1), or message of another application (clause 8.4).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    /// Position in the store: rises, is never used again, and resumes a stream.
    pub seq: u64,
    #[schema(value_type = String, example = "0190163d-8694-739b-aea5-966c26f8ad91")]
    pub id: MessageId,
    /// `upload`, or `message` from another application.
    #[serde(default)]
    #[schema(example = "upload")]
    pub kind: String,
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub source: Address,
    /// The application that sent it, when it is a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "app/billing")]
    pub from: Option<Address>,
    /// The device's id, when a device of this domain sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "lamp-1")]
    pub device: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "temp")]
    pub channel: Option<Channel>,
    /// When it happened, by the sender's word.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// When it was stored here.
    #[schema(value_type = String, format = DateTime)]
    pub received: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Vec<String>>)]
    pub attributes: Vec<(String, String)>,
    /// The data, when it is JSON.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// The data, when it is other UTF-8 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The data, when it is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// A page of uploads.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UploadPage {
    pub uploads: Vec<UploadView>,
    /// `after` of the next page; null after the last.
    pub next: Option<u64>,
}

/// The newest upload of each device and channel.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LatestPage {
    pub latest: Vec<UploadView>,
    /// `after` of the next page; null after the last.
    pub next: Option<String>,
}

/// Presence of one principal (clause 8.3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PresenceView {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub principal: Address,
    pub epoch: u64,
    pub seq: u64,
    #[schema(value_type = String, example = "online")]
    pub state: Connectivity,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    #[schema(value_type = String, example = "connected")]
    pub reason: Reason,
    /// Number of the change in the presence log; resumes a stream.
    pub n: u64,
}

impl PresenceView {
    /// `domain` is the principal's, if it is not ours.
    pub fn new(n: u64, domain: Option<Domain>, presence: Presence) -> PresenceView {
        let Presence {
            principal,
            epoch,
            seq,
            state,
            since,
            reason,
        } = presence;
        PresenceView {
            principal: Address { principal, domain },
            epoch,
            seq,
            state,
            since,
            reason,
            n,
        }
    }
}

/// A page of presence, in order of the principals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PresencePage {
    pub presence: Vec<PresenceView>,
    /// Number of the last change when this page was read. A stream resumed after the `at` of the *first* page
    /// misses nothing.
    pub at: u64,
    /// `after` of the next page; null after the last.
    #[schema(value_type = Option<String>)]
    pub next: Option<Address>,
}

/// A push to a device or a user (clause 8.3.3). Exactly one of `data`, `text` and `data_base64` is given.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// On whose behalf; only an admin may say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "app/climate")]
    pub from: Option<Address>,
    /// A device or user, a list of them, or `usr/{id}/devices` for all devices bound to a user.
    #[schema(value_type = PushTo)]
    pub to: Receivers,
    #[schema(value_type = String, example = "set")]
    pub channel: Channel,
    /// JSON; it is delivered as it is spelled here.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How long it may take, such as `"60s"` or a number of seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "60s")]
    pub expiry: Option<Period>,
    /// Until when it may take; instead of `expiry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Your own id, the idempotency key: the same push with an id that you used before, by HTTP or MQTT, is not made
    /// again (208); another push with it is 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// It takes the place of your older push to the same receiver with this key, unless that one was delivered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "power")]
    pub supersede_key: Option<SupersedeKey>,
    /// Only for the session with this presence epoch: at another epoch it ends with 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub only_if_epoch: Option<Epoch>,
    /// How long to wait for the receiver's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub wait: Option<Period>,
}

/// A message to another application (clause 8.4). Exactly one of `data`, `text` and `data_base64` is given.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// On whose behalf; only an admin may say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "app/climate")]
    pub from: Option<Address>,
    #[schema(value_type = String, example = "app/billing")]
    pub to: Address,
    #[schema(value_type = String, example = "invoice")]
    pub channel: Channel,
    /// JSON; it is delivered as it is spelled here.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How long it may take, such as `"60s"` or a number of seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "60s")]
    pub expiry: Option<Period>,
    /// Until when it may take; instead of `expiry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Your own id, the idempotency key, as for a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How long to wait for the end: 200 when the receiver has stored or answered it, else 202.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5s")]
    pub wait: Option<Period>,
}

impl From<MessageRequest> for PushRequest {
    fn from(request: MessageRequest) -> PushRequest {
        PushRequest {
            from: request.from,
            to: Receivers::One(request.to),
            channel: request.channel,
            data: request.data,
            text: request.text,
            data_base64: request.data_base64,
            content_type: request.content_type,
            expiry: request.expiry,
            expires: request.expires,
            id: request.id,
            supersede_key: None,
            only_if_epoch: None,
            wait: request.wait,
        }
    }
}

impl PushRequest {
    pub fn body(&self) -> Body {
        Body {
            data: self.data.clone(),
            text: self.text.clone(),
            data_base64: self.data_base64.clone(),
        }
    }
}

/// What became of a push or a message so far.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PushReply {
    #[schema(value_type = String)]
    pub id: MessageId,
    #[schema(value_type = u16, example = 202)]
    pub status: Status,
    #[schema(example = "queued")]
    pub name: String,
    /// The receiver's own answer, when it was waited for and has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerView>,
}

/// What became of a push to each of several receivers, in their order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PushesReply {
    pub pushes: Vec<PushOutcome>,
}

/// What became of the push to one of several receivers so far.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PushOutcome {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub to: Address,
    /// Its receipt, unless it was refused before anything was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<MessageId>,
    #[schema(value_type = u16, example = 202)]
    pub status: Status,
    #[schema(example = "queued")]
    pub name: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerView>,
}

/// The receiver's own code and body; never a code of the platform.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AnswerView {
    pub code: u16,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> AnswerView {
        let body = if answer.body.is_empty() {
            Body::default()
        } else {
            Body::of(&answer.body)
        };
        AnswerView {
            code: answer.code,
            data: body.data,
            text: body.text,
            data_base64: body.data_base64,
        }
    }
}

/// The receipt of one message: its history over all servers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceiptView {
    #[schema(value_type = String)]
    pub id: MessageId,
    /// `upload`, `push` or `message`.
    pub kind: String,
    #[schema(value_type = String, example = "app/climate@home.example")]
    pub source: Address,
    #[schema(value_type = String, example = "dev/lamp-1@home.example")]
    pub destination: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// 202 until it has ended, then its one final code.
    #[schema(value_type = u16, example = 200)]
    pub status: Status,
    #[schema(example = "done")]
    pub name: String,
    /// `in-flight`, `done`, `rejected`, `expired`, `revoked`, `superseded`, `over-quota` or `undeliverable`.
    #[schema(value_type = String, example = "done")]
    pub state: State,
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    pub stages: Vec<StageView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerView>,
    /// Why it ended so, where the code does not say it all: `{"name":"superseded","by":"..."}`,
    /// `{"name":"epoch-changed","epoch":7}` or `{"name":"duplicate","of":"..."}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub cause: Option<Cause>,
    /// A server did not answer just now, so its stages may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// One stage of a message's way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    #[schema(value_type = String, example = "accepted")]
    pub stage: Stage,
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    #[schema(value_type = String, example = "srv/message@home.example")]
    pub reporter: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u16>)]
    pub code: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl StageView {
    pub(super) fn new(report: StageReport, own: &Domain) -> StageView {
        StageView {
            stage: report.stage,
            time: report.time,
            reporter: report.reporter.or_in(own),
            code: report.code,
            name: report.code.map(|code| code.name().to_owned()),
        }
    }
}

impl ReceiptView {
    /// The receipt with our own domain filled in wherever an address leaves it out.
    pub fn new(receipt: Receipt, own: &Domain, partial: bool) -> ReceiptView {
        ReceiptView {
            id: receipt.id,
            kind: receipt.kind.as_str().to_owned(),
            source: receipt.source.or_in(own),
            destination: receipt.destination.or_in(own),
            channel: receipt.channel,
            sender_id: receipt.sender_id,
            status: receipt.status,
            name: receipt.status.name().to_owned(),
            state: State::of(receipt.status),
            expires: receipt.expires,
            cause: receipt.cause,
            stages: receipt
                .stages
                .into_iter()
                .map(|report| StageView::new(report, own))
                .collect(),
            answer: receipt.answer.map(AnswerView::from),
            partial,
        }
    }
}

/// A field that is there holds a value, even if that is JSON's null.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        let shown = |bytes: &[u8]| {
            let body = Body::of(bytes);
            assert_eq!(body.bytes().unwrap(), bytes, "what is shown is what was sent");
            (
                body.data.map(|raw| raw.get().to_owned()),
                body.text,
                body.data_base64,
            )
        };
        let json = |text: &str| (Some(text.to_owned()), None, None);
        assert_eq!(shown(b"21.50"), json("21.50"));
        assert_eq!(shown(b"12345678901234567890.10"), json("12345678901234567890.10"));
        assert_eq!(shown(b"{\"b\":1,\"a\":null}"), json("{\"b\":1,\"a\":null}"));
        assert_eq!(shown(b"null"), json("null"));
        assert_eq!(shown(b"warm"), (None, Some("warm".into()), None));
        assert_eq!(shown(b""), (None, Some(String::new()), None));
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert_eq!(shown(deep.as_bytes()), (None, Some(deep.clone()), None));
        assert_eq!(shown(b"\xff\x00"), (None, None, Some("/wA=".into())));
    }

    #[test]
    fn a_push_says_its_payload_once_and_nothing_unknown() {
        let push = |rest: &str| {
            serde_json::from_str::<PushRequest>(&format!(r#"{{"to":"dev/lamp-1","channel":"set"{rest}}}"#))
        };
        assert_eq!(push(r#","data":null"#).unwrap().body().bytes().unwrap(), "null");
        assert_eq!(push(r#","text":"on""#).unwrap().body().bytes().unwrap(), "on");
        assert_eq!(push("").unwrap().body().bytes(), Err(BodyError::NotOne));
        assert_eq!(
            push(r#","data":1,"text":"on""#).unwrap().body().bytes(),
            Err(BodyError::NotOne)
        );
        let bad = push(r#","data_base64":"?""#).unwrap().body().bytes();
        assert!(matches!(bad, Err(BodyError::Base64(_))));
        for rest in [
            r#","priority":1"#,
            r#","expiry":"soon""#,
            r#","expiry":-1"#,
            r#","expiry":1.5"#,
            r#","expires":"soon""#,
            r#","supersede_key":"""#,
            r#","supersede_key":"a\nb""#,
            r#","supersede_key":7"#,
            r#","only_if_epoch":0"#,
            r#","only_if_epoch":-1"#,
            r#","only_if_epoch":"3""#,
        ] {
            assert!(push(rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (text, ms) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("60", 60_000),
            ("5m", 300_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Period(Duration::from_millis(ms))), "{text}");
        }
        for text in [
            "",
            "s",
            "5 m",
            "-1s",
            "1.5h",
            "5y",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        let period: Period = serde_json::from_str("60").unwrap();
        assert_eq!(serde_json::to_string(&period).unwrap(), "\"60000ms\"");
    }
}
