//! What another domain is told when something is granted to one of its applications or users, or taken back: the body of a
//! `Directory` envelope from the device or user it is about. It is addressed as a [`Departure`](crate::departure::Departure) is,
//! because a domain that does not know of it yet then refuses it (400) where it takes all else in order. It goes on to that
//! domain's account server. Rights are not looked up there: it shows the receiver what there is, and knows whom to tell when the
//! receiver is deleted.

use serde::{Deserialize, Serialize};

use crate::address::Principal;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The application or user, without its domain.
    pub granted: Principal,
    pub hears: bool,
    /// Neither this nor the other: it was withdrawn.
    pub pushes: bool,
    /// The change that made it so; of two the greater is the newer.
    pub n: u64,
    /// What the domain told before, of any of its own to any of the other's, counts no more: what it grants now follows. A
    /// domain that does not know this word passes it over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}
