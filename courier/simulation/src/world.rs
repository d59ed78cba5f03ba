//! The world: three servers, their clients, the bus and time, one random step after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use irsp_courier::bus::Incoming;
use irsp_courier::store::{StoreError, Tx};
use irsp_courier::{AcceptSink, Accepted, Clock as _, Hop};
use irsp_protocol::frame::{FrameError, Item};
use irsp_protocol::receipt::{Answer, Ending};
use irsp_protocol::{Address, Envelope, MessageId, MessageKind, Principal, Status};
use thiserror::Error;

use crate::bus::Bus;
use crate::client::{Device, Wish, principal};
use crate::clock::{SimClock, Time};
use crate::dice::Dice;
use crate::fault::Fault;
use crate::oracle::{End, Oracle, Rule, Sending, Sent, Violation};
use crate::plan::Plan;
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
}

/// What a token stands for.
#[derive(Clone, Debug)]
enum Asked {
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
    /// No more faults: everything is to end.
    pub(crate) quiet: bool,
    fault: Option<Fault>,
    asked: BTreeMap<(Name, u64), Asked>,
    numbers: u64,
    /// For [`Fault::Once`].
    sent_once: BTreeSet<(Name, Name, MessageId)>,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Result<World, Failure> {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(&mut dice);
        let time = Time::new();
        let mut settings = plan.settings.clone();
        match fault {
            Some(Fault::Wide) => {
                settings.server_window *= 8;
                settings.principal_window *= 8;
            }
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
            Some(_) | None => {}
        }
        let mut servers = Vec::new();
        for name in Name::ALL {
            let drift = i64::try_from(dice.range(0, 2 * plan.drift_max.unsigned_abs())).unwrap_or(0);
            let clock = SimClock::new(Arc::clone(&time), drift - plan.drift_max, off(&plan, &mut dice));
            servers.push(Server::new(name, clock, &plan, settings.clone(), fault)?);
        }
        let devices = ["dev/lamp-1", "dev/lamp-2", "dev/lock"].map(|name| Device {
            principal: principal(name),
            present: false,
            given: Vec::new(),
        });
        let bus = Bus::new(dice.part());
        let mut world = World {
            oracle: Oracle::new(plan.clone()),
            plan,
            dice,
            time,
            servers,
            devices: devices.into(),
            wishes: BTreeMap::new(),
            bus,
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

    pub(crate) fn place(&self, name: Name) -> usize {
        self.servers
            .iter()
            .position(|server| server.name == name)
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
            self.oracle.restarted(server.name);
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
        let name = server.name;
        self.oracle.restarted(name);
        self.asked.retain(|(asked, _), _| *asked != name);
        // Without an id of its own a client cannot repeat what it does not know to be refused.
        self.wishes
            .retain(|_, wish| wish.server != name || !wish.asked || wish.sender_id.is_some());
        for wish in self.wishes.values_mut().filter(|wish| wish.server == name) {
            wish.asked = false;
        }
        if name == Name::Message {
            for device in &mut self.devices {
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
                format!("{} at {}: {ledger:?}", ledger.residue(), server.name),
            )?);
        }
        for id in self.oracle.held_by(server.name) {
            if let Some(receipt) = server.receipt(id)?
                && receipt.status != Status::QUEUED
            {
                let end = End {
                    status: receipt.status,
                    answer: receipt.answer,
                };
                self.oracle.ended(server.name, id, end, false)?;
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
        let name = wish.server;
        let Some(server) = self.servers.iter_mut().find(|server| server.name == name) else {
            return Ok(());
        };
        let envelope = wish.envelope(server.clock.as_ref());
        let Some(process) = &mut server.process else {
            return Ok(());
        };
        wish.asked = true;
        let id = envelope.id;
        self.oracle.sent(
            id,
            Sent {
                kind: wish.kind,
                server: name,
                source: wish.source.clone(),
                destination: wish.destination.clone(),
                sender_id: wish.sender_id.clone(),
                short_lived: wish.lifetime < Duration::from_secs(3600),
                refused: wish.data == crate::role::REFUSED,
            },
        );
        self.numbers += 1;
        let token = self.numbers;
        self.asked.insert((name, token), Asked::Wish { number, id });
        let sink = Arc::clone(&process.told) as Arc<dyn AcceptSink>;
        process.courier.accept(envelope, wish.hop.clone(), sink, token);
        if self.fault == Some(Fault::EarlyAck) {
            self.told(name, token, Ok(Accepted { id, duplicate: false }))?;
        }
        Ok(())
    }

    /// The account server changes something and tells the others in the same transaction.
    pub(crate) fn change(&mut self) {
        let reset = if self.dice.chance(300) {
            let place = self.dice.place(self.devices.len());
            self.devices.get(place).map(|device| device.principal.to_string())
        } else {
            None
        };
        let place = self.place(Name::Account);
        let lifetime = self.plan.settings.seen_retention / 2;
        if let Some(server) = self.servers.get_mut(place)
            && let Some(process) = &mut server.process
        {
            let clock = Arc::clone(&server.clock);
            let reset = reset.unwrap_or_default();
            let change = move |tx: &mut Tx<'_>| {
                let number: i64 = tx.sql().query_row(
                    "INSERT INTO change (n) SELECT coalesce(max(n), 0) + 1 FROM change RETURNING n",
                    [],
                    |row| row.get(0),
                )?;
                for to in [Name::Message, Name::App] {
                    let now = tx.now();
                    let envelope = Envelope {
                        id: clock.new_id(),
                        kind: MessageKind::Directory,
                        source: Address::local(Principal::server(Name::Account)),
                        destination: Address::local(Principal::server(to)),
                        channel: None,
                        time: now,
                        expires: now.plus(lifetime),
                        sender_id: None,
                        content_type: None,
                        options: irsp_protocol::PushOptions::default(),
                        attributes: Vec::new(),
                        data: Bytes::from(format!("{number} {reset}")),
                    };
                    tx.accept(envelope, Hop::Server(to))?;
                }
                Ok(())
            };
            // The admin does not wait for the answer: what is committed has to arrive whoever was told.
            drop(process.courier.write(change));
        }
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
                self.oracle.remembers(server.name, server.remembered()?)?;
            }
        }
        Ok(())
    }

