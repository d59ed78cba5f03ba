//! Bodies of the account server's API (clause 7.1). Requests refuse unknown fields; an answer that holds a secret
//! is the only place where that secret ever stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Domain, Id, Principal, Server};
use crate::change::{Answers, Delivery, Retention, Right, Role, Scope};
use crate::credential::{Certificate, LoginId};
use crate::secret::Secret;
use crate::status::Status;
use crate::time::Timestamp;

/// Attributes of a device: the operator's own names and values.
pub type Attributes = BTreeMap<String, String>;

/// One page of a list; `next` is the `after` of the following page and absent on the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lamp-9")]
    pub next: Option<String>,
}

/// Whether a change is in force at the servers that follow the account server (clause 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Effect {
    /// `true`: the message server and the application server have answered that they act on it. `false` comes with
    /// HTTP status 202; `GET /v1/operations/{operation}` tells how it goes on.
    pub in_effect: bool,
    /// The operation to look up; absent when nothing had to be told to anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
}

/// The answer to a change: what it made, and whether it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed<T> {
    #[serde(flatten)]
    pub of: T,
    #[serde(flatten)]
    pub effect: Effect,
}

/// The id of what was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    #[schema(value_type = String, example = "lamp-1")]
    pub id: Id,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    #[schema(value_type = String, example = "ann")]
    pub id: Id,
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 256)]
    pub password: Secret,
    /// `user` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(user|operator|admin)$", example = "user")]
    pub role: Option<Role>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(user|operator|admin)$")]
    pub role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    #[schema(value_type = String, example = "ann")]
    pub id: Id,
    #[schema(value_type = String, pattern = "^(user|operator|admin)$")]
    pub role: Role,
    pub disabled: bool,
    #[schema(value_type = String, format = "date-time")]
    pub created: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    pub modified: Timestamp,
    /// Rises with every change; `"{version}"` is the ETag.
    #[serde(default)]
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password until now; not needed when an administrator sets the password of somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "password")]
    pub old: Option<Secret>,
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 256)]
    pub password: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user's id; `user` is understood as well.
    #[serde(alias = "user")]
    #[schema(example = "ann")]
    pub id: String,
    #[schema(value_type = String, format = "password")]
    pub password: Secret,
}

/// A signed token: the password of `usr/{id}` over MQTT, and a bearer token over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    #[schema(value_type = String)]
    pub token: Secret,
    #[schema(value_type = String, format = "date-time")]
    pub expires: Timestamp,
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// The login both tokens belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "00f1e2d3c4b5a697")]
    pub login: Option<LoginId>,
    /// Good once, for the next pair of tokens (`POST /v1/refresh`). Shown a second time it ends the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub refresh_token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub refresh_expires: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    #[schema(value_type = String, example = "lamp-1")]
    pub id: Id,
    /// How the device answers a push: `ack` (on its topic, the default) or `mqtt` (by PUBACK alone).
    #[serde(default)]
    #[schema(value_type = String, pattern = "^(ack|mqtt)$", example = "ack")]
    pub answers: Answers,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// Certificates it may log in with, beside its code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub certificates: Vec<CertificateForm>,
}

/// A certificate by which a device is known: `fingerprint` or `pem` for this very one, `ca` and `name` for whichever
/// the authority issues to the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateForm {
    /// SHA-256 of the certificate (DER), hexadecimal, with or without colons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The certificate itself; its fingerprint is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// The authority's own certificate: its fingerprint or PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// A DNS name or URI among the alternative names, or the common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lamp-1")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    /// The certificates it may log in with, in place of those it has. Sessions opened with one that goes end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 8)]
    pub certificates: Option<Vec<CertificateForm>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(ack|mqtt)$")]
    pub answers: Option<Answers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Attributes to set; `null` takes one away. Those not named stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    #[schema(value_type = String, example = "lamp-1")]
    pub id: Id,
    #[schema(value_type = String, pattern = "^(ack|mqtt)$")]
    pub answers: Answers,
    pub disabled: bool,
    /// Rises with every reset of the verification code.
    pub generation: u64,
    /// The certificates it may log in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<CertificateForm>)]
    pub certificates: Vec<Certificate>,
    pub attributes: Attributes,
    /// The user who owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Id>,
    /// Whether it is connected, by the message server's word; absent when that does not answer, and for a device that
    /// has never connected. No part of `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// When it was last connected: now for one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_seen: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    pub created: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    pub modified: Timestamp,
    /// Rises with every change; `"{version}"` is the ETag.
    #[serde(default)]
    pub version: u64,
}

