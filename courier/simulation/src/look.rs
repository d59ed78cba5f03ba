//! What a process has said: the oracle hears it, faults change it, and it goes its way.

use std::time::Instant;

use bytes::Bytes;
use irsp_courier::Accepted;
use irsp_protocol::frame::Item;
use irsp_protocol::peer_link::{self, Part};
use irsp_protocol::receipt::Ending;
use irsp_protocol::{MessageKind, Server as Name, Status};

use crate::fault::Fault;
use crate::home::Site;
use crate::link::Standing;
use crate::oracle::{End, Rule, Sending};
use crate::wire;
use crate::world::{Asked, Failure, World};

impl World {
    /// Takes what a process has said to the bus, its clients and its role.
    pub(crate) fn look(&mut self, place: usize) -> Result<(), Failure> {
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(());
        };
        let (site, now) = (server.site, server.now().instant);
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
            self.oracle.ended(site, ended.envelope.id, end, true)?;
        }
        let mut delivered = heard.delivered;
        if self.fault == Some(Fault::Shuffled) {
            delivered.reverse();
        }
        for (to, envelope) in delivered {
            self.oracle
                .given(site.home, &to, envelope.id, envelope.data.len())?;
            let mut devices = self.devices.iter_mut();
            if let Some(device) = devices.find(|device| device.home == site.home && device.principal == to) {
                device.given.push(envelope.id);
            }
        }
        for (to, frame) in frames {
            let to = site.home.at(to);
            let frame = self.passes(site, to, frame, now)?;
            let plan = (!self.quiet).then_some(&self.plan);
            self.bus.send(to, frame, self.time.passed(), plan);
        }
        if site.server == Name::Message {
            self.look_abroad(place, now)?;
        }
        for (token, result) in told {
            self.told(site, token, result)?;
        }
        Ok(())
    }

    /// Takes what a message server has said to other domains.
    fn look_abroad(&mut self, place: usize, now: Instant) -> Result<(), Failure> {
        let mut said = Vec::new();
        let Some(server) = self.servers.get_mut(place) else {
            return Ok(());
        };
        let site = server.site;
        let Some(process) = &mut server.process else {
            return Ok(());
        };
        for (link, found) in self.links.iter_mut().enumerate() {
            for (end, own) in found.ends.iter_mut().enumerate() {
                if let Standing::Open(port) = &mut own.standing
                    && own.home == site.home
                {
                    while let Some(frame) = process.courier.next_peer_frame(port) {
                        said.push((link, 1 - end, frame));
                    }
                }
            }
        }
        for (link, end, frame) in said {
            let Some(to) = self.links.get(link).map(|link| link.ends[end].home) else {
                continue;
            };
            let frame = self.passes(site, to.at(Name::Message), frame, now)?;
            if let Some(link) = self.links.get_mut(link)
                && !link.is_cut
                && !matches!(link.ends[end].standing, Standing::Closed)
                && !(self.mute.contains(&site.home) && self.dice.chance(self.plan.unheard))
            {
                peer_link::write(&Part::Items(frame), &mut link.ends[end].coming)?;
                if !self.quiet && self.dice.chance(self.plan.cuts) {
                    link.cut(&mut self.dice);
                }
            }
        }
        Ok(())
    }

    /// The oracle sees a frame go by, and a fault may change it.
    fn passes(&mut self, from: Site, to: Site, frame: Bytes, now: Instant) -> Result<Bytes, Failure> {
        let mut items = wire::items(frame)?;
        self.spoil(from, to, &mut items);
        for item in &items {
            if let Item::Deliver { place, envelope, .. } = item {
                let sending = Sending {
                    id: envelope.id,
                    seq: place.seq,
                    bytes: envelope.data.len(),
                };
                self.oracle.delivering(from, to, sending, now)?;
            }
        }
        Ok(wire::frame(&items))
    }

    pub(crate) fn told(
        &mut self,
        site: Site,
        token: u64,
        result: Result<Accepted, Status>,
    ) -> Result<(), Failure> {
        match (self.asked.remove(&(site, token)), result) {
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
    fn spoil(&mut self, from: Site, to: Site, items: &mut Vec<Item>) {
        match self.fault {
            Some(Fault::Once) => items.retain(|item| match item {
                Item::Deliver { envelope, .. } => self.sent_once.insert((from, to, envelope.id)),
                Item::Hello { .. } | Item::Answer { .. } | Item::Ask { .. } | Item::Reply { .. } => true,
            }),
            Some(fault @ (Fault::Misreported | Fault::Estranged))
                if fault == Fault::Misreported || from.home != to.home =>
            {
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
