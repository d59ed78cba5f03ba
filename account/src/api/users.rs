//! Users.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, Gone, NewPassword, NewUser, Page, UserPatch, UserView};
use irsp_protocol::change::Role;
use irsp_protocol::{Id, Principal, Secret};

use serde::Deserialize;

use super::answer::{Answer, Shown};
use super::body::{Asked, Body, IdPath};
use super::caller::{Admin, Caller, Reader};
use super::doc::Problems;
use super::page::{Standing, limit, page};
use crate::account::Account;
use crate::door::Visitor;
use crate::password::{self, StoredPassword};
use crate::refusal::Refusal;
use crate::settings::ADMIN;
use crate::store::audit::Line;
use crate::store::{password as stored, user};

/// Which users are asked for; all that is given must be so.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UserQuery {
    /// Only ids that begin like this.
    #[param(max_length = 64)]
    prefix: Option<String>,
    #[param(value_type = Option<String>, pattern = "^(user|operator|admin)$")]
    role: Option<Role>,
    #[param(inline)]
    state: Option<Standing>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The users, in order of their ids.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(UserQuery),
    responses((status = 200, body = Page<UserView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(asked): Asked<UserQuery>,
) -> Result<Json<Page<UserView>>, Refusal> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    let filter = user::Filter {
        prefix: asked.prefix,
        role: asked.role,
        disabled: asked.state.map(Standing::is_disabled),
    };
    let users = account
        .courier
        .store()
        .read(move |sql| user::list(sql, filter, after, limit + 1))
        .await?;
    Ok(page(users, limit, |user| user.id.to_string()))
}

/// Registers a user.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = Changed<UserView>), (status = 202, body = Changed<UserView>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    Body(new): Body<NewUser>,
) -> Answer<UserView> {
    let NewUser { id, password, role } = new;
    let password = hashed(&account, password).await?;
    let role = role.unwrap_or(Role::User);
    let order = caller.orders("user.register", principal(&id));
    account
        .carry_out(order, move |draft| {
            user::register(draft, &id, role, Some(&password), &[])
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// One user; a user may look at themselves.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = UserView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
) -> Result<Shown<UserView>, Refusal> {
    if !caller.reads_everything() && caller.person() != Some(&id) {
        return Err(Refusal::NotGranted(
            "only for administrators, operators and the user",
        ));
    }
    let record = account
        .courier
        .store()
        .read(move |sql| user::view(sql, &id))
        .await?;
    Ok(caller.shown(record))
}

/// Changes a user's role, disables or enables the user.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    request_body = UserPatch,
    responses((status = 200, body = Changed<UserView>), (status = 202, body = Changed<UserView>), Problems))]
pub(super) async fn modify(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    Body(patch): Body<UserPatch>,
) -> Answer<UserView> {
    let lowers = patch.role.is_some_and(|role| role != Role::Admin) || patch.disabled == Some(true);
    if lowers && id.as_str() == ADMIN {
        return Err(Refusal::AdminStays);
    }
    let order = caller.orders("user.modify", principal(&id));
    account
        .carry_out(order, move |draft| user::modify(draft, &id, &patch))
        .await?
        .answer(StatusCode::OK)
}

/// Deletes a user with the user's bindings. The id is not used again.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Answer<Gone> {
    if id.as_str() == ADMIN {
        return Err(Refusal::AdminStays);
    }
    let order = caller.orders("user.delete", principal(&id));
    account
        .carry_out(order, move |draft| {
            user::delete(draft, &id)?;
            Ok(Gone { id: id.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

/// Sets a password: one's own by showing the old one, administrators that of anybody else. Older tokens end.
#[utoipa::path(put, path = "/v1/users/{id}/password", tag = "users", params(("id" = String, Path)),
    request_body = NewPassword,
    responses((status = 200, body = Changed<UserView>), (status = 202, body = Changed<UserView>), Problems))]
pub(super) async fn set_password(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
    Body(new): Body<NewPassword>,
) -> Answer<UserView> {
    let replaced = if caller.person() == Some(&id) {
        match shown(&account, &caller, &id, new.old).await {
            Ok(shown) => shown,
            Err(refusal) => {
                note(&account, &caller, &refusal).await?;
                return Err(refusal);
            }
        }
    } else if caller.is_admin() {
        None
    } else {
        return Err(Refusal::NotGranted("only for administrators and the user"));
    };
    let password = hashed(&account, new.password).await?;
    let order = caller.orders("user.password", principal(&id));
    account
        .carry_out(order, move |draft| {
            user::set_password(draft, &id, replaced.as_ref(), &password)
        })
        .await?
        .answer(StatusCode::OK)
}

/// The stored password, if the caller has shown to know it; `None` if there is none yet, as with the admin token's user.
/// Guessing is slowed down as at the login.
async fn shown(
    account: &Account,
    caller: &Caller,
    id: &Id,
    old: Option<Secret>,
) -> Result<Option<StoredPassword>, Refusal> {
    let looked_up = id.clone();
    let stored = account
        .courier
        .store()
        .read(move |sql| stored::of_user(sql, &looked_up))
        .await?;
    if stored.is_none() {
        return Ok(None);
    }
    let old = old
        .filter(|old| old.expose().len() <= password::LEN_MAX)
        .ok_or(Refusal::WrongOldPassword)?;
    let visitor = Visitor {
        name: id.to_string(),
        from: caller.from(),
    };
    let attempt = account.admit(visitor).await?;
    if !account.passwords.is_right(old, stored.clone()).await? {
        return Err(Refusal::WrongOldPassword);
    }
    account.logins.succeeded(attempt, account.courier.now());
    Ok(stored)
}

/// Writes down that somebody with a token does not know the password.
async fn note(account: &Account, caller: &Caller, refusal: &Refusal) -> Result<(), Refusal> {
    if !matches!(refusal, Refusal::WrongOldPassword | Refusal::TooManyAttempts(_)) {
        return Ok(());
    }
    let what = caller.principal.to_string();
    let line = Line {
        status: refusal.status(),
        targets: BTreeSet::from([caller.principal.clone()]),
        ..Line::done(&caller.author(), "user.password", what)
    };
    account.refused(line).await
}

pub(super) async fn hashed(account: &Account, password: Secret) -> Result<StoredPassword, Refusal> {
    let (min, max) = (password::LEN_MIN, password::LEN_MAX);
    if !(min..=max).contains(&password.expose().len()) {
        return Err(Refusal::Malformed(format!("a password has {min} to {max} bytes")));
    }
    Ok(account.passwords.hash(password).await?)
}

fn principal(id: &Id) -> Principal {
    Principal::user(id.clone())
}
