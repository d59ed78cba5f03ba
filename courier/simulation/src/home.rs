//! Where a server or a principal is at home: one of up to three domains.

use std::fmt;

use irsp_protocol::{Address, Domain, Principal, Server};

/// The names of the domains, in order.
const DOMAINS: [&str; 3] = ["a.example", "b.example", "c.example"];

/// A domain of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Home(pub(crate) usize);

/// A server of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) server: Server,
}

impl Home {
    /// The first so many.
    pub(crate) fn all(count: usize) -> impl Iterator<Item = Home> {
        (0..count.min(DOMAINS.len())).map(Home)
    }

    fn name(self) -> &'static str {
        DOMAINS.get(self.0).copied().unwrap_or_default()
    }

    pub(crate) fn domain(self) -> Domain {
        Domain::new(self.name()).expect("the names of the story are domains")
    }

    pub(crate) fn at(self, server: Server) -> Site {
        Site { home: self, server }
    }

    /// An address of this domain as a stranger reads it.
    pub(crate) fn whole(self, address: &Address) -> Address {
        Address {
            principal: address.principal.clone(),
            domain: address.domain.clone().or_else(|| Some(self.domain())),
        }
    }

    /// A principal of this domain, as `other` writes it.
    pub(crate) fn seen_from(self, other: Home, principal: Principal) -> Address {
        Address {
            principal,
            domain: (self != other).then(|| self.domain()),
        }
    }
}

impl Site {
    /// The message server of the same domain.
    pub(crate) fn message(self) -> Site {
        self.home.at(Server::Message)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.server, self.home.name())
    }
}
