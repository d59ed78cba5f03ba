//! Bindings: who owns a device.

use irsp_courier::store::StoreError;
use irsp_protocol::Id;
use irsp_protocol::api::account::BindingView;
use irsp_protocol::change::{Binding, Cause, Device, Entity, EntityKey};
use irsp_protocol::secret::SecretHash;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::entity::{Found, find, mixed};
use super::list::Query;
use super::{Draft, id, number, operation, time};
use crate::refusal::Refusal;

const SELECT: &str = "SELECT device, user, owner, since, e.n FROM account_binding
    JOIN entity e ON e.key = 'bind/' || device || '/' || user";

/// What came of presenting a device's code.
#[derive(Serialize, Deserialize)]
pub(crate) enum Bound {
    New(BindingView),
    /// The same user had bound it before, by this operation.
    Already {
        binding: BindingView,
        operation: Option<u64>,
    },
}

/// Binds a device to a user who presents its code. An unknown, deleted or disabled device and a wrong code are one
/// refusal; that somebody else owns the device is told only to whoever has the code.
pub(crate) fn bind(
    draft: &mut Draft<'_, '_>,
    device: &Id,
    user: &Id,
    code: SecretHash,
) -> Result<Bound, StoreError> {
    let right =
        presented(draft.sql(), device)?.is_some_and(|held| !held.disabled && held.codes.contains(&code));
    if !right {
        return Err(Refusal::WrongCode.into());
    }
    let bound = of_device(draft.sql(), device)?;
    if let Some(binding) = bound.iter().find(|binding| binding.user == *user) {
        let operation = match find(draft.sql(), &key(device, user))? {
            Found::Live { n, .. } => operation::of_change(draft.sql(), n)?,
            Found::Deleted | Found::Never => None,
        };
        return Ok(Bound::Already {
            binding: binding.clone(),
            operation,
        });
    }
    if bound.iter().any(|binding| binding.owner) {
        return Err(Refusal::OwnedByAnother.into());
    }
    draft
        .sql()
        .prepare_cached("INSERT INTO account_binding (device, user, owner, since) VALUES (?1, ?2, TRUE, ?3)")?
        .execute((device.as_str(), user.as_str(), draft.now().as_millis()))?;
    let state = Binding {
        device: device.clone(),
        user: user.clone(),
        owner: true,
    };
    draft.put(Cause::Register, Entity::Binding(state))?;
    Ok(Bound::New(view(draft.sql(), device, user)?))
}

fn view(sql: &Connection, device: &Id, user: &Id) -> Result<BindingView, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE device = ?1 AND user = ?2"))?
        .query_row((device.as_str(), user.as_str()), read)?)
}

/// Ends a binding; 404 if there is none.
pub(crate) fn unbind(draft: &mut Draft<'_, '_>, device: &Id, user: &Id) -> Result<(), StoreError> {
    if of_device(draft.sql(), device)?
        .iter()
        .any(|binding| binding.user == *user)
    {
        remove(draft, device, user)
    } else {
        Err(Refusal::NotBound.into())
    }
}

pub(super) fn remove(draft: &mut Draft<'_, '_>, device: &Id, user: &Id) -> Result<(), StoreError> {
    draft
        .sql()
        .prepare_cached("DELETE FROM account_binding WHERE device = ?1 AND user = ?2")?
        .execute((device.as_str(), user.as_str()))?;
    draft.remove(key(device, user))
}

pub(super) fn remove_of_device(draft: &mut Draft<'_, '_>, device: &Id) -> Result<(), StoreError> {
    for binding in of_device(draft.sql(), device)? {
        remove(draft, device, &binding.user)?;
    }
    Ok(())
}

pub(crate) fn of_device(sql: &Connection, device: &Id) -> Result<Vec<BindingView>, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE device = ?1 ORDER BY user"))?
        .query_map([device.as_str()], read)?
        .collect::<Result<_, _>>()?)
}

pub(super) fn of_user(sql: &Connection, user: &Id) -> Result<Vec<BindingView>, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE user = ?1 ORDER BY device"))?
        .query_map([user.as_str()], read)?
        .collect::<Result<_, _>>()?)
}

/// Which bindings are asked for; all that is given must be so.
pub(crate) struct Filter {
    /// Whose bindings the caller sees; all unless given.
    pub(crate) of: Option<Id>,
    pub(crate) device: Option<Id>,
    pub(crate) user: Option<Id>,
}

/// Bindings after (device, user).
pub(crate) fn list(
    sql: &Connection,
    filter: Filter,
    after: (&str, &str),
    limit: u32,
) -> Result<Vec<BindingView>, StoreError> {
    let mut query = Query::new(SELECT);
    query.and(
        "(device, user) > (?, ?)",
        [after.0.to_owned(), after.1.to_owned()],
    );
    for user in [filter.of, filter.user].into_iter().flatten() {
        query.and("user = ?", [user.to_string()]);
    }
    query.and_some("device = ?", filter.device.map(|id| id.to_string()));
    query.rows(sql, "device, user", limit, read)
}

pub(crate) fn is_owner(sql: &Connection, device: &Id, user: &Id) -> Result<bool, StoreError> {
    let owner: Option<bool> = sql
        .prepare_cached("SELECT owner FROM account_binding WHERE device = ?1 AND user = ?2")?
        .query_row((device.as_str(), user.as_str()), |row| row.get(0))
        .optional()?;
    Ok(owner == Some(true))
}

pub(crate) fn is_bound(sql: &Connection, device: &Id, user: &Id) -> Result<bool, StoreError> {
    Ok(of_device(sql, device)?
        .iter()
        .any(|binding| binding.user == *user))
}

/// The device as a stranger with a code sees it: there or not.
fn presented(sql: &Connection, device: &Id) -> Result<Option<Device>, StoreError> {
    let key = EntityKey::Principal(irsp_protocol::Principal::device(device.clone()));
    match find(sql, &key)? {
        Found::Live {
            state: Entity::Device(state),
            ..
        } => Ok(Some(state)),
        Found::Live { .. } => Err(mixed(device)),
        Found::Deleted | Found::Never => Ok(None),
    }
}

fn key(device: &Id, user: &Id) -> EntityKey {
    EntityKey::Binding {
        device: device.clone(),
        user: user.clone(),
    }
}

fn read(row: &Row<'_>) -> Result<BindingView, rusqlite::Error> {
    Ok(BindingView {
        device: id(row, 0)?,
        user: id(row, 1)?,
        owner: row.get(2)?,
        since: time(row, 3)?,
        version: number(row, 4)?,
    })
}
