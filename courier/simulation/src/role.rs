//! What the simulated servers do with what reaches them: effects that can be counted, custody, refusals and moods.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use irsp_courier::store::{Migration, StoreError, Tx};
use irsp_courier::{AcceptSink, Accepted, Ended, Hop, Received, ReplyFuture, Role};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Address, Domain, Envelope, MessageId, MessageKind, Principal, Server, Status};

use crate::change::{Change, Order};
use crate::dice::Dice;
use crate::home::Site;
use rusqlite::Connection;

pub(crate) static TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE effect (n INTEGER PRIMARY KEY, id BLOB NOT NULL) STRICT;
          CREATE TABLE change (n INTEGER PRIMARY KEY) STRICT;
          CREATE TABLE withdrawn (device TEXT NOT NULL, app TEXT NOT NULL, PRIMARY KEY (device, app)) STRICT;
          CREATE TABLE deleted (n INTEGER PRIMARY KEY) STRICT;
          CREATE TABLE gone (domain TEXT NOT NULL, n INTEGER NOT NULL) STRICT;",
}];

/// Data of a message that its receiver refuses.
pub(crate) const REFUSED: &[u8] = b"refused";

/// What a server was told by its courier since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) ended: Vec<Ended>,
    pub(crate) delivered: Vec<(Principal, Arc<Envelope>)>,
}

/// One process of a server.
#[derive(Debug)]
pub(crate) struct Shop {
    site: Site,
    /// Whether changes are taken in order without gaps.
    gapless: bool,
    /// Of a thousand effects.
    moods: AtomicU32,
    dice: Mutex<Dice>,
    heard: Mutex<Heard>,
    /// Effects outside the transaction, for [`Fault::Eager`](crate::Fault::Eager).
    eager: Option<Arc<Mutex<Vec<MessageId>>>>,
}

impl Shop {
    pub(crate) fn new(
        site: Site,
        gapless: bool,
        moods: u32,
        dice: Dice,
        eager: Option<Arc<Mutex<Vec<MessageId>>>>,
    ) -> Shop {
        Shop {
            site,
            gapless,
            moods: AtomicU32::new(moods),
            dice: Mutex::new(dice),
            heard: Mutex::default(),
            eager,
        }
    }

    /// No moods from now on.
    pub(crate) fn calm(&self) {
        self.moods.store(0, Ordering::Relaxed);
    }

    pub(crate) fn heard(&self) -> Heard {
        std::mem::take(&mut *lock(&self.heard))
    }

    /// A change of the account server; some end what waits.
    fn change(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let Some(change) = Change::read(&envelope.data) else {
            return Err(StoreError::refused(Status::MALFORMED, "no change"));
        };
        let last: i64 = tx
            .sql()
            .query_row("SELECT coalesce(max(n), 0) FROM change", [], |row| row.get(0))?;
        if change.number <= last {
            return Ok(Received::Ended(Status::DONE));
        }
        if self.gapless && change.number > last + 1 {
            return Ok(Received::Later);
        }
        tx.sql()
            .execute("INSERT INTO change (n) VALUES (?1)", [change.number])?;
        if let (Server::Message, Some(order)) = (self.site.server, change.order) {
            obey(tx, order)?;
        }
        Ok(Received::Ended(Status::DONE))
    }

    /// Another domain tells that a device of its is deleted.
    fn departure(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let change = Change::read(&envelope.data);
        let (Some(change), Some(domain)) = (change, &envelope.source.domain) else {
            return Err(StoreError::refused(Status::MALFORMED, "no departure"));
        };
        tx.sql().execute(
            "INSERT INTO gone (domain, n) VALUES (?1, ?2)",
            (domain.as_str(), change.number),
        )?;
        self.moody(Received::Ended(Status::DONE))
    }

    fn effect(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        match &self.eager {
            Some(effects) => lock(effects).push(envelope.id),
            None => {
                tx.sql()
                    .prepare_cached("INSERT INTO effect (id) VALUES (?1)")?
                    .execute([&envelope.id.as_bytes()[..]])?;
            }
        }
        // Whatever was begun above has to vanish with these.
        if envelope.data == REFUSED {
            return Err(StoreError::refused(Status::CONFLICT, "refused"));
        }
        self.moody(Received::Ended(Status::DONE))
    }

