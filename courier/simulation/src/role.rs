//! What the simulated servers do with what reaches them: effects that can be counted, custody, refusals and moods.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use irsp_courier::store::{Migration, StoreError, Tx};
use irsp_courier::{AcceptSink, Accepted, Ended, Hop, Received, ReplyFuture, Role};
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Envelope, MessageId, MessageKind, Principal, Server, Status};

use crate::dice::Dice;

pub(crate) static TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE effect (n INTEGER PRIMARY KEY, id BLOB NOT NULL) STRICT;
          CREATE TABLE change (n INTEGER PRIMARY KEY) STRICT;",
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
    server: Server,
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
        server: Server,
        gapless: bool,
        moods: u32,
        dice: Dice,
        eager: Option<Arc<Mutex<Vec<MessageId>>>>,
    ) -> Shop {
        Shop {
            server,
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

    /// A change of the account server; some end what waits for a device.
    fn change(&self, tx: &mut Tx<'_>, envelope: &Envelope) -> Result<Received, StoreError> {
        let text = String::from_utf8_lossy(&envelope.data);
        let (number, reset) = text.split_once(' ').unwrap_or((&text, ""));
        let malformed = |_| StoreError::refused(Status::MALFORMED, "no change");
        let number: i64 = number.parse().map_err(malformed)?;
        let last: i64 = tx
            .sql()
            .query_row("SELECT coalesce(max(n), 0) FROM change", [], |row| row.get(0))?;
        if number <= last {
            return Ok(Received::Ended(Status::DONE));
        }
        if self.gapless && number > last + 1 {
            return Ok(Received::Later);
        }
        tx.sql().execute("INSERT INTO change (n) VALUES (?1)", [number])?;
        if let (Server::Message, Ok(device)) = (self.server, reset.parse()) {
            tx.end_hop(&Hop::Principal(device), Status::FORBIDDEN)?;
        }
        Ok(Received::Ended(Status::DONE))
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
        match envelope.kind {
            MessageKind::Push => self.moody(Received::Forward(Hop::Principal(
                envelope.destination.principal.clone(),
            ))),
            MessageKind::Directory => self.change(tx, envelope),
            MessageKind::Upload | MessageKind::Message | MessageKind::Status | MessageKind::Presence => {
                self.effect(tx, envelope)
            }
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
