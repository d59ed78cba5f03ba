//! Presence: of each principal the newest by (epoch, seq), and a bounded log of the changes, numbered without gaps.

use irsp_courier::store::StoreError;
use irsp_protocol::presence::{Connectivity, Presence, Reason};
use irsp_protocol::{Address, Domain, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row;
use crate::live::{Log, Page};

/// Changes kept in the log. Whoever resumes from before the oldest hears the newest of each principal instead.
const LOG_MAX: u64 = 100_000;

/// A presence with the number of its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) n: u64,
    /// The principal's domain, if it is not ours.
    pub(crate) domain: Option<Domain>,
    pub(crate) presence: Presence,
}

impl Numbered {
    pub(crate) fn address(&self) -> Address {
        Address {
            principal: self.presence.principal.clone(),
            domain: self.domain.clone(),
        }
    }
}

/// The log of changes, as streams read it.
pub(crate) enum Changes {}

impl Log for Changes {
    type Entry = Numbered;
    type Part = ();

    fn last(conn: &Connection) -> Result<u64, StoreError> {
        last_n(conn)
    }
    fn read(conn: &Connection, (): &(), after: u64, limit: usize) -> Result<Page<Numbered>, StoreError> {
        let entries = changes(conn, after, limit)?;
        Ok(Page {
            more: entries.len() == limit,
            entries,
        })
    }
    fn number(entry: &Numbered) -> u64 {
        entry.n
    }
}

/// Keeps `news` if it is newer than what is held, and then says as which change.
pub(crate) fn put(conn: &Connection, news: &Presence) -> Result<Option<Numbered>, StoreError> {
    let address = Address::local(news.principal.clone());
    if one(conn, &address)?.is_some_and(|held| !news.supersedes(&held.presence)) {
        return Ok(None);
    }
    set(conn, &address, news).map(Some)
}

/// The same for a principal of another domain. What was out of sight is known again by news as new as what is held.
pub(crate) fn put_foreign(
    conn: &Connection,
    address: &Address,
    news: &Presence,
) -> Result<Option<Numbered>, StoreError> {
    let stale = |held: &Presence| {
        let again = held.state == Connectivity::Unknown && (held.epoch, held.seq) == (news.epoch, news.seq);
        !again && !news.supersedes(held)
    };
    if one(conn, address)?.is_some_and(|held| stale(&held.presence)) {
        return Ok(None);
    }
    set(conn, address, news).map(Some)
}

/// A principal of another domain is deleted.
pub(crate) fn forget_foreign(conn: &Connection, address: &Address) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM presence WHERE principal = ?1")?
        .execute([address.to_string()])?;
    Ok(())
}

/// Nothing is heard of a domain since `at`: the presence of its principals is unknown. Returns these changes.
pub(crate) fn out_of_sight(
    conn: &Connection,
    domain: &Domain,
    at: Timestamp,
) -> Result<Vec<Numbered>, StoreError> {
    let known: Vec<Numbered> = conn
        .prepare_cached("SELECT * FROM presence WHERE principal LIKE '%@' || ?1 AND state <> ?2")?
        .query_map(
            params![domain.as_str(), row::as_word(&Connectivity::Unknown)?],
            read,
        )?
        .collect::<Result<_, _>>()?;
    let unknown = known.into_iter().map(|held| {
        let address = held.address();
        let unknown = Presence {
            state: Connectivity::Unknown,
            since: at,
            reason: Reason::OutOfSight,
            ..held.presence
        };
        set(conn, &address, &unknown)
    });
    unknown.collect()
}

fn set(conn: &Connection, address: &Address, news: &Presence) -> Result<Numbered, StoreError> {
    let principal = address.to_string();
    let state = row::as_word(&news.state)?;
    let reason = row::as_word(&news.reason)?;
    let values = params![
        principal,
        news.epoch.cast_signed(),
        news.seq.cast_signed(),
        state,
        news.since.as_millis(),
        reason
    ];
    conn.prepare_cached(
        "INSERT INTO presence_log (principal, epoch, seq, state, since, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(values)?;
    let n = conn.last_insert_rowid();
    conn.prepare_cached(
        "INSERT INTO presence (principal, epoch, seq, state, since, reason, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6,
         last_insert_rowid())
         ON CONFLICT (principal) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, state = excluded.state,
         since = excluded.since, reason = excluded.reason, n = excluded.n",
    )?
    .execute(values)?;
    conn.prepare_cached("DELETE FROM presence_log WHERE n <= ?1")?
        .execute([n - LOG_MAX.cast_signed()])?;
    Ok(Numbered {
        n: n.cast_unsigned(),
        domain: address.domain.clone(),
        presence: news.clone(),
    })
}

/// Number of the last change; 0 if there was none.
pub(crate) fn last_n(conn: &Connection) -> Result<u64, StoreError> {
    let n = conn
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'presence_log'",
            [],
            |found| row::number(found, 0),
        )
        .optional()?;
    Ok(n.unwrap_or(0))
}

pub(crate) fn one(conn: &Connection, principal: &Address) -> Result<Option<Numbered>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT * FROM presence WHERE principal = ?1")?
        .query_row([principal.to_string()], read)
        .optional()?)
}

/// The newest presence of principals beyond `after`, in order of their names; of all, or of those in `only`.
pub(crate) fn page(
    conn: &Connection,
    only: Option<&[Address]>,
    after: Option<&Address>,
    limit: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let after = after.map(Address::to_string).unwrap_or_default();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let Some(only) = only else {
        let mut statement =
            conn.prepare_cached("SELECT * FROM presence WHERE principal > ?1 ORDER BY principal LIMIT ?2")?;
        let rows = statement.query_map(params![after, limit], read)?;
        return Ok(rows.collect::<Result<_, _>>()?);
    };
    let only = serde_json::to_string(only).map_err(row::unwritable)?;
    let mut statement = conn.prepare_cached(
        "SELECT * FROM presence WHERE principal > ?1 AND principal IN (SELECT value FROM json_each(?3))
         ORDER BY principal LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, limit, only], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Changes beyond `after` in order. What the log no longer holds is made up for by the newest of each principal.
fn changes(conn: &Connection, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT principal, epoch, seq, state, since, reason, n FROM presence
         WHERE n > ?1 AND n < (SELECT COALESCE(MIN(n), 0) FROM presence_log)
         UNION ALL
         SELECT principal, epoch, seq, state, since, reason, n FROM presence_log WHERE n > ?1
         ORDER BY n LIMIT ?2",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(found: &Row<'_>) -> rusqlite::Result<Numbered> {
    let Address { principal, domain } = row::parsed(found, "principal")?;
    Ok(Numbered {
        n: row::number(found, "n")?,
        domain,
        presence: Presence {
            principal,
            epoch: row::number(found, "epoch")?,
            seq: row::number(found, "seq")?,
            state: row::word(found, "state")?,
            since: row::time(found, "since")?,
            reason: row::word(found, "reason")?,
        },
    })
}
