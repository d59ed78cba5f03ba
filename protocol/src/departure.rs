//! What another domain is told when a principal is deleted: the body of a `Directory` envelope from the principal itself to that
//! domain's application server, which forgets what it knows of it and confirms with 200. A user or an application may hold
//! grants there: they end, too.

use serde::{Deserialize, Serialize};

use crate::address::Principal;

/// A principal that is no more. Its id is never used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The envelope's source, without its domain.
    pub deleted: Principal,
}