/// A device and its verification code, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceWithCode {
    #[serde(flatten)]
    pub device: DeviceView,
    #[schema(value_type = String, example = "7kq2-mx4w-9tc3-hnef-r8vz-0pyd-j6bg")]
    pub code: Secret,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Whether every binding of the device ends, too; `account.reset_unbinds` of the domain unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unbind: Option<bool>,
}

/// Another verification code of a device, valid beside those there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCode {
    /// From then on it opens nothing; it has no end unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires: Option<Timestamp>,
    /// The end of the codes there are now: how long the old and the new one overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub others_expire: Option<Timestamp>,
}

/// A code as it may be shown again: without the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodeView {
    /// Names it among the codes of its device.
    #[schema(example = "9f86d081")]
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub expires: Option<Timestamp>,
    /// Not expired.
    pub valid: bool,
}

/// A new code, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodeWithSecret {
    #[serde(flatten)]
    pub view: CodeView,
    #[schema(value_type = String, example = "7kq2-mx4w-9tc3-hnef-r8vz-0pyd-j6bg")]
    pub code: Secret,
}

/// The codes of a device, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Codes {
    pub codes: Vec<CodeView>,
}

/// The code that was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodeGone {
    pub id: String,
}

/// Many new devices: either `ids`, or `prefix` and `count` for `{prefix}1` to `{prefix}{count}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevices {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "sim-")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 20_000, example = 100)]
    pub count: Option<u32>,
    /// The number of the first, with `prefix`; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, max_items = 20_000)]
    pub ids: Option<Vec<Id>>,
    /// How all of them answer a push.
    #[serde(default)]
    #[schema(value_type = String, pattern = "^(ack|mqtt)$", example = "ack")]
    pub answers: Answers,
    /// The application they are for. If its grants are lists, the devices are put on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "climate")]
    pub app: Option<Id>,
}

/// One device of many and its verification code, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCode {
    #[schema(value_type = String, example = "sim-1")]
    pub id: Id,
    #[schema(value_type = String)]
    pub code: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCodes {
    pub devices: Vec<DeviceCode>,
}

/// What an import has made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// How many records.
    pub imported: u64,
    /// The verification codes of imported devices, shown this once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceCode>,
    /// The keys of imported applications, shown this once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<ApplicationKey>,
}

/// One application of many and its key, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationKey {
    #[schema(value_type = String, example = "climate")]
    pub id: Id,
    #[schema(value_type = String)]
    pub key: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApplication {
    #[schema(value_type = String, example = "climate")]
    pub id: Id,
    /// Whom it may hear; everyone of this domain unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub hears: Option<Scope>,
    /// To whom it may push; everyone of this domain unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub pushes: Option<Scope>,
    /// To which applications it may send messages; every one of this domain unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub messages: Option<Scope>,
    /// How it receives uploads and messages.
    #[serde(default)]
    #[schema(value_type = String, pattern = "^(hosted|attached|external)$", example = "hosted")]
    pub delivery: Delivery,
    /// How it answers them while it is attached.
    #[serde(default)]
    #[schema(value_type = String, pattern = "^(ack|mqtt)$", example = "ack")]
    pub answers: Answers,
    /// How long what is stored for it is kept.
    #[serde(default, skip_serializing_if = "Retention::keeps_all")]
    #[schema(value_type = Option<Keeping>)]
    pub retention: Retention,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub hears: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub pushes: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Grant>)]
    pub messages: Option<Scope>,
    /// Holds for what is sent to it from now on; what waits is delivered the way it was meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(hosted|attached|external)$")]
    pub delivery: Option<Delivery>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(ack|mqtt)$")]
    pub answers: Option<Answers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Keeping>)]
    pub retention: Option<Retention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// How a [`Retention`] is written; what is left out is kept for as long as the server does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Keeping {
    #[schema(example = "30d")]
    pub age: Option<String>,
    /// Of payloads.
    #[schema(example = 1_000_000)]
    pub bytes: Option<u64>,
}

