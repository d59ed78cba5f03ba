//! Deletions that other domains are told of, and their confirmations, which are kept (clause 8.7). Told are those that were ever
//! granted something about the principal: they may hold copies although the grant is withdrawn; and those that ever granted
//! it something, because their grants name it.

use std::collections::BTreeSet;

use irsp_courier::store::StoreError;
use irsp_protocol::api::peer::DeletionView;
use irsp_protocol::change::EntityKey;
use irsp_protocol::{Domain, Kind, MessageId, Principal, Status, Timestamp};
use rusqlite::{Connection, Row};

use super::operation::End;
use super::{corrupt, entity, granted, time};

/// One that may have ended without its end being noted, if this server was killed just then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) message: MessageId,
    pub(crate) view: DeletionView,
}

/// The domains that are to be told of a principal's end.
pub(super) fn concerned(sql: &Connection, principal: &Principal) -> Result<BTreeSet<Domain>, StoreError> {
    let mut domains = granted::domains(sql, principal)?;
    if matches!(principal.kind, Kind::Device | Kind::User) {
        for key in entity::keys_ever(sql, &format!("grant/{principal}/"))? {
            if let EntityKey::Grant { to, .. } = key {
                domains.extend(to.domain);
            }
        }
    }
    Ok(domains)
}

pub(super) fn told(
    sql: &Connection,
    principal: &Principal,
    domain: &Domain,
    message: MessageId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO deletion (principal, domain, told, message) VALUES (?1, ?2, ?3, ?4)")?
        .execute((
            principal.to_string(),
            domain.as_str(),
            now.as_millis(),
            message.as_bytes(),
        ))?;
    Ok(())
}

/// Stores what the domains said. An end that is known stays.
pub(crate) fn end(sql: &Connection, ends: &[End]) -> Result<(), StoreError> {
    let mut statement = sql.prepare_cached(
        "UPDATE deletion SET status = ?2, ended = ?3 WHERE message = ?1 AND status IS NULL",
    )?;
    for end in ends {
        statement.execute((end.message.as_bytes(), end.status.code(), end.at.as_millis()))?;
    }
    Ok(())
}

/// In order of principal and domain, beyond a pair `dev/lamp-1/b.example`; of all, or of one principal.
pub(crate) fn list(
    sql: &Connection,
    of: Option<&Principal>,
    after: &str,
    limit: u32,
) -> Result<Vec<Told>, StoreError> {
    let (principal, domain) = after.rsplit_once('/').unwrap_or((after, ""));
    let mut select = sql.prepare_cached(
        "SELECT message, principal, domain, told, status, ended FROM deletion
         WHERE (principal, domain) > (?1, ?2) AND (?3 IS NULL OR principal = ?3) ORDER BY principal, domain LIMIT ?4",
    )?;
    let found = select.query_map((principal, domain, of.map(ToString::to_string), limit), read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Told> {
    let (principal, domain): (String, String) = (row.get(1)?, row.get(2)?);
    let (status, ended): (Option<u16>, Option<i64>) = (row.get(4)?, row.get(5)?);
    let status = status.map_or(Some(Status::QUEUED), Status::from_code);
    Ok(Told {
        message: MessageId::from_bytes(row.get(0)?),
        view: DeletionView {
            principal: principal.parse().map_err(|error| corrupt(1, error))?,
            domain: Domain::new(&domain).map_err(|error| corrupt(2, error))?,
            told: time(row, 3)?,
            status: status.ok_or_else(|| corrupt(4, std::io::Error::other("no status")))?,
            ended: ended.map(Timestamp::from_millis),
        },
    })
}