    pub(crate) fn connect(&mut self, place: usize) -> Result<(), Failure> {
        let message = self.place(Name::Message);
        if let Some(device) = self.devices.get_mut(place)
            && let Some(process) = self
                .servers
                .get_mut(message)
                .and_then(|server| server.process.as_mut())
        {
            device.present = true;
            device.given.clear();
            self.oracle.session_begins(&device.principal);
            process.courier.present(device.hop());
        }
        self.look(message)
    }

    pub(crate) fn disconnect(&mut self, place: usize) -> Result<(), Failure> {
        let message = self.place(Name::Message);
        if let Some(device) = self.devices.get_mut(place).filter(|device| device.present)
            && let Some(process) = self
                .servers
                .get_mut(message)
                .and_then(|server| server.process.as_mut())
        {
            device.present = false;
            device.given.clear();
            self.oracle.session_ends(&device.principal);
            process.courier.absent(device.hop());
        }
        self.look(message)
    }

    /// A device answers one of the pushes it was given.
    pub(crate) fn answer(&mut self, place: usize, nth: usize) -> Result<(), Failure> {
        let message = self.place(Name::Message);
        let code = self.dice.pick([200, 204, 500]);
        if let Some(device) = self
            .devices
            .get_mut(place)
            .filter(|device| nth < device.given.len())
            && let Some(process) = self
                .servers
                .get_mut(message)
                .and_then(|server| server.process.as_mut())
        {
            let id = device.given.remove(nth);
            self.oracle.answering(&device.principal, id);
            self.numbers += 1;
            let asked = Asked::Answer {
                device: place,
                id,
                code,
            };
            self.asked.insert((Name::Message, self.numbers), asked);
            let answer = Answer {
                code,
                body: Bytes::new(),
            };
            let sink = Arc::clone(&process.told) as Arc<dyn AcceptSink>;
            process
                .courier
                .answered(device.hop(), id, answer, sink, self.numbers);
        }
        self.look(message)
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
        let Some(frame) = self.bus.arrive(server.name, now, self.quiet) else {
            return Ok(false);
        };
        let Some(process) = &mut server.process else {
            return Ok(true);
        };
        for item in wire::items(frame.clone())? {
            match item {
                Item::Hello { from } => self.oracle.heard(server.name, from),
                Item::Answer { from, id, .. } => self.oracle.answer_arrives(server.name, from, id),
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
                self.oracle.heard(server.name, other);
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

    /// Takes what a process has said to the bus, its clients and its role.
    fn look(&mut self, place: usize) -> Result<(), Failure> {
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(());
        };
        let (name, now) = (server.name, server.now().instant);
        let Some(process) = &mut server.process else {
            return Ok(());
        };
        let mut frames = Vec::new();
        while let Some(frame) = process.courier.next_frame() {
            frames.push(frame);
        }
        let (heard, told) = (process.shop.heard(), process.told.take());
        for ended in heard.ended {
            let end = End {
                status: ended.status,
                answer: ended.answer,
            };
            self.oracle.ended(name, ended.envelope.id, end, true)?;
        }
        let mut delivered = heard.delivered;
        if self.fault == Some(Fault::Shuffled) {
            delivered.reverse();
        }
        for (to, envelope) in delivered {
            self.oracle.given(&to, envelope.id, envelope.data.len())?;
            if let Some(device) = self.devices.iter_mut().find(|device| device.principal == to) {
                device.given.push(envelope.id);
            }
        }
        for (to, frame) in frames {
            let mut items = wire::items(frame)?;
            self.spoil(name, to, &mut items);
            for item in &items {
                if let Item::Deliver { place, envelope, .. } = item {
                    let sending = Sending {
                        id: envelope.id,
                        seq: place.seq,
                        bytes: envelope.data.len(),
                    };
                    self.oracle.delivering(name, to, sending, now)?;
                }
            }
            let plan = (!self.quiet).then_some(&self.plan);
            self.bus.send(to, wire::frame(&items), self.time.passed(), plan);
        }
        for (token, result) in told {
            self.told(name, token, result)?;
        }
        Ok(())
    }

    fn told(&mut self, name: Name, token: u64, result: Result<Accepted, Status>) -> Result<(), Failure> {
        match (self.asked.remove(&(name, token)), result) {
            (Some(Asked::Wish { number, id }), Ok(accepted)) => {
                self.wishes.remove(&number);
                if !accepted.duplicate && accepted.id != id {
                    let what = format!("{id} was accepted as {}", accepted.id);
                    return Ok(self.oracle.broken(Rule::Disagreement, what)?);
                }
                self.oracle.acked(accepted.id);
            }
            (Some(Asked::Wish { number, .. }), Err(_)) => {
                if let Some(wish) = self.wishes.get_mut(&number) {
                    wish.asked = false;
                }
            }
            (Some(Asked::Answer { id, code, .. }), Ok(accepted)) => {
                if !accepted.duplicate {
                    self.oracle.answered(id, code)?;
                }
            }
            // The device has not heard that its answer is stored, and gives it again.
            (Some(Asked::Answer { device, id, .. }), Err(status)) if status != Status::NOT_FOUND => {
                if let Some(device) = self.devices.get_mut(device).filter(|device| device.present) {
                    device.given.push(id);
                }
            }
            (Some(Asked::Answer { .. }) | None, _) => {}
        }
        Ok(())
    }

    /// Faults of what goes over the bus.
    fn spoil(&mut self, from: Name, to: Name, items: &mut Vec<Item>) {
        match self.fault {
            Some(Fault::Once) => items.retain(|item| match item {
                Item::Deliver { envelope, .. } => self.sent_once.insert((from, to, envelope.id)),
                Item::Hello { .. } | Item::Answer { .. } | Item::Ask { .. } | Item::Reply { .. } => true,
            }),
            Some(Fault::Misreported) => {
                for item in items {
                    if let Item::Deliver { envelope, .. } = item
                        && envelope.kind == MessageKind::Status
                    {
                        envelope.data = misreported(&envelope.data);
                    }
                }
            }
            Some(_) | None => {}
        }
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

/// The end of another code.
fn misreported(data: &Bytes) -> Bytes {
    let spoilt = serde_json::from_slice::<Ending>(data)
        .ok()
        .and_then(|mut ending| {
            ending.status = Status::CONFLICT;
            serde_json::to_vec(&ending).ok()
        });
    spoilt.map_or_else(|| data.clone(), Bytes::from)
}
