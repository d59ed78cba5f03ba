//! Grants to applications and users of other domains (clause 8.7). A grant's record is its entity alone.

use irsp_courier::store::StoreError;
use irsp_protocol::api::peer::{GrantView, NewGrant};
use irsp_protocol::change::{Cause, Entity, EntityKey};
use irsp_protocol::peer::Grant;
use irsp_protocol::{Address, Domain, Kind, Principal};
use rusqlite::Connection;

use super::entity::{self, Found};
use super::{Draft, foreign};
use crate::refusal::Refusal;

/// Grants of one device or user at most.
const GRANTS_MAX: usize = 100;

/// The grants beyond a key, in order; of all, or of one principal.
pub(crate) fn list(
    sql: &Connection,
    of: Option<&Principal>,
    after: &str,
    limit: u32,
) -> Result<Vec<GrantView>, StoreError> {
    let start = of.map_or_else(|| "grant/".to_owned(), |of| format!("grant/{of}/"));
    let found = entity::list(sql, &start, after, limit)?;
    let grants = found.into_iter().map(|(n, state)| match state {
        Entity::Grant(grant) => Ok(view(n, grant)),
        Entity::User(_)
        | Entity::Device(_)
        | Entity::Application(_)
        | Entity::Binding(_)
        | Entity::TokenKey(_)
        | Entity::Peer(_) => Err(foreign("grant")),
    });
    grants.collect()
}

/// Where a list goes on after a grant.
pub(crate) fn place(grant: &GrantView) -> String {
    key(&grant.principal, &grant.to).to_string()
}

/// Gives a grant, in place of the one that is there.
pub(crate) fn give(draft: &mut Draft<'_, '_>, new: &NewGrant) -> Result<GrantView, StoreError> {
    match new.principal.kind {
        Kind::Device => drop(entity::device(draft.sql(), &new.principal.id)?),
        Kind::User => drop(entity::user(draft.sql(), &new.principal.id)?),
        Kind::Application | Kind::External | Kind::Peer | Kind::Server => {
            return Err(Refusal::Malformed(format!("{} is no device or user", new.principal)).into());
        }
    }
    let grant = Grant {
        principal: new.principal.clone(),
        to: new.to.clone(),
        hears: new.hears,
        pushes: new.pushes,
    };
    let state = Entity::Grant(grant);
    let key = state.key();
    match entity::find(draft.sql(), &key)? {
        Found::Live { state: before, .. } if before == state => {}
        Found::Live { .. } => draft.put(Cause::Modify, state)?,
        Found::Deleted { .. } | Found::Never => {
            if list(draft.sql(), Some(&new.principal), "", u32::MAX)?.len() >= GRANTS_MAX {
                return Err(Refusal::TooMany {
                    what: "grants of one principal",
                    max: GRANTS_MAX,
                }
                .into());
            }
            draft.put(Cause::Register, state)?;
        }
    }
    find(draft.sql(), &new.principal, &new.to, 0)
}

/// Withdraws a grant and gives what it was; 410 if that was done by a change after `known_since`, else 404 if there is
/// none.
pub(crate) fn withdraw(
    draft: &mut Draft<'_, '_>,
    principal: &Principal,
    to: &Address,
    known_since: u64,
) -> Result<GrantView, StoreError> {
    let gone = find(draft.sql(), principal, to, known_since)?;
    draft.remove(key(principal, to))?;
    Ok(gone)
}

/// Withdraws everything that was granted about a principal: it is deleted, or is no longer its owner's.
pub(super) fn remove_of(draft: &mut Draft<'_, '_>, principal: &Principal) -> Result<(), StoreError> {
    for grant in list(draft.sql(), Some(principal), "", u32::MAX)? {
        withdraw(draft, principal, &grant.to, 0)?;
    }
    Ok(())
}

/// Withdraws everything that was granted to somebody of another domain who is deleted there.
pub(crate) fn remove_to(draft: &mut Draft<'_, '_>, to: &Address) -> Result<(), StoreError> {
    // Said by name: without figures of the table SQLite would read every grant.
    let keys: Vec<String> = draft
        .sql()
        .prepare_cached(
            "SELECT key FROM entity INDEXED BY entity_granted_to
             WHERE key >= 'grant/' AND key < 'grant0' AND json_extract(state, '$.grant.to') = ?1 ORDER BY key",
        )?
        .query_map([to.to_string()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for key in keys {
        let key = key
            .parse()
            .map_err(|_| StoreError::Corrupt(format!("entity key {key:?}")))?;
        draft.remove(key)?;
    }
    Ok(())
}

/// Every grant to a domain, with the change that made it.
pub(super) fn to_domain(sql: &Connection, domain: &Domain) -> Result<Vec<(u64, Grant)>, StoreError> {
    let mut grants = Vec::new();
    for (n, state) in entity::list(sql, "grant/", "", u32::MAX)? {
        if let Entity::Grant(grant) = state
            && grant.to.domain.as_ref() == Some(domain)
        {
            grants.push((n, grant));
        }
    }
    Ok(grants)
}

fn find(
    sql: &Connection,
    principal: &Principal,
    to: &Address,
    known_since: u64,
) -> Result<GrantView, StoreError> {
    match entity::find(sql, &key(principal, to))? {
        Found::Live {
            n,
            state: Entity::Grant(grant),
        } => Ok(view(n, grant)),
        Found::Live { .. } => Err(foreign("grant")),
        Found::Deleted { n } if n > known_since => Err(Refusal::Withdrawn.into()),
        Found::Deleted { .. } | Found::Never => Err(Refusal::NoGrant.into()),
    }
}

fn key(principal: &Principal, to: &Address) -> EntityKey {
    EntityKey::Grant {
        principal: principal.clone(),
        to: to.clone(),
    }
}

fn view(n: u64, grant: Grant) -> GrantView {
    GrantView {
        principal: grant.principal,
        to: grant.to,
        hears: grant.hears,
        pushes: grant.pushes,
        version: n,
    }
}
