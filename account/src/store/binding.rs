//! Bindings: who owns a device, and with whom it is shared.
//!
//! A device has one owner at most. Shares are given by the owner and end with the owner's own binding; a transfer
//! keeps them, because a household stays one when the device passes from one of its people to another.

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::BindingView;
use irsp_protocol::change::{Binding, Cause, Device, Entity, EntityKey, Right, Rights};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Kind, Principal, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::entity::{Found, find, mixed};
use super::list::Query;
use super::{Draft, corrupt, entity, foreign, grant, number, operation, time};
use crate::refusal::Refusal;

/// Users that one device is shared with.
pub(crate) const SHARES_MAX: usize = 100;

const SELECT: &str = "SELECT e.state, b.since, e.n FROM account_binding b
    JOIN entity e ON e.key = 'bind/' || b.device || '/' || b.user";

/// What came of presenting a device's code, or of setting a share.
#[derive(Serialize, Deserialize)]
pub(crate) enum Bound {
    New(BindingView),
    Changed(BindingView),
    /// It was so before, by this operation.
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
    let now = draft.now();
    let right = presented(draft.sql(), device)?.is_some_and(|held| !held.disabled && held.opens(&code, now));
    if !right {
        return Err(Refusal::WrongCode.into());
    }
    let bound = of_device(draft.sql(), device)?;
    let own = bound.iter().find(|binding| binding.user == *user);
    let owned = bound.iter().any(|binding| binding.owner);
    match own {
        Some(own) if own.owner || owned => already(draft.sql(), own),
        None if owned => Err(Refusal::OwnedByAnother.into()),
        Some(_) | None => set(draft, owner(device, user)),
    }
}

/// Shares a device with a user, or changes what that user may do with it.
pub(crate) fn share(
    draft: &mut Draft<'_, '_>,
    device: &Id,
    user: &Id,
    rights: Rights,
) -> Result<Bound, StoreError> {
    entity::device(draft.sql(), device)?;
    let bound = of_device(draft.sql(), device)?;
    match bound.iter().find(|binding| binding.user == *user) {
        Some(own) if own.owner => return Err(Refusal::IsOwner.into()),
        Some(own) if rights_of(own) == rights => return already(draft.sql(), own),
        Some(_) => {}
        None if bound.iter().filter(|binding| !binding.owner).count() >= SHARES_MAX => {
            return Err(Refusal::TooMany {
                what: "users share a device",
                max: SHARES_MAX,
            }
            .into());
        }
        None => must_be_there(draft.sql(), user)?,
    }
    let share = Binding {
        device: device.clone(),
        user: user.clone(),
        owner: false,
        rights,
    };
    set(draft, share)
}

/// Makes a user the owner of a device without its code; 409 if the device has an owner or the two are bound.
pub(crate) fn own(draft: &mut Draft<'_, '_>, device: &Id, user: &Id) -> Result<(), StoreError> {
    entity::device(draft.sql(), device)?;
    must_be_there(draft.sql(), user)?;
    let bound = of_device(draft.sql(), device)?;
    if bound.iter().any(|binding| binding.owner || binding.user == *user) {
        return Err(Refusal::Owned(device.clone()).into());
    }
    set(draft, owner(device, user)).map(drop)
}

/// Makes another user the owner; what was granted about the device ends. The owner until now keeps a share with `keeps`, or nothing if that is empty.
pub(crate) fn transfer(
    draft: &mut Draft<'_, '_>,
    device: &Id,
    to: &Id,
    keeps: Rights,
) -> Result<BindingView, StoreError> {
    entity::device(draft.sql(), device)?;
    let bound = of_device(draft.sql(), device)?;
    let from = bound.iter().find(|binding| binding.owner);
    let from = from.ok_or(Refusal::NoOwner)?;
    if from.user == *to {
        return Err(Refusal::IsOwner.into());
    }
    must_be_there(draft.sql(), to)?;
    grant::remove_of(draft, &Principal::device(device.clone()))?;
    if keeps == Rights::NONE {
        remove(draft, device, &from.user)?;
    } else {
        let share = Binding {
            device: device.clone(),
            user: from.user.clone(),
            owner: false,
            rights: keeps,
        };
        set(draft, share)?;
    }
    match set(draft, owner(device, to))? {
        Bound::New(binding) | Bound::Changed(binding) | Bound::Already { binding, .. } => Ok(binding),
    }
}

