//! Which peers are linked, which of two links stays, and who is told of changes.
//!
//! Both sides may dial at once. Of two links, the one stays that was dialled by the domain with the greater name, so both
//! sides choose alike; a second one by the same side replaces the first, because whoever dials knows that its own is
//! gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use irsp_protocol::peer::PeerLink;
use irsp_protocol::{Address, Domain, Principal, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::end::{Cut, End};

/// Who dialled a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    ByUs,
    ByPeer,
}

/// Whether a new link takes the place of the one there is.
pub(crate) fn replaces(own: &Domain, peer: &Domain, there: Dialled, new: Dialled) -> bool {
    if there == new {
        return true;
    }
    match new {
        Dialled::ByUs => own > peer,
        Dialled::ByPeer => peer > own,
    }
}

/// What happens to links, for whoever acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Linked(Domain),
    Parted {
        peer: Domain,
        at: Timestamp,
    },
    /// What an application or user of another domain may do with a principal has changed.
    Granted {
        principal: Principal,
        to: Address,
    },
}

/// The links there are.
#[derive(Debug)]
pub(crate) struct Links {
    state: Mutex<State>,
    tickets: AtomicU64,
    /// Rises with every change of a peer's terms and with every link that begins or ends.
    changed: watch::Sender<u64>,
    news: mpsc::UnboundedSender<News>,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<Domain, Entry>,
    troubles: BTreeMap<Domain, Trouble>,
}

/// Why there is no link.
#[derive(Debug, Default)]
struct Trouble {
    /// What ended the last one, or became of our last calls.
    ours: Option<String>,
    /// What became of the last call in the peer's name. Anybody may call in it, so it hides nothing of the other.
    theirs: Option<String>,
}

impl Trouble {
    fn in_words(&self) -> Option<String> {
        let theirs = self
            .theirs
            .as_ref()
            .map(|why| format!("it called in vain: {why}"));
        match (&self.ours, theirs) {
            (Some(ours), Some(theirs)) => Some(format!("{ours}; {theirs}")),
            (ours, theirs) => theirs.or_else(|| ours.clone()),
        }
    }
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    dialled: Dialled,
    since: Timestamp,
    end: End,
}

/// A link's place; dropped, the link is no more.
pub(crate) struct Seat {
    links: Arc<Links>,
    peer: Domain,
    ticket: u64,
    /// Cancelled with the reason when the link is to end.
    pub(crate) end: End,
}

impl Links {
    /// The receiver has the news; it is bounded by the account server's changes and by how fast links can be made.
    pub(crate) fn new() -> (Arc<Links>, mpsc::UnboundedReceiver<News>) {
        let (news, told) = mpsc::unbounded_channel();
        let links = Links {
            state: Mutex::default(),
            tickets: AtomicU64::new(1),
            changed: watch::channel(0).0,
            news,
        };
        (Arc::new(links), told)
    }

    /// Gives a new link its place, or says that the one there is stays.
    pub(crate) fn admit(
        self: &Arc<Links>,
        own: &Domain,
        peer: &Domain,
        dialled: Dialled,
        now: Timestamp,
        stop: &CancellationToken,
    ) -> Option<Seat> {
        let mut state = self.state();
        if let Some(there) = state.links.get(peer) {
            if !replaces(own, peer, there.dialled, dialled) {
                return None;
            }
            there.end.replaced();
        }
        let seat = Seat {
            links: Arc::clone(self),
            peer: peer.clone(),
            ticket: self.tickets.fetch_add(1, Ordering::Relaxed),
            end: End::new(stop),
        };
        let entry = Entry {
            ticket: seat.ticket,
            dialled,
            since: now,
            end: seat.end.clone(),
        };
        state.links.insert(peer.clone(), entry);
        state.troubles.remove(peer);
        drop(state);
        self.touch();
        self.tell(News::Linked(peer.clone()));
        Some(seat)
    }

    pub(crate) fn is_linked(&self, peer: &Domain) -> bool {
        self.state().links.contains_key(peer)
    }

