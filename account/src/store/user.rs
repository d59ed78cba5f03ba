//! Users: their part of the entity table, and their passwords, which never leave this server.

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::{UserPatch, UserView};
use irsp_protocol::change::{Cause, Entity, EntityKey, Role, User};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Id, Principal};
use rusqlite::{Connection, Row};

use super::list::Query;
use super::{Draft, binding, corrupt, entity, grant, login, number, password, time};
use crate::password::StoredPassword;

const SELECT: &str = "SELECT u.created, u.modified, e.state, u.version FROM account_user u JOIN entity e ON e.key = 'usr/' || u.id";

pub(crate) fn view(sql: &Connection, id: &Id) -> Result<UserView, StoreError> {
    entity::user(sql, id)?;
    Ok(sql
        .prepare_cached(&format!("{SELECT} WHERE u.id = ?1"))?
        .query_row([id.as_str()], read)?)
}

/// Which users are asked for; all that is given must be so.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) prefix: Option<String>,
    pub(crate) role: Option<Role>,
    pub(crate) disabled: Option<bool>,
}

pub(crate) fn list(
    sql: &Connection,
    filter: Filter,
    after: String,
    limit: u32,
) -> Result<Vec<UserView>, StoreError> {
    let role = filter.role.map(|role| match role {
        Role::User => "user",
        Role::Operator => "operator",
        Role::Admin => "admin",
    });
    let mut query = Query::new(SELECT);
    query.and("u.id > ?", [after]);
    query.and_prefix("u.id >= ?", "u.id < ?", filter.prefix);
    query.and_some("e.state ->> '$.user.role' = ?", role.map(str::to_owned));
    query.and_some("e.state ->> '$.user.disabled' = ?", filter.disabled);
    query.rows(sql, "u.id", limit, read)
}

/// Clause 8.2.1.
pub(crate) fn register(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    role: Role,
    password: Option<&StoredPassword>,
    tokens: &[SecretHash],
) -> Result<UserView, StoreError> {
    entity::must_be_new(draft.sql(), Principal::user(id.clone()))?;
    let now = draft.now();
    draft
        .sql()
        .prepare_cached("INSERT INTO account_user (id, password, created, modified) VALUES (?1, ?2, ?3, ?3)")?
        .execute((id.as_str(), password.map(StoredPassword::as_phc), now.as_millis()))?;
    let user = User {
        id: id.clone(),
        role,
        disabled: false,
        tokens_from: now,
        tokens: tokens.to_vec(),
        ended_logins: Vec::new(),
    };
    draft.put(Cause::Register, Entity::User(user))?;
    view(draft.sql(), id)
}

/// Clause 8.2.2. A patch that changes nothing tells nobody anything.
pub(crate) fn modify(draft: &mut Draft<'_, '_>, id: &Id, patch: &UserPatch) -> Result<UserView, StoreError> {
    let before = entity::user(draft.sql(), id)?;
    let mut user = before.clone();
    user.role = patch.role.unwrap_or(user.role);
    user.disabled = patch.disabled.unwrap_or(user.disabled);
    if user != before {
        touch(draft, id)?;
        draft.put(Cause::Modify, Entity::User(user))?;
    }
    view(draft.sql(), id)
}

/// Sets the machine tokens of a user.
pub(crate) fn set_tokens(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    tokens: &[SecretHash],
) -> Result<(), StoreError> {
    let mut user = entity::user(draft.sql(), id)?;
    if user.tokens != tokens {
        user.tokens = tokens.to_vec();
        touch(draft, id)?;
        draft.put(Cause::Modify, Entity::User(user))?;
    }
    Ok(())
}

/// Sets a password. `replaced` is the one the caller has shown to know: if another stands there by now, the change
/// is refused. Logins, tokens issued before and a reset code end with it.
pub(crate) fn set_password(
    draft: &mut Draft<'_, '_>,
    id: &Id,
    replaced: Option<&StoredPassword>,
    password: &StoredPassword,
) -> Result<UserView, StoreError> {
    let mut user = entity::user(draft.sql(), id)?;
    if replaced.is_some() && password::of_user(draft.sql(), id)?.as_ref() != replaced {
        return Err(crate::refusal::Refusal::PasswordChanged.into());
    }
    draft
        .sql()
        .prepare_cached("UPDATE account_user SET password = ?2 WHERE id = ?1")?
        .execute((id.as_str(), password.as_phc()))?;
    touch(draft, id)?;
    login::remove_of_user(draft.sql(), id)?;
    login::refuse_older(&mut user, draft.now());
    draft.put(Cause::Modify, Entity::User(user))?;
    view(draft.sql(), id)
}

/// Clause 8.2.3: the user, the password and every binding go; the id is not used again.
pub(crate) fn delete(draft: &mut Draft<'_, '_>, id: &Id) -> Result<(), StoreError> {
    entity::user(draft.sql(), id)?;
    binding::remove_of_user(draft, id)?;
    login::remove_of_user(draft.sql(), id)?;
    grant::remove_of(draft, &Principal::user(id.clone()))?;
    draft
        .sql()
        .prepare_cached("DELETE FROM account_user WHERE id = ?1")?
        .execute([id.as_str()])?;
    draft.remove(EntityKey::Principal(Principal::user(id.clone())))
}

fn touch(draft: &Draft<'_, '_>, id: &Id) -> Result<(), StoreError> {
    draft
        .sql()
        .prepare_cached("UPDATE account_user SET modified = ?2 WHERE id = ?1")?
        .execute((id.as_str(), draft.now().as_millis()))?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<UserView, rusqlite::Error> {
    match entity::state(row, 2)? {
        Some(Entity::User(user)) => Ok(UserView {
            id: user.id,
            role: user.role,
            disabled: user.disabled,
            created: time(row, 0)?,
            modified: time(row, 1)?,
            version: number(row, 3)?,
        }),
        _ => Err(corrupt(2, std::io::Error::other("not the state of a user"))),
    }
}
