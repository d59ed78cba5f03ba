//! What other domains have granted to applications and users of this one, as those domains told it (clause 8.7). It is shown
//! to whom it was granted and opens nothing: the right is the other domain's to check.

use std::collections::BTreeSet;

use irsp_courier::store::StoreError;
use irsp_protocol::api::peer::ReceivedGrant;
use irsp_protocol::change::EntityKey;
use irsp_protocol::granted::Granted;
use irsp_protocol::{Address, Domain, Kind, Principal, Status};
use rusqlite::{Connection, Row};

use super::entity::{self, Found};
use super::{corrupt, stored};

/// Grants of one domain to one receiver that are kept: what is told beyond them is refused, and only not shown.
const KEPT_MAX: u32 = 10_000;

/// Keeps what a domain has told, unless something newer is known; the status answers it. Who is no application or user here
/// is 403 whether or not it ever was.
pub(crate) fn keep(
    sql: &Connection,
    giver: &Address,
    domain: &Domain,
    news: &Granted,
) -> Result<Status, StoreError> {
    let about = giver.principal.kind;
    if !matches!(news.granted.kind, Kind::Application | Kind::User)
        || !matches!(about, Kind::Device | Kind::User)
    {
        return Ok(Status::MALFORMED);
    }
    let receiver = news.granted.to_string();
    let update = sql
        .prepare_cached(
            "UPDATE granted SET n = max(n, ?4), hears = iif(?4 > n, ?5, hears), pushes = iif(?4 > n, ?6, pushes)
             WHERE receiver = ?1 AND domain = ?2 AND giver = ?3",
        )?
        .execute((
            &receiver,
            domain.as_str(),
            giver.to_string(),
            stored(news.n)?,
            news.hears,
            news.pushes,
        ))?;
    let withdrawn = !news.hears && !news.pushes;
    if update > 0 || withdrawn {
        return Ok(Status::DONE);
    }
    let there = entity::find(sql, &EntityKey::Principal(news.granted.clone()))?;
    if !matches!(there, Found::Live { .. }) {
        return Ok(Status::FORBIDDEN);
    }
    let kept: u32 = sql
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM granted WHERE receiver = ?1 AND domain = ?2 LIMIT ?3)",
        )?
        .query_row((&receiver, domain.as_str(), KEPT_MAX), |row| row.get(0))?;
    if kept >= KEPT_MAX {
        return Ok(Status::OVER_QUOTA);
    }
    sql.prepare_cached(
        "INSERT INTO granted (receiver, domain, giver, n, hears, pushes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        &receiver,
        domain.as_str(),
        giver.to_string(),
        stored(news.n)?,
        news.hears,
        news.pushes,
    ))?;
    Ok(Status::DONE)
}

/// The domains that ever granted something to a principal.
pub(super) fn domains(sql: &Connection, receiver: &Principal) -> Result<BTreeSet<Domain>, StoreError> {
    let mut select = sql.prepare_cached("SELECT DISTINCT domain FROM granted WHERE receiver = ?1")?;
    let found = select.query_map([receiver.to_string()], |row| {
        let domain: String = row.get(0)?;
        Domain::new(&domain).map_err(|error| corrupt(0, error))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The receiver is deleted.
pub(super) fn forget(sql: &Connection, receiver: &Principal) -> Result<(), StoreError> {
    sql.prepare_cached("DELETE FROM granted WHERE receiver = ?1")?
        .execute([receiver.to_string()])?;
    Ok(())
}

/// What stands, in order beyond a place (see [`place`]); of all receivers or of one.
pub(crate) fn list(
    sql: &Connection,
    of: Option<&Principal>,
    after: &str,
    limit: u32,
) -> Result<Vec<ReceivedGrant>, StoreError> {
    let (receiver, giver) = match after.match_indices('/').nth(1) {
        Some((at, _)) => (&after[..at], &after[at + 1..]),
        None => (after, ""),
    };
    let domain = giver.rsplit_once('@').map_or("", |(_, domain)| domain);
    let mut select = sql.prepare_cached(
        "SELECT receiver, giver, hears, pushes FROM granted
         WHERE (receiver, domain, giver) > (?1, ?2, ?3) AND (?4 IS NULL OR receiver = ?4) AND (hears OR pushes)
         ORDER BY receiver, domain, giver LIMIT ?5",
    )?;
    let of = of.map(ToString::to_string);
    let found = select.query_map((receiver, domain, giver, of, limit), read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Where a list goes on after a grant.
pub(crate) fn place(grant: &ReceivedGrant) -> String {
    format!("{}/{}", grant.to, grant.principal)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ReceivedGrant> {
    let (receiver, giver): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(ReceivedGrant {
        principal: giver.parse().map_err(|error| corrupt(1, error))?,
        to: receiver.parse().map_err(|error| corrupt(0, error))?,
        hears: row.get(2)?,
        pushes: row.get(3)?,
    })
}
