//! Who is online: a pure table whose every change is numbered, so that observers can order what they hear.
//!
//! ```text
//! begin ──> online (epoch + 1, seq 1) ──end──> offline (same epoch, seq 2)
//! restart: what was online stays so for the grace time; who comes back begins the next epoch,
//!          who does not goes offline with the reason `server-stopped`
//! ```
//!
//! Clause 8.3.2. The epoch never goes back: the shell stores each change before anybody hears of it.

use std::collections::HashMap;

use irsp_protocol::presence::{Connectivity, Presence, Reason};
use irsp_protocol::{Principal, Timestamp};

/// All principals that were ever online here.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: HashMap<Principal, Entry>,
}

#[derive(Debug)]
struct Entry {
    presence: Presence,
    /// Sessions connected now; a user may have many.
    sessions: u32,
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Begun(Principal),
    Ended(Principal, Reason),
}

impl Event {
    /// Whose session has begun.
    pub(crate) fn begun(&self) -> Option<&Principal> {
        match self {
            Event::Begun(principal) => Some(principal),
            Event::Ended(..) => None,
        }
    }
}

impl Table {
    /// The table as it was stored. Nobody is connected yet.
    pub(crate) fn restore(stored: Vec<Presence>) -> Table {
        let entry = |presence: Presence| {
            (
                presence.principal.clone(),
                Entry {
                    presence,
                    sessions: 0,
                },
            )
        };
        Table {
            entries: stored.into_iter().map(entry).collect(),
        }
    }

    /// Applies one event and returns the change to announce, if there is one.
    pub(crate) fn apply(&mut self, event: Event, now: Timestamp) -> Option<Presence> {
        match event {
            Event::Begun(principal) => {
                let entry = self
                    .entries
                    .entry(principal)
                    .or_insert_with_key(|principal| Entry::unheard(principal, now));
                entry.sessions += 1;
                (entry.sessions == 1).then(|| entry.online(now))
            }
            Event::Ended(principal, reason) => {
                let entry = self.entries.get_mut(&principal)?;
                entry.sessions = entry.sessions.saturating_sub(1);
                if entry.sessions == 0 {
                    entry.offline(reason, now)
                } else {
                    None
                }
            }
        }
    }

    /// The grace time after a restart is over: who was online and has not come back is offline.
    pub(crate) fn grace_over(&mut self, now: Timestamp) -> Vec<Presence> {
        let absent = self.entries.values_mut().filter(|entry| entry.sessions == 0);
        absent
            .filter_map(|entry| entry.offline(Reason::ServerStopped, now))
            .collect()
    }

    /// At most `limit` presences after `after`, in order of the principals, and where the next page starts.
    pub(crate) fn page(&self, after: Option<&Principal>, limit: usize) -> (Vec<Presence>, Option<Principal>) {
        let later = |principal: &&Principal| after.is_none_or(|after| *principal > after);
        let mut principals: Vec<&Principal> = self.entries.keys().filter(later).collect();
        principals.sort_unstable();
        let more = principals.len() > limit;
        principals.truncate(limit);
        let next = if more {
            principals.last().map(|last| (*last).clone())
        } else {
            None
        };
        (
            principals
                .into_iter()
                .map(|principal| self.entries[principal].presence.clone())
                .collect(),
            next,
        )
    }

    /// The presence of a principal that ever had one.
    pub(crate) fn of(&self, principal: &Principal) -> Option<&Presence> {
        self.entries.get(principal).map(|entry| &entry.presence)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Presence> {
        self.entries.values().map(|entry| &entry.presence)
    }
}

impl Entry {
    fn unheard(principal: &Principal, now: Timestamp) -> Entry {
        let presence = Presence {
            principal: principal.clone(),
            epoch: 0,
            seq: 0,
            state: Connectivity::Offline,
            since: now,
            reason: Reason::Disconnected,
        };
        Entry {
            presence,
            sessions: 0,
        }
    }

