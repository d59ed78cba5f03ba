//! Bodies of the API for other domains (clauses 8.5 to 8.7): peers, and the grants to their applications.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Address, Domain, Principal};
use crate::peer::{Fingerprint, PeerLink, PeerState, PeerUrl, Policy, Trust};

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
    /// Where it listens, `irsp://host:port`; none if only it dials.
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
    /// `active`, `paused` (no link, what is for it waits) or `draining` (nothing new is accepted for it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PeerState>,
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
    pub state: PeerState,
    /// How the link stands; absent when the message server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PeerLink>,
    /// Rises with every change.
    pub version: u64,
}

/// Lets an application of another domain hear a device or user, or push to it. A grant that is there is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    #[schema(value_type = String, example = "dev/lamp-1")]
    pub principal: Principal,
    #[schema(value_type = String, example = "app/climate@other.example")]
    pub to: Address,
    /// May have its uploads and presence.
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
