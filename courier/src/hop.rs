//! Where an envelope goes next, and who handed it to us.

use std::fmt;

use irsp_protocol::{Domain, Kind, Principal, Server};

/// Where an envelope goes next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// Another server of this domain, over the bus.
    Server(Server),
    /// Another domain, over the link to its message server (clause 8.5).
    Peer(Domain),
    /// A principal whose sessions this server holds.
    Principal(Principal),
}

/// Who hands envelopes to this server and hears its answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Another server of this domain.
    Server(Server),
    /// Another domain.
    Peer(Domain),
}

impl Origin {
    /// The way back.
    pub fn hop(&self) -> Hop {
        match self {
            Origin::Server(server) => Hop::Server(*server),
            Origin::Peer(domain) => Hop::Peer(domain.clone()),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hop::Server(server) => write!(f, "{}/{server}", Kind::Server),
            Hop::Peer(domain) => write!(f, "{}/{domain}", Kind::Peer),
            Hop::Principal(principal) => principal.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Server(server) => server.fmt(f),
            Origin::Peer(domain) => write!(f, "{}/{domain}", Kind::Peer),
        }
    }
}
