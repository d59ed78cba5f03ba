//! The present state of every entity and the number of the change that last touched it: what followers are told,
//! what a late one is shown page by page, and what this server's own directory is filled with.

use irsp_courier::store::StoreError;
use irsp_directory::Directory;
use irsp_protocol::change::{Application, Cause, Change, Device, DirectoryPage, Entity, EntityKey, User};
use irsp_protocol::{Id, Principal};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{corrupt, number, stored};
use crate::refusal::Refusal;

/// Entities on one page of a snapshot.
const PAGE: usize = 500;
/// A page ends after the entity that reaches this, so that it fits on the bus.
const PAGE_BYTES: usize = 256 << 10;

/// What the table knows of a key.
#[expect(
    clippy::large_enum_variant,
    reason = "it is looked at where it is returned, and never kept"
)]
pub(crate) enum Found {
    Live {
        n: u64,
        state: Entity,
    },
    /// By this change.
    Deleted {
        n: u64,
    },
    Never,
}

pub(crate) fn find(sql: &Connection, key: &EntityKey) -> Result<Found, StoreError> {
    let row = sql
        .prepare_cached("SELECT n, state FROM entity WHERE key = ?1")?
        .query_row([key.to_string()], |row| Ok((number(row, 0)?, state(row, 1)?)))
        .optional()?;
    Ok(match row {
        Some((n, Some(state))) => Found::Live { n, state },
        Some((n, None)) => Found::Deleted { n },
        None => Found::Never,
    })
}

/// The state of a principal that exists; else 404, or 410 for one that was deleted.
fn principal(sql: &Connection, principal: Principal) -> Result<Entity, StoreError> {
    match find(sql, &EntityKey::Principal(principal.clone()))? {
        Found::Live { state, .. } => Ok(state),
        Found::Deleted { .. } => Err(Refusal::Deleted(principal).into()),
        Found::Never => Err(Refusal::Unknown(principal).into()),
    }
}

pub(crate) fn user(sql: &Connection, id: &Id) -> Result<User, StoreError> {
    match principal(sql, Principal::user(id.clone()))? {
        Entity::User(user) => Ok(user),
        Entity::Device(_)
        | Entity::Application(_)
        | Entity::Binding(_)
        | Entity::TokenKey(_)
        | Entity::Peer(_)
        | Entity::Grant(_) => Err(mixed(id)),
    }
}

pub(crate) fn device(sql: &Connection, id: &Id) -> Result<Device, StoreError> {
    match principal(sql, Principal::device(id.clone()))? {
        Entity::Device(device) => Ok(device),
        Entity::User(_)
        | Entity::Application(_)
        | Entity::Binding(_)
        | Entity::TokenKey(_)
        | Entity::Peer(_)
        | Entity::Grant(_) => Err(mixed(id)),
    }
}

pub(crate) fn application(sql: &Connection, id: &Id) -> Result<Application, StoreError> {
    match principal(sql, Principal::application(id.clone()))? {
        Entity::Application(application) => Ok(application),
        Entity::User(_)
        | Entity::Device(_)
        | Entity::Binding(_)
        | Entity::TokenKey(_)
        | Entity::Peer(_)
        | Entity::Grant(_) => Err(mixed(id)),
    }
}

