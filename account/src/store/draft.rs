//! A transaction in the making: changes with their numbers, and at its end the audit line and the envelopes that tell
//! the followers. All of it commits together or not at all.

use std::net::IpAddr;

use irsp_courier::Hop;
use irsp_courier::store::{StoreError, Tx};
use irsp_protocol::change::{Cause, Change, ChangeBatch, Entity, EntityKey};
use irsp_protocol::departure::Departure;
use irsp_protocol::granted::Granted;
use irsp_protocol::{Address, Domain, Envelope, Id, MessageId, MessageKind, Principal, Server, Timestamp};
use rusqlite::Connection;

use super::{audit, deletion, entity, grant, granted, operation, version};
use crate::follower::FOLLOWERS;
use crate::refusal::Refusal;
use crate::settings::ADMIN;

/// Changes in one envelope: a large transaction does not make an envelope too large for the bus.
const BATCH: usize = 500;
/// An envelope ends before the change that would make it longer than this. Only one that is longer by itself (an
/// application that names thousands) makes a longer one, of some 4 MB at most; a frame on the bus may have 16 MiB.
const BATCH_BYTES: usize = 256 << 10;

/// Who asks for a change, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) who: Principal,
    /// `None` is the server itself, or a caller whose address the HTTP server did not tell.
    pub(crate) from: Option<IpAddr>,
}

/// What a committed transaction leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) changes: Vec<Change>,
    /// The envelopes under way, of all followers.
    pub(crate) envelopes: Vec<MessageId>,
}

impl Committed {
    /// The operation's number: that of its last change.
    pub(crate) fn operation(&self) -> Option<u64> {
        self.changes.last().map(|change| change.n)
    }
}

pub(crate) struct Draft<'a, 't> {
    tx: &'a mut Tx<'t>,
    last: u64,
    changes: Vec<Change>,
    stale: bool,
}

impl<'a, 't> Draft<'a, 't> {
    /// `stale`: the caller does not name the version that the target has.
    pub(crate) fn begin(tx: &'a mut Tx<'t>, stale: bool) -> Result<Draft<'a, 't>, StoreError> {
        let last = entity::last(tx.sql())?;
        Ok(Draft {
            tx,
            last,
            changes: Vec::new(),
            stale,
        })
    }

    /// Refuses a caller who names another version. Checked at the end at the latest: who may not do it, or does it to
    /// what is gone, hears that and no version. Earlier where what follows would tell more than the caller may know.
    pub(crate) fn expects_version(&self) -> Result<(), Refusal> {
        match self.stale {
            true => Err(Refusal::Stale),
            false => Ok(()),
        }
    }

    pub(crate) fn sql(&self) -> &Connection {
        self.tx.sql()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.tx.now()
    }

    /// Gives an entity a new state.
    pub(crate) fn put(&mut self, cause: Cause, state: Entity) -> Result<(), StoreError> {
        self.push(cause, state.key(), Some(state))
    }

    /// Deletes an entity.
    pub(crate) fn remove(&mut self, key: EntityKey) -> Result<(), StoreError> {
        self.push(Cause::Delete, key, None)
    }

    /// Begins after a restore: every entity is numbered anew, and every record gets a new version, above all that were
    /// given since the copy was taken. So followers miss something before the next change, ask for a snapshot, and it is
    /// newer than all they hold; and what callers hold of a record is no ETag of it any more.
    pub(crate) fn number_anew(&mut self, restored: Timestamp) -> Result<(), StoreError> {
        let micros = u64::try_from(restored.as_millis())
            .unwrap_or(0)
            .saturating_mul(1_000);
        let first = self.last.saturating_add(1).max(micros);
        self.last = entity::number_anew(self.tx.sql(), first)?;
        version::leap(self.tx.sql(), first)
    }

    fn push(&mut self, cause: Cause, key: EntityKey, state: Option<Entity>) -> Result<(), StoreError> {
        self.last += 1;
        let change = Change {
            n: self.last,
            cause,
            key,
            entity: state,
        };
        entity::put(self.tx.sql(), &change)?;
        self.changes.push(change);
        Ok(())
    }

    /// Whether nothing has changed so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Writes the audit line and puts the envelopes into the outbox.
    pub(crate) fn finish(self, mut line: audit::Line) -> Result<Committed, StoreError> {
        self.expects_version()?;
        let Draft { tx, changes, .. } = self;
        let now = tx.now();
        for change in &changes {
            match &change.key {
                EntityKey::Principal(principal) => {
                    line.targets.insert(principal.clone());
                }
                EntityKey::Binding { device, user } => {
                    let both = [Principal::device(device.clone()), Principal::user(user.clone())];
                    line.targets.extend(both);
                }
                EntityKey::Grant { principal, .. } => {
                    line.targets.insert(principal.clone());
                }
                EntityKey::TokenKey(_) | EntityKey::Peer(_) => {}
            }
        }
        audit::append(tx.sql(), now, &line)?;
        let mut committed = Committed {
            changes,
            envelopes: Vec::new(),
        };
        let Some(number) = committed.operation() else {
            return Ok(committed);
        };
        operation::append(tx.sql(), number, now)?;
        for changes in batches(&committed.changes)? {
            let data = serde_json::to_vec(&ChangeBatch {
                changes: changes.to_vec(),
            })?;
            for follower in FOLLOWERS {
                let (ends, data) = ((Server::Account, follower), data.clone().into());
                let envelope =
                    Envelope::between_servers(tx.new_id(), MessageKind::Directory, ends, now, data);
                operation::dispatch(tx.sql(), number, follower, envelope.id)?;
                committed.envelopes.push(envelope.id);
                tx.accept(envelope, Hop::Server(follower))?;
            }
        }
        for change in &committed.changes {
            tell_abroad(tx, change)?;
        }
        Ok(committed)
    }
}

