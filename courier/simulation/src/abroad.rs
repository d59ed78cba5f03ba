//! The world between the domains: links come about, carry, break and are missed.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use irsp_courier::{PeerAnswer, PeerFrame};
use irsp_protocol::Server as Role;
use irsp_protocol::frame::Item;
use irsp_protocol::peer_link::{self, Part};

use crate::home::Home;
use crate::link::{End, Link, Standing, replaces};
use crate::wire;
use crate::world::{Failure, World};

/// Connections between two domains at a time.
const LINKS_MAX: usize = 3;

impl World {
    /// One random thing that happens between the domains.
    pub(crate) fn link_step(&mut self) -> Result<(), Failure> {
        let (one, other) = self.pair();
        let (link, end) = (self.dice.place(self.links.len()), self.dice.place(2));
        match self.dice.range(0, 99) {
            0..=54 => {
                let most = self.dice.pick([1, 64, 4096, usize::MAX]);
                self.carry(link, end, most)?;
            }
            55..=69 => self.dial(one, other),
            70..=81 => {
                self.notice(link, end)?;
            }
            82..=83 if self.dice.chance(self.plan.cuts) => {
                if let Some(link) = self.links.get_mut(link) {
                    link.cut(&mut self.dice);
                }
            }
            92..=93 => {
                let pair = (one.min(other), one.max(other));
                let parts = match self.apart.contains(&pair) {
                    true => self.plan.absence,
                    false => self.plan.partitions,
                };
                match self.dice.chance(parts) {
                    true => self.apart.insert(pair),
                    false => self.apart.remove(&pair),
                };
            }
            94..=96 => {
                let begins = !self.mute.contains(&one) && self.dice.chance(self.plan.mute);
                toggle(&mut self.mute, one, begins);
            }
            97..=99 => {
                let begins = !self.asleep.contains(&one) && self.dice.chance(self.plan.pauses);
                toggle(&mut self.asleep, one, begins);
            }
            _ => {}
        }
        Ok(())
    }

