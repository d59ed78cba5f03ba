//! Bodies of the gateway to external applications (clauses 7.4, 8.8.2, 8.8.3): an application's endpoint, what was
//! delivered there, and what the service behind it asks of us.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::Period;
use crate::message_id::MessageId;
use crate::secret::Secret;
use crate::status::Status;
use crate::time::Timestamp;

/// Where an external application's service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    #[schema(example = "https://hooks.example/irsp")]
    pub url: String,
    /// How an event stands in a request: `binary` (attributes in headers, the default) or `structured` (all in the
    /// body, so that the signature covers it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(binary|structured)$", example = "binary")]
    pub mode: Option<String>,
    /// Whether it hears of the presence of whom the application hears, as events `irsp.presence`. It does not unless it
    /// is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// Your own signing secret: `whsec_` and the base64 of 24 to 64 bytes. One is made unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
}

/// An endpoint as it stands. Its secrets are never shown again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointView {
    #[schema(example = "climate")]
    pub app: String,
    pub url: String,
    #[schema(example = "binary")]
    pub mode: String,
    /// Whether it hears of presence.
    pub presence: bool,
    /// `unconfirmed` (nothing is sent), `confirmed` or `paused`.
    #[schema(example = "confirmed")]
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirmed: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub modified: Timestamp,
    /// The circuit breaker: `closed` (all is well), `open` (left alone for a while) or `half-open` (one try).
    #[schema(example = "closed")]
    pub breaker: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// The secrets that sign and are accepted now, the newest first.
    pub secrets: Vec<SecretAge>,
}

/// How old a signing secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretAge {
    #[schema(value_type = String, format = DateTime)]
    pub made: Timestamp,
    /// When it ends; the newest has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// An endpoint with a new secret, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointWithSecret {
    #[serde(flatten)]
    pub endpoint: EndpointView,
    /// Missing when none was made: the endpoint was there before and keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "whsec_...")]
    pub secret: Option<Secret>,
}

/// How long the secrets before a new one hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// Such as `"24h"`, the default; `"0s"` ends them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "24h")]
    pub overlap: Option<Period>,
    /// Your own secret instead of one we make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
}

/// How an endpoint answered a challenge or a test.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
    /// Whether it did what was asked.
    pub ok: bool,
    /// The HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    pub duration_ms: u64,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One try to deliver.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Position in the log: rises, and pages on.
    pub seq: u64,
    /// The message; missing for challenges and tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub message: Option<MessageId>,
    /// The event's type.
    #[serde(rename = "type")]
    #[schema(example = "irsp.upload")]
    pub kind: String,
    #[schema(example = "dev/lamp-1")]
    pub source: String,
    /// 1 for the first try of a message.
    pub attempt: u32,
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    pub duration_ms: u64,
    /// The HTTP status, if the endpoint answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What became of the message: `retried`, or the name of the status it ended with.
    #[schema(example = "done")]
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The last tries, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryPage {
    pub deliveries: Vec<DeliveryView>,
    /// Where the page before (in time) begins; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Which dead letters are delivered again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// These; all of the application's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub ids: Option<Vec<MessageId>>,
    /// How long they may take now; the platform's default unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1d")]
    pub expiry: Option<Period>,
}

/// What is delivered again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    pub replayed: u64,
    /// Those asked for that are no dead letters of this application.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unknown: Vec<MessageId>,
}

/// What became of one item of a batch, in the order of the batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemReply {
    /// The item's own id, or the one made from the request's `webhook-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[schema(value_type = u16, example = 202)]
    pub status: Status,
    #[schema(example = "queued")]
    pub name: String,
    /// The message, once it was accepted: `GET /v1/messages/{message}` has its receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub message: Option<MessageId>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchReply {
    pub items: Vec<ItemReply>,
}
