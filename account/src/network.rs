//! Slows down guessing over many names: every refused login costs the network it comes from one of a store of them that
//! fills up slowly. Pure: the caller gives the time.
//!
//! A network is what one subscriber is sure to have alone. Of IPv4 that is the address: those beside it are other people's.
//! Of IPv6 it is the first 64 bits, within which anybody takes as many addresses as they like.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use irsp_protocol::Timestamp;

/// Refused logins that cost nothing: a school mistypes behind one address on its first day. More than passwords are checked
/// at once, because an attempt counts until it was right.
const BURST: u32 = 300;
/// After that, one in this time: 2,880 guesses a day, over all names.
const EVERY: Duration = Duration::from_secs(30);
/// Networks remembered at once; beyond it the one longest untouched is forgotten.
const NETWORKS_MAX: usize = 100_000;

/// Where somebody calls from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Network::V6([a, b, c, d])
            }
        }
    }
}

/// What each network has left.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    left: HashMap<Network, Left>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    attempts: u32,
    filled: Timestamp,
}

impl Left {
    fn at(self, now: Timestamp) -> Left {
        // A clock set back fills nothing and shuts nobody out for longer.
        if now < self.filled {
            return Left { filled: now, ..self };
        }
        let due = now.since(self.filled).as_millis() / EVERY.as_millis();
        let due = u32::try_from(due).unwrap_or(BURST).min(BURST);
        match self.attempts.saturating_add(due) {
            more if more >= BURST => Left {
                attempts: BURST,
                filled: now,
            },
            more => Left {
                attempts: more,
                filled: self.filled.plus(EVERY.saturating_mul(due)),
            },
        }
    }
}

impl Networks {
    /// Takes one attempt, or says how long until there is one.
    pub(crate) fn admit(&mut self, network: Network, now: Timestamp) -> Result<(), Duration> {
        let full = Left {
            attempts: BURST,
            filled: now,
        };
        let left = self.left.get(&network).map_or(full, |left| left.at(now));
        let Some(attempts) = left.attempts.checked_sub(1) else {
            self.left.insert(network, left);
            return Err(EVERY.saturating_sub(now.since(left.filled)));
        };
        if !self.left.contains_key(&network) {
            self.make_room(now);
        }
        self.left.insert(network, Left { attempts, ..left });
        Ok(())
    }

    /// The attempt was right, or was not made.
    pub(crate) fn take_back(&mut self, network: Network) {
        if let Some(left) = self.left.get_mut(&network) {
            left.attempts = left.attempts.saturating_add(1).min(BURST);
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.left.len() < NETWORKS_MAX {
            return;
        }
        self.left.retain(|_, left| left.at(now).attempts < BURST);
        if self.left.len() >= NETWORKS_MAX {
            let oldest = self.left.iter().min_by_key(|(_, left)| left.filled);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.left.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn network(address: &str) -> Network {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_is_a_network_and_so_are_the_first_64_bits_of_a_long_one() {
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::7"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }

    #[test]
    fn what_is_used_up_comes_back_slowly_and_what_was_right_at_once() {
        let mut networks = Networks::default();
        let (mine, other) = (network("192.0.2.1"), network("192.0.2.2"));
        for _ in 0..BURST {
            assert_eq!(networks.admit(mine, at(0)), Ok(()));
        }
        assert_eq!(networks.admit(mine, at(0)), Err(EVERY));
        assert_eq!(networks.admit(mine, at(10_000)), Err(Duration::from_secs(20)));
        assert_eq!(networks.admit(other, at(0)), Ok(()));
        assert_eq!(networks.admit(mine, at(30_000)), Ok(()));
        assert_eq!(networks.admit(mine, at(59_999)), Err(Duration::from_millis(1)));
        networks.take_back(mine);
        assert_eq!(networks.admit(mine, at(59_999)), Ok(()));
        let day = 86_400_000;
        let admitted = (0..1_000).filter(|_| networks.admit(mine, at(day)).is_ok());
        assert_eq!(admitted.count(), BURST as usize);
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out_for_long() {
        let mut networks = Networks::default();
        let mine = network("192.0.2.1");
        while networks.admit(mine, at(1_000_000_000)).is_ok() {}
        assert!(networks.admit(mine, at(0)).unwrap_err() <= EVERY);
        assert_eq!(networks.admit(mine, at(30_000)), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut networks = Networks::default();
        for n in 0..NETWORKS_MAX + 10 {
            let address = Ipv4Addr::from(u32::try_from(n).unwrap());
            let _ = networks.admit(Network::V4(address), at(0));
        }
        assert_eq!(networks.left.len(), NETWORKS_MAX);
    }
}