    /// What is to be answered, or a passing fault.
    fn moody(&self, well: Received) -> Result<Received, StoreError> {
        let mut dice = lock(&self.dice);
        if !dice.chance(self.moods.load(Ordering::Relaxed)) {
            Ok(well)
        } else if dice.chance(500) {
            Ok(Received::Later)
        } else {
            Err(StoreError::Corrupt("a passing fault".to_owned()))
        }
    }
}

impl Role for Shop {
    fn receive(&self, tx: &mut Tx<'_>, _from: Server, envelope: &Envelope) -> Result<Received, StoreError> {
        if let Some(domain) = &envelope.destination.domain {
            return self.moody(Received::Forward(Hop::Peer(domain.clone())));
        }
        match envelope.kind {
            MessageKind::Push => self.moody(Received::Forward(Hop::Principal(
                envelope.destination.principal.clone(),
            ))),
            MessageKind::Directory if envelope.source.domain.is_some() => self.departure(tx, envelope),
            MessageKind::Directory => self.change(tx, envelope),
            MessageKind::Upload | MessageKind::Message | MessageKind::Status | MessageKind::Presence => {
                self.effect(tx, envelope)
            }
        }
    }

    /// As the message server does (`broker/src/role.rs`): a push needs the device's grant, the rest goes on to the
    /// application server.
    fn receive_from_peer(
        &self,
        tx: &mut Tx<'_>,
        _peer: &Domain,
        envelope: &Envelope,
    ) -> Result<Received, StoreError> {
        let to = &envelope.destination.principal;
        match envelope.kind {
            MessageKind::Push if is_withdrawn(tx.sql(), to, &envelope.source)? => {
                Ok(Received::Ended(Status::FORBIDDEN))
            }
            MessageKind::Push => self.moody(Received::Forward(Hop::Principal(to.clone()))),
            MessageKind::Upload | MessageKind::Message | MessageKind::Presence | MessageKind::Directory => {
                self.moody(Received::Forward(Hop::Server(Server::App)))
            }
            MessageKind::Status => Ok(Received::Ended(Status::MALFORMED)),
        }
    }

    fn received(&self, _envelope: Envelope, _outcome: &Received) {}

    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        let given = envelopes.into_iter().map(|envelope| (to.clone(), envelope));
        lock(&self.heard).delivered.extend(given);
    }

    fn ended(&self, ended: Ended) {
        lock(&self.heard).ended.push(ended);
    }

    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

/// What a change does at the message server (`broker/src/directory.rs`).
fn obey(tx: &mut Tx<'_>, order: Order) -> Result<(), StoreError> {
    match order {
        Order::Reset(device) => tx.end_hop(&Hop::Principal(device), Status::FORBIDDEN).map(drop),
        Order::Delete(device) => tx.end_hop(&Hop::Principal(device), Status::DELETED).map(drop),
        Order::Withdraw { device, from } => {
            tx.sql().execute(
                "INSERT OR IGNORE INTO withdrawn (device, app) VALUES (?1, ?2)",
                (device.to_string(), from.to_string()),
            )?;
            if let Some(domain) = from.domain.clone() {
                let source = Address::local(device.clone());
                tx.end_from(&Hop::Peer(domain), &source, Some(&from), Status::FORBIDDEN)?;
            }
            tx.end_from(&Hop::Principal(device), &from, None, Status::FORBIDDEN)
                .map(drop)
        }
        Order::Grant { device, to } => {
            tx.sql().execute(
                "DELETE FROM withdrawn WHERE device = ?1 AND app = ?2",
                (device.to_string(), to.to_string()),
            )?;
            Ok(())
        }
    }
}

/// Whether an application of another domain may neither hear a device nor push to it.
pub(crate) fn is_withdrawn(sql: &Connection, device: &Principal, app: &Address) -> Result<bool, StoreError> {
    let found = sql
        .prepare_cached("SELECT 1 FROM withdrawn WHERE device = ?1 AND app = ?2")?
        .exists((device.to_string(), app.to_string()))?;
    Ok(found)
}

/// What callers were told by one process.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<(u64, Result<Accepted, Status>)>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<(u64, Result<Accepted, Status>)> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl AcceptSink for Told {
    fn settled(&self, token: u64, result: Result<Accepted, Status>) {
        lock(&self.0).push((token, result));
    }
}

/// One thread: nobody else holds it, and no panic is caught halfway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