/// Tells other domains what of a change is theirs to know. Behind the change itself, so that nothing that was sent by the
/// principal's rights follows it, and a new peer is known before it is told something.
fn tell_abroad(tx: &mut Tx<'_>, change: &Change) -> Result<(), StoreError> {
    match (&change.key, &change.entity) {
        (EntityKey::Principal(principal), None) => tell_of_departure(tx, principal),
        (EntityKey::Grant { principal, to }, entity) => {
            let rights = match entity {
                Some(Entity::Grant(grant)) => (grant.hears, grant.pushes),
                _ => (false, false),
            };
            tell_of_grant(tx, principal, to, rights, change.n)
        }
        (EntityKey::Peer(domain), Some(_)) if change.cause == Cause::Register => tell_anew(tx, domain),
        _ => Ok(()),
    }
}

/// Tells every domain that may know a principal that it is deleted.
fn tell_of_departure(tx: &mut Tx<'_>, principal: &Principal) -> Result<(), StoreError> {
    let now = tx.now();
    for domain in deletion::concerned(tx.sql(), principal)? {
        let data = serde_json::to_vec(&Departure {
            deleted: principal.clone(),
        })?;
        let envelope = abroad(tx, principal, &domain, data);
        deletion::told(tx.sql(), principal, &domain, envelope.id, now)?;
        tx.accept(envelope, Hop::Server(Server::Message))?;
    }
    granted::forget(tx.sql(), principal)
}

/// Tells a new peer all that is granted to its own: before that nothing was told, and what it knows from an earlier time may
/// have been withdrawn since. That all of this counts no more is said of a grant that is none, so that a domain which does not
/// know the word hears nothing in it.
fn tell_anew(tx: &mut Tx<'_>, domain: &Domain) -> Result<(), StoreError> {
    let admin = Id::new(ADMIN).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let admin = Principal::user(admin);
    let anew = Granted {
        granted: admin.clone(),
        hears: false,
        pushes: false,
        n: 0,
        anew: true,
    };
    tell(tx, &admin, domain, &anew)?;
    for (n, grant) in grant::to_domain(tx.sql(), domain)? {
        tell_of_grant(tx, &grant.principal, &grant.to, (grant.hears, grant.pushes), n)?;
    }
    Ok(())
}

/// Tells a domain what one of its principals is granted by change `n`, in both directions: hears, pushes.
fn tell_of_grant(
    tx: &mut Tx<'_>,
    principal: &Principal,
    to: &Address,
    (hears, pushes): (bool, bool),
    n: u64,
) -> Result<(), StoreError> {
    let Some(domain) = &to.domain else { return Ok(()) };
    let news = Granted {
        granted: to.principal.clone(),
        hears,
        pushes,
        n,
        anew: false,
    };
    tell(tx, principal, domain, &news)
}

fn tell(tx: &mut Tx<'_>, of: &Principal, domain: &Domain, news: &Granted) -> Result<(), StoreError> {
    let envelope = abroad(tx, of, domain, serde_json::to_vec(news)?);
    tx.accept(envelope, Hop::Server(Server::Message)).map(drop)
}

/// News of a principal of ours for another domain.
fn abroad(tx: &Tx<'_>, principal: &Principal, domain: &Domain, data: Vec<u8>) -> Envelope {
    let (id, ends) = (tx.new_id(), (Server::Account, Server::App));
    Envelope {
        source: Address::local(principal.clone()),
        destination: Address {
            principal: Principal::server(Server::App),
            domain: Some(domain.clone()),
        },
        ..Envelope::between_servers(id, MessageKind::Directory, ends, tx.now(), data.into())
    }
}

/// The changes in their order, so many in each part as one envelope takes.
fn batches(changes: &[Change]) -> Result<Vec<&[Change]>, StoreError> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (place, change) in changes.iter().enumerate() {
        let more = serde_json::to_vec(change)?.len();
        if place > start && (place - start == BATCH || bytes + more > BATCH_BYTES) {
            parts.push(&changes[start..place]);
            (start, bytes) = (place, 0);
        }
        bytes += more;
    }
    parts.push(&changes[start..]);
    Ok(parts)
}
