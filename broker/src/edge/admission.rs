//! Who is let in: connections in all and from one address, how fast they come, and how many one principal has; and the
//! allowance of publishes that a principal's connections share.
//!
//! Counted in one place; a place is given back when its guard is dropped. The rules are values and a given `now`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use irsp_protocol::Principal;
use irsp_session::{Refusal, reason};
use thiserror::Error;

use super::guessing::{Guessing, Patience};
use super::rate::PublishRate;
use crate::metrics::Limit;
use crate::settings::Limits;

/// MQTT 3 has one return code for all of them.
const SERVER_UNAVAILABLE_V3: u8 = 3;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum TurnedAway {
    #[error("mqtt.connections_max is reached")]
    Full,
    #[error("mqtt.connections_per_address_max is reached")]
    Address,
    #[error("mqtt.connection_rate_max is exceeded by this address")]
    Rate,
    #[error("mqtt.connections_per_principal_max is reached")]
    Principal,
}

impl TurnedAway {
    /// The limit it is counted under.
    pub(super) fn limit(self) -> Limit {
        match self {
            TurnedAway::Full => Limit::ConnectionsMax,
            TurnedAway::Address => Limit::ConnectionsPerAddressMax,
            TurnedAway::Rate => Limit::ConnectionRateMax,
            TurnedAway::Principal => Limit::ConnectionsPerPrincipalMax,
        }
    }

    /// How the client is told: quota exceeded, or connection rate exceeded; in MQTT 3 server unavailable.
    pub(super) fn refusal(self) -> Refusal {
        let v5 = match self {
            TurnedAway::Full | TurnedAway::Address | TurnedAway::Principal => reason::QUOTA_EXCEEDED,
            TurnedAway::Rate => reason::CONNECTION_RATE_EXCEEDED,
        };
        Refusal {
            v5,
            v3: SERVER_UNAVAILABLE_V3,
            text: Some(self.to_string().into()),
        }
    }
}

/// Counts who is in.
#[derive(Debug)]
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    per_principal_max: usize,
    /// Connections a second from one address.
    rate_max: u32,
    /// Publishes a second of one principal.
    publish_rate_max: u32,
    counts: Mutex<Counts>,
    guessing: Mutex<Guessing>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    addresses: HashMap<IpAddr, FromAddress>,
    principals: HashMap<Principal, OfPrincipal>,
    /// When addresses without a connection were last forgotten.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct OfPrincipal {
    connections: usize,
    publishes: Arc<PublishRate>,
}

#[derive(Debug)]
struct FromAddress {
    connections: usize,
    /// When the allowance would be whole again: the rate as one point in time.
    whole_at: Instant,
}

/// A connection's place. Dropped, it is free.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

/// A principal's place for one connection. Dropped, it is free.
#[derive(Debug)]
pub(crate) struct PrincipalPlace {
    admission: Arc<Admission>,
    principal: Principal,
    publishes: Arc<PublishRate>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Admission> {
        Arc::new(Admission {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            per_principal_max: limits.connections_per_principal_max,
            rate_max: limits.connection_rate_max,
            publish_rate_max: limits.publish_rate_max,
            counts: Mutex::default(),
            guessing: Mutex::new(Guessing::new(Patience {
                free: limits.login_failures_free,
                delay: limits.login_delay,
                delay_max: limits.login_delay_max,
            })),
        })
    }

    /// A place for a socket that was accepted. An address may come a second's worth at once, and then at its rate.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr, now: Instant) -> Result<Place, TurnedAway> {
        let address = counted_as(peer.ip());
        let mut counts = self.counts();
        counts.forget_quiet(now);
        let connections = counts.connections;
        let from = counts.addresses.entry(address).or_insert(FromAddress {
            connections: 0,
            whole_at: now,
        });
        let whole_at = from.whole_at.max(now) + Duration::from_secs(1) / self.rate_max.max(1);
        if whole_at > now + Duration::from_secs(1) {
            return Err(TurnedAway::Rate);
        }
        from.whole_at = whole_at;
        if connections >= self.connections_max {
            return Err(TurnedAway::Full);
        }
        if from.connections >= self.per_address_max {
            return Err(TurnedAway::Address);
        }
        from.connections += 1;
        counts.connections += 1;
        Ok(Place {
            admission: Arc::clone(self),
            address,
        })
    }

    /// A place for a connection of a principal that has shown who it is.
    pub(super) fn admit_principal(
        self: &Arc<Self>,
        principal: &Principal,
        now: Instant,
    ) -> Result<PrincipalPlace, TurnedAway> {
        let mut counts = self.counts();
        let held = counts
            .principals
            .entry(principal.clone())
            .or_insert_with(|| OfPrincipal {
                connections: 0,
                publishes: Arc::new(PublishRate::new(self.publish_rate_max, now)),
            });
        if held.connections >= self.per_principal_max {
            return Err(TurnedAway::Principal);
        }
        held.connections += 1;
        Ok(PrincipalPlace {
            admission: Arc::clone(self),
            principal: principal.clone(),
            publishes: Arc::clone(&held.publishes),
        })
    }

    /// A login failed; returns how long to wait with the answer.
    pub(super) fn login_failed(
        &self,
        peer: SocketAddr,
        claimed: Option<Principal>,
        now: Instant,
    ) -> Duration {
        self.guessing().failed((counted_as(peer.ip()), claimed), now)
    }

    /// A login was right.
    pub(super) fn login_succeeded(&self, peer: SocketAddr, principal: &Principal) {
        let guesser = (counted_as(peer.ip()), Some(principal.clone()));
        self.guessing().succeeded(&guesser);
    }

    fn guessing(&self) -> MutexGuard<'_, Guessing> {
        self.guessing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Forgets addresses and principals that have no connection and their whole allowance, once a second at most.
    fn forget_quiet(&mut self, now: Instant) {
        if self
            .swept
            .is_some_and(|swept| now < swept + Duration::from_secs(1))
        {
            return;
        }
        self.swept = Some(now);
        self.addresses
            .retain(|_, from| from.connections > 0 || from.whole_at > now);
        self.principals
            .retain(|_, held| held.connections > 0 || !held.publishes.is_whole(now));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.connections = counts.connections.saturating_sub(1);
        if let Some(from) = counts.addresses.get_mut(&self.address) {
            from.connections = from.connections.saturating_sub(1);
        }
    }
}

impl PrincipalPlace {
    /// The allowance that all connections of the principal share.
    pub(super) fn publishes(&self) -> Arc<PublishRate> {
        Arc::clone(&self.publishes)
    }
}

impl Drop for PrincipalPlace {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        if let Some(held) = counts.principals.get_mut(&self.principal) {
            held.connections = held.connections.saturating_sub(1);
            // Whoever has used its allowance up does not win it back by connecting anew.
            if held.connections == 0 && held.publishes.is_whole(Instant::now()) {
                counts.principals.remove(&self.principal);
            }
        }
    }
}

/// The address a peer is counted under: who has one IPv6 address has the 2^64 beside it too.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests;