/// The keys that begin with `start`, a text that ends with `/`, of what is there and of what was removed.
pub(super) fn keys_ever(sql: &Connection, start: &str) -> Result<Vec<EntityKey>, StoreError> {
    let end = format!("{}0", start.trim_end_matches('/'));
    let mut select = sql.prepare_cached("SELECT key FROM entity WHERE key >= ?1 AND key < ?2")?;
    let keys = select.query_map((start, end), |row| {
        let key: String = row.get(0)?;
        key.parse().map_err(|error| corrupt(0, error))
    })?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// A row holds the state of another kind than its key says.
pub(super) fn mixed(id: &Id) -> StoreError {
    StoreError::Corrupt(format!("the state stored for {id} is of another kind"))
}

/// Refuses an id that is in use or was.
pub(crate) fn must_be_new(sql: &Connection, principal: Principal) -> Result<(), StoreError> {
    match find(sql, &EntityKey::Principal(principal.clone()))? {
        Found::Never => Ok(()),
        Found::Live { .. } => Err(Refusal::Exists(principal).into()),
        Found::Deleted { .. } => Err(Refusal::Used(principal).into()),
    }
}

/// The states whose keys begin with `start`, in order, after a key; with the number of the change that last touched each.
pub(crate) fn list(
    sql: &Connection,
    start: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<(u64, Entity)>, StoreError> {
    let end = end_of(start);
    let mut select = sql.prepare_cached(
        "SELECT n, state FROM entity WHERE key >= ?1 AND key < ?2 AND key > ?3 AND state IS NOT NULL ORDER BY key LIMIT ?4",
    )?;
    let mut rows = select.query((start, end, after, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(state) = state(row, 1)? {
            found.push((number(row, 0)?, state));
        }
    }
    Ok(found)
}

/// How many of them there are.
pub(super) fn count(sql: &Connection, start: &str) -> Result<usize, StoreError> {
    let count = sql
        .prepare_cached("SELECT count(*) FROM entity WHERE key >= ?1 AND key < ?2 AND state IS NOT NULL")?
        .query_row((start, end_of(start)), |row| number(row, 0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// What begins with `start` stands before the text with its last character raised by one.
fn end_of(start: &str) -> String {
    start
        .strip_suffix('/')
        .map_or_else(|| start.to_owned(), |start| format!("{start}0"))
}

/// The number of the last change; 0 before the first.
pub(super) fn last(sql: &Connection) -> Result<u64, StoreError> {
    Ok(sql
        .prepare_cached("SELECT coalesce(max(n), 0) FROM entity")?
        .query_row([], |row| number(row, 0))?)
}

pub(super) fn put(sql: &Connection, change: &Change) -> Result<(), StoreError> {
    let state = change.entity.as_ref().map(serde_json::to_string).transpose()?;
    sql.prepare_cached(
        "INSERT INTO entity (key, n, state) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET n = excluded.n, state = excluded.state",
    )?
    .execute((change.key.to_string(), stored(change.n)?, state))?;
    Ok(())
}

/// Gives every entity a new number from `first` on, in the order of the old ones; returns the last.
pub(super) fn number_anew(sql: &Connection, first: u64) -> Result<u64, StoreError> {
    let keys: Vec<String> = sql
        .prepare("SELECT key FROM entity ORDER BY n")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut update = sql.prepare("UPDATE entity SET n = ?2 WHERE key = ?1")?;
    let mut n = first;
    for key in keys {
        update.execute((key, stored(n)?))?;
        n += 1;
    }
    Ok(n - 1)
}

/// Changes the state of every user under the number it has; for who numbers them anew.
pub(super) fn edit_users(sql: &Connection, edit: impl Fn(&mut User)) -> Result<(), StoreError> {
    let mut update = sql.prepare("UPDATE entity SET state = ?2 WHERE key = ?1")?;
    for (_, mut state) in list(sql, "usr/", "", u32::MAX)? {
        if let Entity::User(user) = &mut state {
            edit(user);
        }
        update.execute((state.key().to_string(), serde_json::to_string(&state)?))?;
    }
    Ok(())
}

/// A page of the present state after a key (clause 8.2). The number and the rows are read in one transaction.
pub(crate) fn page(sql: &Connection, after: Option<&str>) -> Result<DirectoryPage, StoreError> {
    let tx = sql.unchecked_transaction()?;
    let at = last(&tx)?;
    let mut page = DirectoryPage {
        at,
        entities: Vec::new(),
        next: None,
    };
    {
        let mut statement = tx.prepare_cached(
            "SELECT key, n, state FROM entity WHERE key > ?1 AND state IS NOT NULL ORDER BY key",
        )?;
        let mut rows = statement.query([after.unwrap_or_default()])?;
        let (mut last_key, mut bytes) = (None, 0);
        while let Some(row) = rows.next()? {
            if page.entities.len() == PAGE || bytes >= PAGE_BYTES {
                page.next = last_key;
                break;
            }
            let text: String = row.get(2)?;
            bytes += text.len();
            page.entities
                .push((number(row, 1)?, serde_json::from_str(&text)?));
            last_key = Some(row.get(0)?);
        }
    }
    tx.commit()?;
    Ok(page)
}

/// Fills this server's own directory at start, traces of the deleted included.
pub(crate) fn load(sql: &Connection, directory: &Directory) -> Result<(), StoreError> {
    let mut statement = sql.prepare("SELECT key, n, state FROM entity ORDER BY n")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (n, state) = (number(row, 1)?, state(row, 2)?);
        match state {
            Some(state) => directory.merge(n, state),
            None => {
                let text: String = row.get(0)?;
                let key = text
                    .parse()
                    .map_err(|_| StoreError::Corrupt(format!("entity key {text:?}")))?;
                directory.apply(&Change {
                    n,
                    cause: Cause::Delete,
                    key,
                    entity: None,
                })
            }
        };
    }
    Ok(())
}

/// Reads the state that stands in column `column`.
pub(super) fn state(row: &Row<'_>, column: usize) -> Result<Option<Entity>, rusqlite::Error> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| corrupt(column, error))
}
