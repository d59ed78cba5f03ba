//! What other domains have granted to applications and users of this one, as those domains told it (clause 8.7). It is shown
//! to whom it was granted and opens nothing: the right is the other domain's to check.

use std::collections::BTreeSet;

use irsp_courier::store::StoreError;
use irsp_protocol::api::peer::ReceivedGrant;
use irsp_protocol::change::EntityKey;
use irsp_protocol::granted::Granted;
use irsp_protocol::{Address, Domain, Kind, Principal, Status};
use rusqlite::{Connection, Row};

use super::corrupt;
use super::entity::{self, Found};

/// Grants of one domain to one receiver that are kept. What is told beyond them is refused (429), and only not shown.
const KEPT_MAX: u32 = 10_000;

/// Keeps what a domain has told, unless something newer is known; the status answers it. Who is no application or user here
/// is 403 whether or not it ever was.
pub(crate) fn keep(
    sql: &Connection,
    giver: &Address,
    domain: &Domain,
    news: &Granted,
) -> Result<Status, StoreError> {
    let fits = matches!(news.granted.kind, Kind::Application | Kind::User)
        && matches!(giver.principal.kind, Kind::Device | Kind::User);
    let (Ok(n), true) = (i64::try_from(news.n), fits) else {
        return Ok(Status::MALFORMED);
    };
    if news.anew {
        void(sql, domain)?;
    }
    let (receiver, giver) = (news.granted.to_string(), giver.to_string());
    let row = (&receiver, domain.as_str(), &giver, n, news.hears, news.pushes);
    let known = sql
        .prepare_cached(
            "UPDATE granted SET n = max(n, ?4), hears = iif(?4 > n, ?5, hears), pushes = iif(?4 > n, ?6, pushes)
             WHERE receiver = ?1 AND domain = ?2 AND giver = ?3",
        )?
        .execute(row)?;
    let withdrawn = !news.hears && !news.pushes;
    if known > 0 || withdrawn {
        return Ok(Status::DONE);
    }
    let there = entity::find(sql, &EntityKey::Principal(news.granted.clone()))?;
    if !matches!(there, Found::Live { .. }) {
        return Ok(Status::FORBIDDEN);
    }
    if !has_room(sql, &receiver, domain)? {
        return Ok(Status::OVER_QUOTA);
    }
    sql.prepare_cached(
        "INSERT INTO granted (receiver, domain, giver, n, hears, pushes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(row)?;
    Ok(Status::DONE)
}

/// What a domain has told so far counts no more, by whatever numbers it was told.
fn void(sql: &Connection, domain: &Domain) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE granted SET n = 0, hears = 0, pushes = 0 WHERE domain = ?1")?
        .execute([domain.as_str()])?;
    Ok(())
}

/// Whether one more may be kept; what was withdrawn makes room.
fn has_room(sql: &Connection, receiver: &str, domain: &Domain) -> Result<bool, StoreError> {
    let full = || -> Result<bool, StoreError> {
        let kept: u32 = sql
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM granted WHERE receiver = ?1 AND domain = ?2 LIMIT ?3)",
            )?
            .query_row((receiver, domain.as_str(), KEPT_MAX), |row| row.get(0))?;
        Ok(kept >= KEPT_MAX)
    };
    if !full()? {
        return Ok(true);
    }
    sql.prepare_cached(
        "DELETE FROM granted WHERE receiver = ?1 AND domain = ?2 AND NOT hears AND NOT pushes",
    )?
    .execute((receiver, domain.as_str()))?;
    Ok(!full()?)
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

/// What stands, in order beyond a place (see [`place`]); of all receivers or of one. What a domain granted that is no peer any
/// more is not shown until it is one again: then it tells what was withdrawn meanwhile, and all anew if it had parted, too.
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
         AND EXISTS (SELECT 1 FROM entity WHERE key = 'as/' || granted.domain AND state IS NOT NULL)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MIGRATIONS;
    use irsp_courier::store::Store;

    #[test]
    fn what_is_kept_is_bounded_and_what_was_withdrawn_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(&folder.path().join("account.db"), MIGRATIONS).unwrap());
        let sql = Connection::open(folder.path().join("account.db")).unwrap();
        let domain = Domain::new("b.example").unwrap();
        let bob = r#"{"user":{"id":"bob","role":"user","disabled":false,"tokens":[],"tokens_from":"2026-01-01T00:00:00Z"}}"#;
        sql.execute(
            "INSERT INTO entity (key, n, state) VALUES ('usr/bob', 1, ?1)",
            [bob],
        )
        .unwrap();
        let told = |device: u32, hears, n| {
            let giver = format!("dev/lamp-{device}@b.example").parse().unwrap();
            let news = Granted {
                granted: "usr/bob".parse().unwrap(),
                hears,
                pushes: false,
                n,
                anew: false,
            };
            keep(&sql, &giver, &domain, &news).unwrap()
        };
        let many = "WITH RECURSIVE device (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM device WHERE id + 1 < ?1)
            INSERT INTO granted SELECT 'usr/bob', 'b.example', 'dev/lamp-' || id || '@b.example', 1, 1, 0 FROM device";
        sql.execute(many, [KEPT_MAX]).unwrap();
        assert_eq!(told(KEPT_MAX, true, 1), Status::OVER_QUOTA);
        assert_eq!(told(7, false, 2), Status::DONE);
        assert_eq!(told(KEPT_MAX, true, 1), Status::DONE);
        assert_eq!(told(1, true, u64::MAX), Status::MALFORMED, "no number of ours");
        let kept: u32 = sql
            .query_row("SELECT count(*) FROM granted", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, KEPT_MAX);
    }
}
