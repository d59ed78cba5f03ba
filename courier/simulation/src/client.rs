//! Clients of the servers: what they want accepted, until they are told that it is, and devices with their sessions.

use std::time::Duration;

use bytes::Bytes;
use irsp_courier::Hop;
use irsp_protocol::{Address, Envelope, MessageKind, Principal, Server};

use crate::dice::Dice;
use crate::plan::Plan;
use crate::role::REFUSED;

/// What a client wants accepted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) server: Server,
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
    /// An upload of one of the devices.
    pub(crate) fn upload(dice: &mut Dice, plan: &Plan, device: &Principal, number: u64) -> Wish {
        let refused = dice.chance(50);
        Wish {
            server: Server::Message,
            kind: MessageKind::Upload,
            source: Address::local(device.clone()),
            destination: Address::local(principal(dice.pick(["app/climate", "app/alarm"]))),
            hop: Hop::Server(Server::App),
            sender_id: dice.chance(700).then(|| number.to_string()),
            lifetime: plan.lifetime(dice),
            data: if refused {
                Bytes::from_static(REFUSED)
            } else {
                Bytes::from_static(b"21")
            },
            asked: false,
        }
    }

    /// A push to one of the devices: of an application at its server, or of a user at the message server.
    pub(crate) fn push(dice: &mut Dice, plan: &Plan, device: &Principal, number: u64) -> Wish {
        let (server, source, hop) = if dice.chance(800) {
            let hop = Hop::Server(Server::Message);
            (Server::App, dice.pick(["app/climate", "app/alarm"]), hop)
        } else {
            (Server::Message, "usr/ann", Hop::Principal(device.clone()))
        };
        Wish {
            server,
            kind: MessageKind::Push,
            source: Address::local(principal(source)),
            destination: Address::local(device.clone()),
            hop,
            sender_id: dice.chance(700).then(|| number.to_string()),
            lifetime: plan.lifetime(dice),
            data: Bytes::from_static(b"on"),
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

/// A principal of the story.
pub(crate) fn principal(name: &'static str) -> Principal {
    match name.parse() {
        Ok(principal) => principal,
        // No name of the story is malformed; the message server's own is nobody's device.
        Err(_) => Principal::server(Server::Message),
    }
}