    fn online(&mut self, now: Timestamp) -> Presence {
        let presence = &mut self.presence;
        presence.epoch += 1;
        presence.seq = 1;
        presence.state = Connectivity::Online;
        presence.since = now.max(presence.since);
        presence.reason = Reason::Connected;
        presence.clone()
    }

    fn offline(&mut self, reason: Reason, now: Timestamp) -> Option<Presence> {
        let presence = &mut self.presence;
        if presence.state != Connectivity::Online {
            return None;
        }
        presence.seq += 1;
        presence.state = Connectivity::Offline;
        presence.since = now.max(presence.since);
        presence.reason = reason;
        Some(presence.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lamp() -> Principal {
        "dev/lamp".parse().unwrap()
    }
    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }
    fn brief(presence: Option<Presence>) -> Option<(u64, u64, Connectivity, Reason)> {
        presence.map(|p| (p.epoch, p.seq, p.state, p.reason))
    }

    #[test]
    fn a_session_begins_and_ends() {
        let mut table = Table::default();
        let online = table.apply(Event::Begun(lamp()), at(1));
        assert_eq!(
            brief(online),
            Some((1, 1, Connectivity::Online, Reason::Connected))
        );
        let offline = table.apply(Event::Ended(lamp(), Reason::KeepAliveTimeout), at(2));
        assert_eq!(
            brief(offline),
            Some((1, 2, Connectivity::Offline, Reason::KeepAliveTimeout))
        );
        assert_eq!(
            brief(table.apply(Event::Begun(lamp()), at(3))).map(|b| (b.0, b.1)),
            Some((2, 1))
        );
    }

    #[test]
    fn a_second_session_of_a_user_changes_nothing() {
        let mut table = Table::default();
        assert!(table.apply(Event::Begun(lamp()), at(1)).is_some());
        assert!(table.apply(Event::Begun(lamp()), at(2)).is_none());
        assert!(
            table
                .apply(Event::Ended(lamp(), Reason::Disconnected), at(3))
                .is_none()
        );
        assert!(
            table
                .apply(Event::Ended(lamp(), Reason::Disconnected), at(4))
                .is_some()
        );
        assert!(
            table
                .apply(Event::Ended(lamp(), Reason::Disconnected), at(5))
                .is_none(),
            "ended once"
        );
    }

    #[test]
    fn a_restart_is_not_seen_by_who_comes_back_in_time() {
        let was = Table::default().apply(Event::Begun(lamp()), at(1)).unwrap();
        let mut back = Table::restore(vec![was.clone()]);
        let online = back.apply(Event::Begun(lamp()), at(2));
        assert_eq!(
            brief(online),
            Some((2, 1, Connectivity::Online, Reason::Connected))
        );
        assert_eq!(back.grace_over(at(9)), vec![]);

        let mut gone = Table::restore(vec![was]);
        let offline = gone.grace_over(at(9)).pop();
        assert_eq!(
            brief(offline),
            Some((1, 2, Connectivity::Offline, Reason::ServerStopped))
        );
        assert_eq!(gone.grace_over(at(10)), vec![]);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_move_since_back() {
        let mut table = Table::default();
        table.apply(Event::Begun(lamp()), at(1_000));
        let offline = table
            .apply(Event::Ended(lamp(), Reason::Disconnected), at(10))
            .unwrap();
        assert_eq!(offline.since, at(1_000));
    }

    #[test]
    fn pages_join_to_the_whole() {
        let mut table = Table::default();
        for id in ["c", "a", "b"] {
            table.apply(Event::Begun(format!("dev/{id}").parse().unwrap()), at(1));
        }
        let (first, next) = table.page(None, 2);
        let (second, end) = table.page(next.as_ref(), 2);
        let ids: Vec<_> = first
            .iter()
            .chain(&second)
            .map(|p| p.principal.id.to_string())
            .collect();
        assert_eq!((ids, end), (vec!["a".into(), "b".into(), "c".into()], None));
    }
}
