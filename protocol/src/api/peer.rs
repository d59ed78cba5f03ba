//! Bodies of the API for other domains (clauses 8.5 to 8.7): peers, and the grants to their applications and users.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::address::{Address, Domain, Principal};
use crate::peer::{Fingerprint, PeerLink, PeerState, PeerUrl, Policy, Trust};
use crate::status::Status;
use crate::time::Timestamp;

/// A domain to be linked with. Either `ca` or `fingerprint` says by what its certificate is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPeer {
    #[schema(value_type = String, example = "other.example")]
    pub domain: Domain,
    /// The authorities that sign its certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The SHA-256 of its one certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fingerprint: Option<Fingerprint>,
    /// Where it listens, `irsp://host:port`; none if only it dials, or if it is to be looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, example = json!(["irsp://other.example:7443"]))]
    pub urls: Vec<PeerUrl>,
    /// What is taken from it; all unless given.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub inward: Option<Policy>,
    /// What is sent to it; all unless given.
    #[serde(rename = "out", default, skip_serializing_if = "Option::is_none")]
    pub outward: Option<Policy>,
    /// Messages a second taken from it, 10,000 unless given; what is more waits on its side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub rate_max: Option<u32>,
    /// Messages a second sent to it; as fast as it takes them unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub out_rate_max: Option<NonZeroU32>,
}

/// What a domain's web server says at `/.well-known/irsp`: where its message server listens for links. A place to dial, and no
/// reason to believe whoever answers there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WellKnown {
    #[schema(value_type = String, example = "other.example")]
    pub domain: Domain,
    /// `irsp://host:port`, in the order in which they are to be tried.
    #[schema(value_type = Vec<String>, example = json!(["irsp://other.example:7443"]))]
    pub links: Vec<PeerUrl>,
}

/// A domain that was told that a device, user or application is deleted, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletionView {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub principal: Principal,
    #[schema(value_type = String, example = "other.example")]
    pub domain: Domain,
    #[schema(value_type = String, format = "date-time")]
    pub told: Timestamp,
    /// 202 while nothing is known, 200 once it has confirmed; another code says why it has not.
    #[schema(value_type = u16, example = 200)]
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub ended: Option<Timestamp>,
}

/// What is to change; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fingerprint: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub urls: Option<Vec<PeerUrl>>,
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub inward: Option<Policy>,
    #[serde(rename = "out", default, skip_serializing_if = "Option::is_none")]
    pub outward: Option<Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub rate_max: Option<u32>,
    /// Messages a second sent to it; `null`: as fast as it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub out_rate_max: Option<Option<NonZeroU32>>,
    /// `active`, `paused` (no link, what is for it waits) or `draining` (nothing new is accepted for it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PeerState>,
}

/// What is named, `null` too.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerView {
    #[schema(value_type = String, example = "other.example")]
    pub domain: Domain,
    pub trust: Trust,
    #[schema(value_type = Vec<String>)]
    pub urls: Vec<PeerUrl>,
    #[serde(rename = "in")]
    pub inward: Policy,
    #[serde(rename = "out")]
    pub outward: Policy,
    pub rate_max: u32,
    /// Messages a second sent to it; as fast as it takes them unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub out_rate_max: Option<NonZeroU32>,
    pub state: PeerState,
    /// How the link stands; absent when the message server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PeerLink>,
    /// Rises with every change.
    pub version: u64,
}

/// Lets an application of another domain hear a device or user, or push to it; or shares a device with a user of another
/// domain. A grant that is there is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub principal: Principal,
    #[schema(value_type = String, example = "app/climate@other.example")]
    pub to: Address,
    /// May have its presence; an application its uploads, too, which do not travel to users.
    #[serde(default)]
    pub hears: bool,
    /// May push to it.
    #[serde(default)]
    pub pushes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantView {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub principal: Principal,
    #[schema(value_type = String, example = "app/climate@other.example")]
    pub to: Address,
    pub hears: bool,
    pub pushes: bool,
    /// Rises with every change.
    pub version: u64,
}

/// What another domain has granted to an application or user of this one, as it told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceivedGrant {
    /// The device or user it is about.
    #[schema(value_type = String, example = "dev/lamp-1@other.example")]
    pub principal: Address,
    #[schema(value_type = String, example = "usr/bob")]
    pub to: Principal,
    /// Its presence; for an application its uploads, too.
    pub hears: bool,
    /// Pushes to it.
    pub pushes: bool,
}