/// Since which change this user may grant about the principal: it is the user itself, or a device it owns. `None` if it
/// may not.
pub(crate) fn grants_since(
    sql: &Connection,
    user: &Id,
    principal: &Principal,
) -> Result<Option<u64>, StoreError> {
    match principal.kind {
        Kind::User => Ok((principal.id == *user).then_some(0)),
        Kind::Device => owned_since(sql, &principal.id, user),
        Kind::Application | Kind::External | Kind::Peer | Kind::Server => Ok(None),
    }
}

/// Ends a binding; 410 if it has ended, by a change after `known_since`, else 404 if there is none. With the owner's the
/// shares end, and what was granted about the device.
pub(crate) fn unbind(
    draft: &mut Draft<'_, '_>,
    device: &Id,
    user: &Id,
    known_since: u64,
) -> Result<(), StoreError> {
    let bound = of_device(draft.sql(), device)?;
    match bound.iter().find(|binding| binding.user == *user) {
        Some(own) if own.owner => {
            grant::remove_of(draft, &Principal::device(device.clone()))?;
            remove_of_device(draft, device)
        }
        Some(_) => remove(draft, device, user),
        None => Err(not_bound(draft.sql(), device, user, known_since)?.into()),
    }
}

/// Takes a binding from a user who is deleted: like [`unbind`].
pub(super) fn remove_of_user(draft: &mut Draft<'_, '_>, user: &Id) -> Result<(), StoreError> {
    for bound in of_user(draft.sql(), user)? {
        unbind(draft, &bound.device, user, 0)?;
    }
    Ok(())
}

pub(super) fn remove_of_device(draft: &mut Draft<'_, '_>, device: &Id) -> Result<(), StoreError> {
    for binding in of_device(draft.sql(), device)? {
        remove(draft, device, &binding.user)?;
    }
    Ok(())
}

pub(crate) fn of_device(sql: &Connection, device: &Id) -> Result<Vec<BindingView>, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE b.device = ?1 ORDER BY b.user"))?
        .query_map([device.as_str()], read)?
        .collect::<Result<_, _>>()?)
}

fn of_user(sql: &Connection, user: &Id) -> Result<Vec<BindingView>, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE b.user = ?1 ORDER BY b.device"))?
        .query_map([user.as_str()], read)?
        .collect::<Result<_, _>>()?)
}

/// Which bindings are asked for; all that is given must be so.
#[derive(Default)]
pub(crate) struct Filter {
    /// Who asks: sees the own ones and the shares of devices that user owns; all unless given.
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
        "(b.device, b.user) > (?, ?)",
        [after.0.to_owned(), after.1.to_owned()],
    );
    if let Some(user) = filter.of {
        let user = user.to_string();
        query.and(
            "b.device IN (SELECT device FROM account_binding WHERE user = ?)",
            [user.clone()],
        );
        query.and(
            "(b.user = ? OR EXISTS (SELECT 1 FROM account_binding o WHERE o.device = b.device AND o.user = ? AND o.owner))",
            [user.clone(), user],
        );
    }
    query.and_some("b.user = ?", filter.user.map(|id| id.to_string()));
    query.and_some("b.device = ?", filter.device.map(|id| id.to_string()));
    query.rows(sql, "b.device, b.user", limit, read)
}

pub(crate) fn is_owner(sql: &Connection, device: &Id, user: &Id) -> Result<bool, StoreError> {
    let owner: Option<bool> = sql
        .prepare_cached("SELECT owner FROM account_binding WHERE device = ?1 AND user = ?2")?
        .query_row((device.as_str(), user.as_str()), |row| row.get(0))
        .optional()?;
    Ok(owner == Some(true))
}

/// The change that made this user the owner; `None` if it is not. What ended before is not its business.
pub(crate) fn owned_since(sql: &Connection, device: &Id, user: &Id) -> Result<Option<u64>, StoreError> {
    if !is_owner(sql, device, user)? {
        return Ok(None);
    }
    match find(sql, &key(device, user))? {
        Found::Live { n, .. } => Ok(Some(n)),
        Found::Deleted { .. } | Found::Never => Err(foreign("binding")),
    }
}

/// One binding; like [`unbind`] if it is not there.
pub(crate) fn show(
    sql: &Connection,
    device: &Id,
    user: &Id,
    known_since: u64,
) -> Result<BindingView, StoreError> {
    match is_bound(sql, device, user)? {
        true => view(sql, device, user),
        false => Err(not_bound(sql, device, user, known_since)?.into()),
    }
}

fn not_bound(sql: &Connection, device: &Id, user: &Id, known_since: u64) -> Result<Refusal, StoreError> {
    Ok(match find(sql, &key(device, user))? {
        Found::Deleted { n } if n > known_since => Refusal::Unbound,
        Found::Live { .. } | Found::Deleted { .. } | Found::Never => Refusal::NotBound,
    })
}

