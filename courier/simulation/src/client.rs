//! Clients of the servers: what they want accepted, until they are told that it is, and devices with their sessions.

use std::time::Duration;

use bytes::Bytes;
use irsp_courier::Hop;
use irsp_protocol::{Address, Envelope, MessageKind, Principal, Server};

use crate::dice::Dice;
use crate::home::{Home, Site};
use crate::plan::Plan;
use crate::role::REFUSED;

/// Of each domain.
pub(crate) const APPLICATIONS: [&str; 2] = ["app/climate", "app/alarm"];

/// What a client wants accepted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) site: Site,
    pub(crate) kind: MessageKind,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) hop: Hop,
    /// Only with an id of its own does a client try again.
    pub(crate) sender_id: Option<String>,
    pub(crate) lifetime: Duration,
    pub(crate) data: Bytes,
    /// Asked for, and not yet told.
    pub(crate) asked: bool,
}

impl Wish {
    /// An upload of one of the devices, to an application of its own domain or of another.
    pub(crate) fn upload(dice: &mut Dice, plan: &Plan, device: &Device, number: u64) -> Wish {
        let home = plan.any_home(dice);
        let app = principal(dice.pick(APPLICATIONS));
        let destination = home.seen_from(device.home, app);
        let hop = match &destination.domain {
            Some(domain) => Hop::Peer(domain.clone()),
            None => Hop::Server(Server::App),
        };
        Wish {
            site: device.home.at(Server::Message),
            kind: MessageKind::Upload,
            source: Address::local(device.principal.clone()),
            destination,
            hop,
            sender_id: dice.chance(700).then(|| number.to_string()),
            lifetime: plan.lifetime(dice),
            data: what_is_said(dice),
            asked: false,
        }
    }

    /// A push to one of the devices: of an application at its server, or of a user at the message server.
    pub(crate) fn push(dice: &mut Dice, plan: &Plan, device: &Device, number: u64) -> Wish {
        let (site, source, hop) = if dice.chance(800) {
            let home = plan.any_home(dice);
            let hop = Hop::Server(Server::Message);
            (home.at(Server::App), dice.pick(APPLICATIONS), hop)
        } else {
            let hop = Hop::Principal(device.principal.clone());
            (device.home.at(Server::Message), "usr/ann", hop)
        };
        Wish {
            site,
            kind: MessageKind::Push,
            source: Address::local(principal(source)),
            destination: device.home.seen_from(site.home, device.principal.clone()),
            hop,
            sender_id: dice.chance(700).then(|| number.to_string()),
            lifetime: plan.lifetime(dice),
            data: Bytes::from_static(b"on"),
            asked: false,
        }
    }

    /// A message of an application to one of another domain.
    pub(crate) fn message(dice: &mut Dice, plan: &Plan, (from, to): (Home, Home), number: u64) -> Wish {
        let app = principal(dice.pick(APPLICATIONS));
        Wish {
            site: from.at(Server::App),
            kind: MessageKind::Message,
            source: Address::local(principal(dice.pick(APPLICATIONS))),
            destination: to.seen_from(from, app),
            hop: Hop::Server(Server::Message),
            sender_id: dice.chance(700).then(|| number.to_string()),
            lifetime: plan.lifetime(dice),
            data: what_is_said(dice),
            asked: false,
        }
    }

    /// The envelope a server makes of it.
    pub(crate) fn envelope(&self, clock: &dyn irsp_courier::Clock) -> Envelope {
        let now = clock.now().wall;
        Envelope {
            id: clock.new_id(),
            kind: self.kind,
            source: self.source.clone(),
            destination: self.destination.clone(),
            channel: None,
            time: now,
            expires: now.plus(self.lifetime),
            sender_id: self.sender_id.clone(),
            content_type: None,
            options: irsp_protocol::PushOptions::default(),
            attributes: Vec::new(),
            data: self.data.clone(),
        }
    }
}

/// A device; its session is at the message server.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) home: Home,
    pub(crate) principal: Principal,
    pub(crate) present: bool,
    /// Given in this session, in order, and not yet answered.
    pub(crate) given: Vec<irsp_protocol::MessageId>,
}

impl Device {
    pub(crate) fn hop(&self) -> Hop {
        Hop::Principal(self.principal.clone())
    }
}

fn what_is_said(dice: &mut Dice) -> Bytes {
    match dice.chance(50) {
        true => Bytes::from_static(REFUSED),
        false => Bytes::from_static(b"21"),
    }
}

/// A principal of the story.
pub(crate) fn principal(name: &'static str) -> Principal {
    match name.parse() {
        Ok(principal) => principal,
        // No name of the story is malformed; the message server's own is nobody's device.
        Err(_) => Principal::server(Server::Message),
    }
}