    /// Ends a peer's link.
    pub(crate) fn cut(&self, peer: &Domain, why: Cut) {
        if let Some(entry) = self.state().links.get(peer) {
            entry.end.cut(why);
        }
    }

    /// Why there is no link to a peer just now.
    pub(crate) fn trouble(&self, peer: &Domain, why: String) {
        self.state().troubles.entry(peer.clone()).or_default().ours = Some(why);
    }

    /// Why a call of who named itself this peer came to no link.
    pub(crate) fn called_in_vain(&self, peer: &Domain, why: String) {
        let mut state = self.state();
        if !state.links.contains_key(peer) {
            state.troubles.entry(peer.clone()).or_default().theirs = Some(why);
        }
    }

    pub(crate) fn forget(&self, peer: &Domain) {
        self.state().troubles.remove(peer);
    }

    /// How the link to a peer stands, but for what waits for it.
    pub(crate) fn standing(&self, peer: &Domain) -> PeerLink {
        let state = self.state();
        let linked = state.links.get(peer).map(|entry| entry.since);
        let trouble = state.troubles.get(peer).filter(|_| linked.is_none());
        PeerLink {
            domain: peer.clone(),
            linked,
            waiting: 0,
            oldest: None,
            trouble: trouble.and_then(Trouble::in_words),
        }
    }

    /// A peer's terms have changed.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn tell(&self, news: News) {
        // While the server stops nobody listens any more.
        let _stopping = self.news.send(news);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.links.state();
        let ours = |entry: &Entry| entry.ticket == self.ticket;
        if !state.links.get(&self.peer).is_some_and(ours) {
            return;
        }
        state.links.remove(&self.peer);
        drop(state);
        self.links.touch();
        let at = Timestamp::from(std::time::SystemTime::now());
        self.links.tell(News::Parted {
            peer: self.peer.clone(),
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_the_same_of_two_links() {
        let (a, b) = (
            Domain::new("a.example").unwrap(),
            Domain::new("b.example").unwrap(),
        );
        // The link that b dialled is by the peer at a and by us at b.
        for (there, new) in [(&a, &b), (&b, &a)] {
            let seen = |own: &Domain, dialler: &Domain| {
                if own == dialler {
                    Dialled::ByUs
                } else {
                    Dialled::ByPeer
                }
            };
            let at_a = replaces(&a, &b, seen(&a, there), seen(&a, new));
            let at_b = replaces(&b, &a, seen(&b, there), seen(&b, new));
            assert_eq!((at_a, at_b), (*new == b, *new == b), "b is the greater name");
        }
        assert!(replaces(&a, &b, Dialled::ByPeer, Dialled::ByPeer));
        assert!(replaces(&b, &a, Dialled::ByUs, Dialled::ByUs));
    }

    #[test]
    fn a_place_is_given_up_by_its_own_link_only() {
        let (own, peer) = (
            Domain::new("a.example").unwrap(),
            Domain::new("b.example").unwrap(),
        );
        let (links, mut news) = Links::new();
        let stop = CancellationToken::new();
        let now = Timestamp::from_millis(1);
        let admit = |dialled| links.admit(&own, &peer, dialled, now, &stop);
        let first = admit(Dialled::ByUs).unwrap();
        let second = admit(Dialled::ByPeer).unwrap();
        assert!(first.end.is_over() && !second.end.is_over());
        assert!(admit(Dialled::ByUs).is_none(), "the greater name's stays");
        drop(first);
        assert!(links.is_linked(&peer));
        links.cut(&peer, Cut::Paused);
        assert!(second.end.is_over());
        drop(second);
        assert!(!links.is_linked(&peer));
        links.trouble(&peer, "nobody listens".to_owned());
        links.called_in_vain(&peer, "it has expired".to_owned());
        let told = links.standing(&peer).trouble;
        assert_eq!(
            told.as_deref(),
            Some("nobody listens; it called in vain: it has expired")
        );
        let mut told = Vec::new();
        while let Ok(one) = news.try_recv() {
            told.push(matches!(one, News::Linked(_)));
        }
        assert_eq!(told, [true, true, false]);
    }
}