pub(crate) fn is_bound(sql: &Connection, device: &Id, user: &Id) -> Result<bool, StoreError> {
    Ok(sql
        .prepare_cached("SELECT 1 FROM account_binding WHERE device = ?1 AND user = ?2")?
        .exists((device.as_str(), user.as_str()))?)
}

fn owner(device: &Id, user: &Id) -> Binding {
    Binding {
        device: device.clone(),
        user: user.clone(),
        owner: true,
        rights: Rights::default(),
    }
}

/// Gives a binding its state; since when it stands does not change with it.
fn set(draft: &mut Draft<'_, '_>, binding: Binding) -> Result<Bound, StoreError> {
    let known: Option<i64> = draft
        .sql()
        .prepare_cached("SELECT since FROM account_binding WHERE device = ?1 AND user = ?2")?
        .query_row((binding.device.as_str(), binding.user.as_str()), |row| row.get(0))
        .optional()?;
    let since = known.map_or(draft.now(), Timestamp::from_millis);
    draft
        .sql()
        .prepare_cached(
            "INSERT INTO account_binding (device, user, owner, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (device, user) DO UPDATE SET owner = excluded.owner",
        )?
        .execute((
            binding.device.as_str(),
            binding.user.as_str(),
            binding.owner,
            since.as_millis(),
        ))?;
    let (device, user) = (binding.device.clone(), binding.user.clone());
    if known.is_some() {
        draft.put(Cause::Modify, Entity::Binding(binding))?;
        return Ok(Bound::Changed(view(draft.sql(), &device, &user)?));
    }
    draft.put(Cause::Register, Entity::Binding(binding))?;
    Ok(Bound::New(view(draft.sql(), &device, &user)?))
}

fn already(sql: &Connection, binding: &BindingView) -> Result<Bound, StoreError> {
    let operation = match find(sql, &key(&binding.device, &binding.user))? {
        Found::Live { n, .. } => operation::of_change(sql, n)?,
        Found::Deleted { .. } | Found::Never => None,
    };
    Ok(Bound::Already {
        binding: binding.clone(),
        operation,
    })
}

fn remove(draft: &mut Draft<'_, '_>, device: &Id, user: &Id) -> Result<(), StoreError> {
    draft
        .sql()
        .prepare_cached("DELETE FROM account_binding WHERE device = ?1 AND user = ?2")?
        .execute((device.as_str(), user.as_str()))?;
    draft.remove(key(device, user))
}

/// Refuses who is to be given a device and does not exist. An owner learns no more than that: who was deleted is no user.
fn must_be_there(sql: &Connection, user: &Id) -> Result<(), StoreError> {
    let principal = Principal::user(user.clone());
    match find(sql, &EntityKey::Principal(principal.clone()))? {
        Found::Live { .. } => Ok(()),
        Found::Deleted { .. } | Found::Never => Err(Refusal::Unknown(principal).into()),
    }
}

/// The device as a stranger with a code sees it: there or not.
fn presented(sql: &Connection, device: &Id) -> Result<Option<Device>, StoreError> {
    let key = EntityKey::Principal(Principal::device(device.clone()));
    match find(sql, &key)? {
        Found::Live {
            state: Entity::Device(state),
            ..
        } => Ok(Some(state)),
        Found::Live { .. } => Err(mixed(device)),
        Found::Deleted { .. } | Found::Never => Ok(None),
    }
}

fn key(device: &Id, user: &Id) -> EntityKey {
    EntityKey::Binding {
        device: device.clone(),
        user: user.clone(),
    }
}

fn rights_of(view: &BindingView) -> Rights {
    view.rights.iter().copied().collect()
}

fn view(sql: &Connection, device: &Id, user: &Id) -> Result<BindingView, StoreError> {
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE b.device = ?1 AND b.user = ?2"))?
        .query_row((device.as_str(), user.as_str()), read)?)
}

fn read(row: &Row<'_>) -> Result<BindingView, rusqlite::Error> {
    let Some(Entity::Binding(binding)) = entity::state(row, 0)? else {
        return Err(corrupt(0, std::io::Error::other("not the state of a binding")));
    };
    let rights = match binding.owner {
        true => Rights::default(),
        false => binding.rights,
    };
    Ok(BindingView {
        device: binding.device,
        user: binding.user,
        owner: binding.owner,
        rights: Vec::<Right>::from(rights),
        since: time(row, 1)?,
        version: number(row, 2)?,
    })
}
