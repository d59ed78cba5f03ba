//! The world: the servers of one domain or more, their clients, the buses and time, one random step after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use irsp_courier::bus::Incoming;
use irsp_courier::store::StoreError;
use irsp_courier::{AcceptSink, Accepted, Clock as _};
use irsp_protocol::frame::{FrameError, Item};
use irsp_protocol::peer_link::PartError;
use irsp_protocol::{MessageId, MessageKind, Status};
use thiserror::Error;

use crate::bus::Bus;
use crate::client::{Device, Wish, principal};
use crate::clock::{SimClock, Time};
use crate::dice::Dice;
use crate::fault::Fault;
use crate::home::{Home, Site};
use crate::link::Link;
use crate::oracle::{End, Oracle, Rule, Sent, Violation};
use crate::plan::Plan;
use crate::role::REFUSED;
use crate::server::Server;
use crate::wire;

type Name = irsp_protocol::Server;

/// Why a story came to a bad end.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Broken(#[from] Violation),
    /// The story itself could not be told.
    #[error("the simulated disk: {0}")]
    Disk(#[from] StoreError),
    #[error("a courier's frame: {0}")]
    Frame(#[from] FrameError),
    #[error("a part of a link: {0}")]
    Part(#[from] PartError),
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Wish { number: u64, id: MessageId },
    Answer { device: usize, id: MessageId, code: u16 },
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) time: Arc<Time>,
    pub(crate) servers: Vec<Server>,
    pub(crate) devices: Vec<Device>,
    pub(crate) wishes: BTreeMap<u64, Wish>,
    pub(crate) bus: Bus,
    pub(crate) oracle: Oracle,
    /// Between the domains.
    pub(crate) links: Vec<Link>,
    pub(crate) links_made: u64,
    /// Domains that cannot reach each other, the lesser first.
    pub(crate) apart: BTreeSet<(Home, Home)>,
    /// Domains whose message servers lose what they and their peers say to each other, all or some of it.
    pub(crate) mute: BTreeSet<Home>,
    /// Domains that stand still.
    pub(crate) asleep: BTreeSet<Home>,
    /// No more faults: everything is to end.
    pub(crate) quiet: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) asked: BTreeMap<(Site, u64), Asked>,
    pub(crate) numbers: u64,
    /// For [`Fault::Once`].
    pub(crate) sent_once: BTreeSet<(Site, Site, MessageId)>,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Result<World, Failure> {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::new(&mut dice);
        let time = Time::new();
        let mut settings = plan.settings.clone();
        match fault {
            Some(Fault::Wide) => {
                settings.server_window *= 8;
                settings.principal_window *= 8;
            }
            Some(Fault::Crowded) => settings.peer_window *= 8,
            Some(Fault::Heavy) => {
                settings.server_window_bytes *= 64;
                settings.principal_window_bytes *= 64;
            }
            Some(Fault::Hasty) => {
                settings.retry_min /= 8;
                settings.retry_max /= 8;
            }
            // It shows in what operators send again, so there has to be enough of that.
            Some(Fault::Recounted) => settings.failures_max = 1,
            // And it shows where servers fail, and is lost among many.
            Some(Fault::Overtaken) => {
                plan.moods = 300;
                plan.domains = 1;
            }
            Some(_) | None => {}
        }
        let mut servers = Vec::new();
        let sites = Home::all(plan.domains).flat_map(|home| Name::ALL.map(|server| home.at(server)));
        for site in sites {
            let drift = i64::try_from(dice.range(0, 2 * plan.drift_max.unsigned_abs())).unwrap_or(0);
            let clock = SimClock::new(Arc::clone(&time), drift - plan.drift_max, off(&plan, &mut dice));
            servers.push(Server::new(site, clock, &plan, settings.clone(), fault)?);
        }
        let mut devices = Vec::new();
        for home in Home::all(plan.domains) {
            // The same names everywhere: nothing may take one for the other.
            let names: &[&'static str] = match plan.domains {
                1 => &["dev/lamp-1", "dev/lamp-2", "dev/lock"],
                _ => &["dev/lamp-1", "dev/lock"],
            };
            devices.extend(names.iter().map(|name| Device {
                home,
                principal: principal(name),
                present: false,
                given: Vec::new(),
            }));
        }
        let bus = Bus::new(dice.part());
        let mut world = World {
            oracle: Oracle::new(plan.clone()),
            plan,
            dice,
            time,
            servers,
            devices,
            wishes: BTreeMap::new(),
            bus,
            links: Vec::new(),
            links_made: 0,
            apart: BTreeSet::new(),
            mute: BTreeSet::new(),
            asleep: BTreeSet::new(),
            quiet: false,
            fault,
            asked: BTreeMap::new(),
            numbers: 0,
            sent_once: BTreeSet::new(),
        };
        for place in 0..world.servers.len() {
            world.start(place)?;
        }
        Ok(world)
    }

    pub(crate) fn place(&self, site: Site) -> usize {
        self.servers
            .iter()
            .position(|server| server.site == site)
            .unwrap_or(0)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.time.advance(by);
        self.oracle.at = self.time.passed();
    }

    /// A process begins on what stands on its disk.
    pub(crate) fn start(&mut self, place: usize) -> Result<(), Failure> {
        let dice = self.dice.part();
        if let Some(server) = self.servers.get_mut(place) {
            self.oracle.restarted(server.site);
            server.start(dice);
        }
        self.look(place)
    }

    /// A process is gone, and with it all it has not written.
    pub(crate) fn crash(&mut self, place: usize) -> Result<(), Failure> {
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(());
        };
        server.process = None;
        let site = server.site;
        self.oracle.restarted(site);
        self.asked.retain(|(asked, _), _| *asked != site);
        // Without an id of its own a client cannot repeat what it does not know to be refused.
        self.wishes
            .retain(|_, wish| wish.site != site || !wish.asked || wish.sender_id.is_some());
        for wish in self.wishes.values_mut().filter(|wish| wish.site == site) {
            wish.asked = false;
        }
        if site.server == Name::Message {
            self.drop_links(site.home);
            for device in self.devices.iter_mut().filter(|device| device.home == site.home) {
                device.present = false;
                device.given.clear();
            }
        }
        self.check_disk(place)
    }

    /// The ledger adds up and no end has changed.
    pub(crate) fn check_disk(&mut self, place: usize) -> Result<(), Failure> {
        let Some(server) = self.servers.get(place) else {
            return Ok(());
        };
        let ledger = server.ledger()?;
        if ledger.residue() != 0 {
            return Ok(self.oracle.broken(
                Rule::Residue,
                format!("{} at {}: {ledger:?}", ledger.residue(), server.site),
            )?);
        }
        for id in self.oracle.held_by(server.site) {
            if let Some(receipt) = server.receipt(id)?
                && receipt.status != Status::QUEUED
            {
                let end = End {
                    status: receipt.status,
                    answer: receipt.answer,
                };
                self.oracle.ended(server.site, id, end, false)?;
            }
        }
        Ok(())
    }

    /// A client begins to want something.
    pub(crate) fn wish(&mut self, wish: Wish) -> Result<(), Failure> {
        self.numbers += 1;
        self.wishes.insert(self.numbers, wish);
        self.ask(self.numbers)
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers + 1
    }

    /// A client gives its server what it wants accepted, for the first time or again.
    pub(crate) fn ask(&mut self, number: u64) -> Result<(), Failure> {
        let Some(wish) = self.wishes.get_mut(&number).filter(|wish| !wish.asked) else {
            return Ok(());
        };
        let site = wish.site;
        let Some(server) = self.servers.iter_mut().find(|server| server.site == site) else {
            return Ok(());
        };
        let envelope = wish.envelope(server.clock.as_ref());
        // The message server does not take what the device has no grant for.
        if wish.kind == MessageKind::Upload
            && server.process.is_some()
            && server.has_withdrawn(&wish.source.principal, &wish.destination)?
        {
            self.wishes.remove(&number);
            return Ok(());
        }
        let Some(process) = &mut server.process else {
            return Ok(());
        };
        wish.asked = true;
        let id = envelope.id;
        self.oracle.sent(
            id,
            Sent {
                kind: wish.kind,
                origin: site,
                source: site.home.whole(&wish.source),
                destination: site.home.whole(&wish.destination),
                sender_id: wish.sender_id.clone(),
                short_lived: wish.lifetime < Duration::from_secs(3600),
                refused: wish.data == REFUSED,
            },
        );
        self.numbers += 1;
        let token = self.numbers;
        self.asked.insert((site, token), Asked::Wish { number, id });
        let sink = Arc::clone(&process.told) as Arc<dyn AcceptSink>;
        process.courier.accept(envelope, wish.hop.clone(), sink, token);
        if self.fault == Some(Fault::EarlyAck) {
            self.told(site, token, Ok(Accepted { id, duplicate: false }))?;
        }
        Ok(())
    }

    /// An operator takes up a dead letter: sends it again, or discards it.
    pub(crate) fn operate(&mut self, place: usize) -> Result<(), Failure> {
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(());
        };
        let letters = server.dead_letters()?;
        let (Some(id), Some(process)) = (letters.get(self.dice.place(letters.len())), &mut server.process)
        else {
            return Ok(());
        };
        self.oracle.operates(*id);
        if self.dice.chance(700) {
            let expires = server.clock.now().wall.plus(self.plan.lifetime_max());
            process.courier.retry_dead(*id, expires);
        } else {
            process.courier.discard_dead(*id);
        }
        Ok(())
    }

    /// Every server begins anew and sweeps: what it then remembers is bounded.
    pub(crate) fn check_memory(&mut self) -> Result<(), Failure> {
        for place in 0..self.servers.len() {
            self.crash(place)?;
            self.start(place)?;
            self.commit(place)?;
            if let Some(server) = self.servers.get(place) {
                self.oracle.remembers(server.site, server.remembered()?)?;
            }
        }
        Ok(())
    }

    /// A frame that has arrived is given to its server, or lost with its process.
    pub(crate) fn receive(&mut self, place: usize) -> Result<bool, Failure> {
        let now = self.time.passed();
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(false);
        };
        if server
            .process
            .as_ref()
            .is_some_and(|process| !process.courier.takes_frames())
        {
            return Ok(false);
        }
        let Some(frame) = self.bus.arrive(server.site, now, self.quiet) else {
            return Ok(false);
        };
        let site = server.site;
        let Some(process) = &mut server.process else {
            return Ok(true);
        };
        for item in wire::items(frame.clone())? {
            match item {
                Item::Hello { from } => self.oracle.heard(site, site.home.at(from)),
                Item::Answer { from, id, .. } => self.oracle.answer_arrives(site, site.home.at(from), id),
                Item::Deliver { .. } | Item::Ask { .. } | Item::Reply { .. } => {}
            }
        }
        process.courier.incoming(Incoming::Frame(frame));
        self.look(place)?;
        Ok(true)
    }

    /// A process that is gone begins again; one that runs finds the bus again.
    pub(crate) fn start_or_attach(&mut self, place: usize) -> Result<(), Failure> {
        if self
            .servers
            .get(place)
            .is_some_and(|server| server.process.is_none())
        {
            self.start(place)
        } else if self.dice.chance(100) {
            self.attach(place)
        } else {
            Ok(())
        }
    }

    /// A server finds the bus again.
    fn attach(&mut self, place: usize) -> Result<(), Failure> {
        if let Some(server) = self.servers.get_mut(place)
            && let Some(process) = &mut server.process
        {
            for other in Name::ALL {
                self.oracle.heard(server.site, server.site.home.at(other));
            }
            process.courier.incoming(Incoming::Attached);
        }
        self.look(place)
    }

    pub(crate) fn commit(&mut self, place: usize) -> Result<(), Failure> {
        if let Some(server) = self.servers.get_mut(place) {
            server.commit()?;
        }
        self.look(place)
    }

    /// The commit is on disk, and the process is gone before anybody hears of it.
    pub(crate) fn commit_and_crash(&mut self, place: usize) -> Result<(), Failure> {
        if let Some(server) = self.servers.get_mut(place) {
            server.commit()?;
        }
        self.crash(place)
    }

    pub(crate) fn event(&mut self, place: usize) -> Result<bool, Failure> {
        let process = self
            .servers
            .get_mut(place)
            .and_then(|server| server.process.as_mut());
        let moved = process.is_some_and(|process| process.courier.next_event());
        self.look(place)?;
        Ok(moved)
    }

    pub(crate) fn read(&mut self, place: usize) -> Result<(), Failure> {
        if let Some(server) = self.servers.get_mut(place) {
            server.read();
        }
        Ok(())
    }

    pub(crate) fn next_read(&mut self, place: usize) -> Result<bool, Failure> {
        let process = self
            .servers
            .get_mut(place)
            .and_then(|server| server.process.as_mut());
        let moved = process.is_some_and(|process| process.courier.next_read());
        self.look(place)?;
        Ok(moved)
    }

    /// The timer, if it is due.
    pub(crate) fn timer(&mut self, place: usize) -> Result<bool, Failure> {
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(false);
        };
        let now = server.now().instant;
        let Some(process) = &mut server.process else {
            return Ok(false);
        };
        let due = process.courier.next_wake().is_some_and(|wake| wake <= now);
        if due {
            process.courier.timer();
        }
        self.look(place)?;
        Ok(due)
    }

    /// A clock jumps.
    pub(crate) fn jump(&mut self, place: usize) {
        let off_ms = off(&self.plan, &mut self.dice);
        if let Some(server) = self.servers.get(place) {
            server.clock.jump(off_ms);
        }
    }
}

/// How far off a clock is from now on.
fn off(plan: &Plan, dice: &mut Dice) -> i64 {
    let max_ms = i64::try_from(plan.clocks.off_max().as_millis()).unwrap_or(0);
    let throw = dice.range(0, 2 * max_ms.unsigned_abs());
    let off_ms = i64::try_from(throw).unwrap_or(0) - max_ms;
    // Small jumps matter as much as great ones.
    off_ms / dice.pick([1, 60, 3600])
}
