//! What happens in the domains themselves: account servers change something, devices come, answer and go.

use std::sync::Arc;

use bytes::Bytes;
use irsp_courier::store::Tx;
use irsp_courier::{AcceptSink, Clock as _, Hop};
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Address, Envelope, MessageKind, Principal, Server as Name};

use crate::change::{Change, Order};
use crate::client::{APPLICATIONS, principal};
use crate::fault::Fault;
use crate::home::Home;
use crate::world::{Asked, Failure, World};

impl World {
    /// An account server changes something and tells the others in the same transaction; of a deletion the other domains
    /// as well.
    pub(crate) fn change(&mut self) {
        let nth = self.dice.place(self.devices.len());
        let Some((home, device)) = self
            .devices
            .get(nth)
            .map(|device| (device.home, device.principal.clone()))
        else {
            return;
        };
        let order = self.order(home, device);
        let peers: Vec<Home> = Home::all(self.plan.domains)
            .filter(|peer| *peer != home)
            .collect();
        let untold = self.fault == Some(Fault::Untold);
        let lifetime = self.plan.settings.seen_retention / 2;
        let place = self.place(home.at(Name::Account));
        let Some(server) = self.servers.get_mut(place) else {
            return;
        };
        let clock = Arc::clone(&server.clock);
        let Some(process) = &mut server.process else {
            return;
        };
        let change = move |tx: &mut Tx<'_>| {
            let number: i64 = tx.sql().query_row(
                "INSERT INTO change (n) SELECT coalesce(max(n), 0) + 1 FROM change RETURNING n",
                [],
                |row| row.get(0),
            )?;
            let change = Change {
                number,
                order: order.clone(),
            };
            let now = tx.now();
            let notice = |source: Principal, destination: Address| Envelope {
                id: clock.new_id(),
                kind: MessageKind::Directory,
                source: Address::local(source),
                destination,
                channel: None,
                time: now,
                expires: now.plus(lifetime),
                sender_id: None,
                content_type: None,
                options: irsp_protocol::PushOptions::default(),
                attributes: Vec::new(),
                data: Bytes::from(change.to_string()),
            };
            if let Some(Order::Delete(device)) = &order {
                tx.sql()
                    .execute("INSERT INTO deleted (n) VALUES (?1)", [number])?;
                for peer in peers.iter().skip(usize::from(untold)) {
                    let to = peer.seen_from(home, Principal::server(Name::App));
                    tx.accept(notice(device.clone(), to), Hop::Server(Name::Message))?;
                }
            }
            for to in [Name::Message, Name::App] {
                let envelope = notice(
                    Principal::server(Name::Account),
                    Address::local(Principal::server(to)),
                );
                tx.accept(envelope, Hop::Server(to))?;
            }
            Ok(())
        };
        // The admin does not wait for the answer: what is committed has to arrive whoever was told.
        drop(process.courier.write(change));
    }

    /// What is changed about a device, if anything.
    fn order(&mut self, home: Home, device: Principal) -> Option<Order> {
        let abroad = self.plan.domains > 1;
        match self.dice.range(0, 99) {
            0..=19 => Some(Order::Reset(device)),
            20..=39 if abroad => Some(Order::Delete(device)),
            40..=69 if abroad => {
                let peer = (home.0 + 1 + self.dice.place(self.plan.domains - 1)) % self.plan.domains;
                let app = Home(peer).seen_from(home, principal(self.dice.pick(APPLICATIONS)));
                let withdraw = self.dice.chance(600);
                if withdraw {
                    self.oracle
                        .withdrawn(home.whole(&Address::local(device.clone())), app.clone());
                }
                Some(match withdraw {
                    true => Order::Withdraw { device, from: app },
                    false => Order::Grant { device, to: app },
                })
            }
            _ => None,
        }
    }

    /// Where the message server of a device stands.
    fn message_of(&self, device: usize) -> usize {
        let home = self.devices.get(device).map_or(Home(0), |device| device.home);
        self.place(home.at(Name::Message))
    }

    pub(crate) fn connect(&mut self, place: usize) -> Result<(), Failure> {
        let message = self.message_of(place);
        if let Some(device) = self.devices.get_mut(place)
            && let Some(process) = self
                .servers
                .get_mut(message)
                .and_then(|server| server.process.as_mut())
        {
            device.present = true;
            device.given.clear();
            self.oracle.session_begins(device.home, &device.principal);
            process.courier.present(device.hop());
        }
        self.look(message)
    }

    pub(crate) fn disconnect(&mut self, place: usize) -> Result<(), Failure> {
        let message = self.message_of(place);
        if let Some(device) = self.devices.get_mut(place).filter(|device| device.present)
            && let Some(process) = self
                .servers
                .get_mut(message)
                .and_then(|server| server.process.as_mut())
        {
            device.present = false;
            device.given.clear();
            self.oracle.session_ends(device.home, &device.principal);
            process.courier.absent(device.hop());
        }
        self.look(message)
    }

    /// A device answers one of the pushes it was given.
    pub(crate) fn answer(&mut self, place: usize, nth: usize) -> Result<(), Failure> {
        let message = self.message_of(place);
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
            self.oracle.answering(device.home, &device.principal, id);
            self.numbers += 1;
            let asked = Asked::Answer {
                device: place,
                id,
                code,
            };
            self.asked
                .insert((device.home.at(Name::Message), self.numbers), asked);
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
}