/// How a [`Scope`] is written: `"everyone"`, or `{"only": ["dev/lamp-1", "usr/ann"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    Everyone,
    Only(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationView {
    #[schema(value_type = String, example = "climate")]
    pub id: Id,
    #[schema(value_type = Grant)]
    pub hears: Scope,
    #[schema(value_type = Grant)]
    pub pushes: Scope,
    #[schema(value_type = Grant)]
    pub messages: Scope,
    #[schema(value_type = String, example = "hosted")]
    pub delivery: Delivery,
    #[schema(value_type = String, example = "ack")]
    pub answers: Answers,
    #[serde(default)]
    #[schema(value_type = Keeping)]
    pub retention: Retention,
    pub disabled: bool,
    /// Rises with every rotation that ended a key.
    pub generation: u64,
    #[schema(value_type = String, format = "date-time")]
    pub created: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    pub modified: Timestamp,
    /// Rises with every change; `"{version}"` is the ETag.
    #[serde(default)]
    pub version: u64,
}

/// An application and its new key, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationWithKey {
    #[serde(flatten)]
    pub application: ApplicationView,
    #[schema(value_type = String)]
    pub key: Secret,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// Keep the newest old key valid beside the new one, until the next rotation.
    #[serde(default)]
    pub overlap: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBinding {
    /// The device's id. What is not an id is answered like an unknown device.
    #[schema(example = "lamp-1")]
    pub device: String,
    #[schema(value_type = String, format = "password")]
    pub code: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BindingView {
    #[schema(value_type = String, example = "lamp-1")]
    pub device: Id,
    #[schema(value_type = String, example = "ann")]
    pub user: Id,
    pub owner: bool,
    /// What the user may do with the device; an owner may do everything.
    #[schema(value_type = Vec<RightName>)]
    pub rights: Vec<Right>,
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Rises with every change; `"{version}"` is the ETag.
    #[serde(default)]
    pub version: u64,
}

/// With which rights a device is shared with a user, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    #[schema(value_type = Vec<RightName>, min_items = 1)]
    pub rights: Vec<Right>,
}

/// Who is to own a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    #[schema(value_type = String, example = "bob")]
    pub to: Id,
    /// What the owner until now keeps as a share; nothing unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<RightName>)]
    pub keep: Vec<Right>,
}

/// How a [`Right`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RightName {
    /// Sees whether the device is online.
    Presence,
    /// Receives what it uploads and publishes live.
    Receive,
    /// Pushes to it, and publishes on its live topics.
    Push,
}

/// What has become of a change at each server that follows (clause 8.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    pub operation: u64,
    #[schema(value_type = String, format = "date-time")]
    pub time: Timestamp,
    /// Every follower has it in force.
    pub in_effect: bool,
    pub followers: Vec<FollowerView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowerView {
    #[schema(value_type = String, pattern = "^(message|app)$", example = "message")]
    pub server: Server,
    pub state: FollowerState,
    /// The status it answered with; absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u16>, example = 200)]
    pub status: Option<Status>,
    /// When its last answer was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FollowerState {
    Pending,
    InForce,
    /// It answered with an error, or did not answer before the change expired.
    Refused,
}

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    #[schema(value_type = String, example = "usr/ann")]
    pub principal: Principal,
    /// Of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(user|operator|admin)$")]
    pub role: Option<Role>,
    #[schema(value_type = String, example = "home.example")]
    pub domain: Domain,
}

/// One line of the audit log: who did what, from where. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    pub n: u64,
    #[schema(value_type = String, format = "date-time")]
    pub time: Timestamp,
    #[schema(example = "usr/admin")]
    pub who: String,
    #[schema(example = "device.reset")]
    pub action: String,
    #[schema(example = "dev/lamp-1")]
    pub what: String,
    /// The caller's network address; `local` for the server itself.
    #[schema(example = "127.0.0.1")]
    pub from: String,
    /// 200 done; else why it was refused.
    #[schema(value_type = u16, example = 200)]
    pub status: Status,
}
