//! Where an envelope goes next.

use std::fmt;

use irsp_protocol::{Principal, Server};

/// Where an envelope goes next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// Another server of this domain, over the bus.
    Server(Server),
    /// A principal whose sessions this server holds.
    Principal(Principal),
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hop::Server(server) => write!(f, "srv/{server}"),
            Hop::Principal(principal) => principal.fmt(f),
        }
    }
}