    /// No more faults between the domains, and everything that is under way arrives. Says whether anything moved.
    pub(crate) fn link_all(&mut self) -> Result<bool, Failure> {
        let mut moved = false;
        for link in 0..self.links.len() {
            for end in 0..2 {
                moved |= self.notice(link, end)?;
                while self.carry(link, end, usize::MAX)? {
                    moved = true;
                }
            }
        }
        self.links.retain(|link| !link.is_gone());
        for one in Home::all(self.plan.domains) {
            for other in Home::all(self.plan.domains).filter(|other| *other > one) {
                let linked = |link: &Link| link.joins(one, other) && link.is_alive();
                if !self.links.iter().any(linked) {
                    self.dial(one, other);
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Whether a server's domain stands still.
    pub(crate) fn sleeps(&self, place: usize) -> bool {
        let server = self.servers.get(place);
        server.is_some_and(|server| self.asleep.contains(&server.site.home))
    }

    fn pair(&mut self) -> (Home, Home) {
        let one = self.dice.place(self.plan.domains);
        let other = (one + 1 + self.dice.place(self.plan.domains - 1)) % self.plan.domains;
        (Home(one), Home(other))
    }

    fn is_apart(&self, one: Home, other: Home) -> bool {
        !self.quiet && self.apart.contains(&(one.min(other), one.max(other)))
    }

    fn dial(&mut self, from: Home, to: Home) {
        self.links.retain(|link| !link.is_gone());
        let runs = |home: Home| {
            let server = self.servers.get(self.place(home.at(Role::Message)));
            server.is_some_and(|server| server.process.is_some())
        };
        let between = self.links.iter().filter(|link| link.joins(from, to)).count();
        if !self.is_apart(from, to) && runs(from) && runs(to) && between < LINKS_MAX {
            self.links.push(Link::new(from, to));
            self.links_made += 1;
        }
    }

    /// An end's courier gets to know of the link, unless another one stays.
    fn admit(&mut self, link: usize, end: usize) -> Result<(), Failure> {
        let Some(new) = self.links.get(link) else {
            return Ok(());
        };
        let (dialler, own, peer) = (new.ends[0].home, new.ends[end].home, new.ends[1 - end].home);
        let holds =
            |end: &End| end.home == own && !end.is_replaced && matches!(end.standing, Standing::Open(_));
        for there in self.links.iter_mut().filter(|there| there.joins(own, peer)) {
            let dialled_there = there.ends[0].home;
            let Some(held) = there.ends.iter_mut().find(|end| holds(end)) else {
                continue;
            };
            if !replaces(dialled_there, dialler) {
                if let Some(new) = self.links.get_mut(link) {
                    new.ends[end].close();
                }
                return Ok(());
            }
            held.is_replaced = true;
        }
        let place = self.place(own.at(Role::Message));
        let rate_max = self.plan.out_rate_max.and_then(NonZeroU32::new);
        self.oracle
            .relinked(own.at(Role::Message), peer.at(Role::Message));
        if let (Some(process), Some(new)) = (
            self.servers
                .get_mut(place)
                .and_then(|server| server.process.as_mut()),
            self.links.get_mut(link),
        ) {
            let port = process.courier.link_peer(peer.domain(), rate_max);
            new.ends[end].standing = Standing::Open(port);
        }
        self.look(place)
    }

    /// Bytes arrive at an end, and what is whole of them is handed in. Says whether anything moved.
    fn carry(&mut self, link: usize, end: usize, most: usize) -> Result<bool, Failure> {
        let Some(found) = self.links.get(link) else {
            return Ok(false);
        };
        let (home, peer) = (found.ends[end].home, found.ends[1 - end].home);
        if self.asleep.contains(&home) || self.is_apart(home, peer) {
            return Ok(false);
        }
        if matches!(found.ends[end].standing, Standing::Greeting) && !found.is_cut {
            self.admit(link, end)?;
            return Ok(true);
        }
        let (site, from) = (home.at(Role::Message), peer.at(Role::Message));
        let place = self.place(site);
        let Some(End {
            standing: Standing::Open(port),
            coming,
            arrived,
            ..
        }) = self.links.get_mut(link).map(|link| &mut link.ends[end])
        else {
            return Ok(false);
        };
        let count = coming.len().min(most);
        let moved = count > 0;
        arrived.unsplit(coming.split_to(count));
        if !port.takes_frames() {
            return Ok(moved);
        }
        let Some(Part::Items(frame)) = peer_link::read(arrived)? else {
            return Ok(moved);
        };
        if self.mute.contains(&home) && self.dice.chance(self.plan.unheard) {
            return Ok(true);
        }
        let mut said = PeerFrame::default();
        for item in wire::items(frame)? {
            match item {
                Item::Deliver {
                    place, mut envelope, ..
                } => {
                    // The gate: a peer speaks for its own, and ours are written without their domain.
                    envelope.destination.domain = None;
                    said.delivered.push((place, envelope));
                }
                Item::Answer {
                    id,
                    status,
                    answer,
                    cause,
                    ..
                } => {
                    self.oracle.answer_arrives(site, from, id);
                    said.answers.push(PeerAnswer {
                        id,
                        status,
                        answer,
                        cause,
                    });
                }
                Item::Hello { .. } | Item::Ask { .. } | Item::Reply { .. } => {}
            }
        }
        if let Some(process) = self
            .servers
            .get_mut(place)
            .and_then(|server| server.process.as_mut())
        {
            process.courier.peer_said(port, said);
        }
        self.look(place)?;
        Ok(true)
    }

    /// An end finds that its link is over: it was cut, closed by the other end, replaced, or silent for too long.
    fn notice(&mut self, link: usize, end: usize) -> Result<bool, Failure> {
        let Some(found) = self.links.get(link) else {
            return Ok(false);
        };
        let (own, other) = (&found.ends[end], &found.ends[1 - end]);
        let (home, peer) = (own.home, other.home);
        let closed_there = matches!(other.standing, Standing::Closed);
        let is_over = found.is_cut
            || own.is_replaced
            || self.is_apart(home, peer)
            || self.asleep.contains(&peer)
            || (closed_there && (!found.carries() || self.dice.chance(500)));
        if !is_over || self.asleep.contains(&home) || matches!(own.standing, Standing::Closed) {
            return Ok(false);
        }
        let was_replaced = own.is_replaced;
        let Some(standing) = self.links.get_mut(link).map(|link| link.ends[end].close()) else {
            return Ok(false);
        };
        let Standing::Open(port) = standing else {
            return Ok(true);
        };
        let place = self.place(home.at(Role::Message));
        if !was_replaced {
            self.oracle
                .relinked(home.at(Role::Message), peer.at(Role::Message));
        }
        if let Some(process) = self
            .servers
            .get_mut(place)
            .and_then(|server| server.process.as_mut())
        {
            process.courier.part_peer(port);
        }
        self.look(place)?;
        Ok(true)
    }

    /// A message server is gone, and with it its ends of all links. What it has sent may still arrive.
    pub(crate) fn drop_links(&mut self, home: Home) {
        for end in self.links.iter_mut().flat_map(|link| &mut link.ends) {
            if end.home == home {
                end.close();
            }
        }
    }
}

/// Takes a domain off a list, or puts it there.
fn toggle(list: &mut BTreeSet<Home>, home: Home, begins: bool) {
    if !list.remove(&home) && begins {
        list.insert(home);
    }
}
