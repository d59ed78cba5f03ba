//! Grants to applications and users of other domains (clause 8.7): given and withdrawn by a device's owner, by the user whom they
//! are about, or by an administrator.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, Page};
use irsp_protocol::api::peer::{GrantView, NewGrant, ReceivedGrant};
use irsp_protocol::change::EntityKey;
use irsp_protocol::{Address, Domain, Kind, Principal};
use serde::Deserialize;

use super::answer::Answer;
use super::body::{Asked, Body};
use super::caller::Caller;
use super::doc::Problems;
use super::page::{self, page};
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::{binding, grant, granted};

/// Whose grants are meant.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Such as `dev/lamp-1`; oneself unless given. Administrators and operators see all of them without it.
    #[param(value_type = Option<String>)]
    principal: Option<Principal>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which grant is meant.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Such as `dev/lamp-1`.
    #[param(value_type = String)]
    principal: Principal,
    /// Such as `app/climate@other.example`.
    #[param(value_type = String)]
    to: Address,
}

/// The grants about a device or a user.
#[utoipa::path(get, path = "/v1/grants", tag = "grants", params(Whose),
    responses((status = 200, body = Page<GrantView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    caller: Caller,
    Asked(Whose {
        principal,
        after,
        limit,
    }): Asked<Whose>,
) -> Result<Json<Page<GrantView>>, Refusal> {
    let limit = page::limit(limit)?;
    let after = after.unwrap_or_default();
    let of = match principal {
        None if caller.reads_everything() => None,
        None => Some(caller.principal.clone()),
        Some(principal) => {
            if !caller.reads_everything() {
                must_be_theirs(&account, &caller, &principal).await?;
            }
            Some(principal)
        }
    };
    let grants = account
        .courier
        .store()
        .read(move |sql| grant::list(sql, of.as_ref(), &after, limit + 1))
        .await?;
    Ok(page(grants, limit, grant::place))
}

/// To whom something was granted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Receiver {
    /// Such as `usr/bob` or `app/climate`; oneself unless given. Administrators and operators see all of them without it.
    #[param(value_type = Option<String>)]
    to: Option<Principal>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// What other domains have granted to a user or an application, as they told it: devices that are shared with it.
#[utoipa::path(get, path = "/v1/grants/received", tag = "grants", params(Receiver),
    responses((status = 200, body = Page<ReceivedGrant>), Problems))]
pub(super) async fn received(
    State(account): State<Arc<Account>>,
    caller: Caller,
    Asked(Receiver { to, after, limit }): Asked<Receiver>,
) -> Result<Json<Page<ReceivedGrant>>, Refusal> {
    let limit = page::limit(limit)?;
    let after = after.unwrap_or_default();
    let of = match to {
        Some(to) if to != caller.principal && !caller.reads_everything() => {
            return Err(Refusal::NotGranted(
                "only for oneself, administrators and operators",
            ));
        }
        None if !caller.reads_everything() => Some(caller.principal),
        to => to,
    };
    let grants = account
        .courier
        .store()
        .read(move |sql| granted::list(sql, of.as_ref(), &after, limit + 1))
        .await?;
    Ok(page(grants, limit, granted::place))
}

/// Lets an application of another domain hear a device or a user, or push to it; or shares a device with a user of another
/// domain, who may then ask for its presence (`hears`) or push to it (`pushes`).
#[utoipa::path(post, path = "/v1/grants", tag = "grants", request_body = NewGrant,
    responses((status = 201, body = Changed<GrantView>), (status = 202, body = Changed<GrantView>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    caller: Caller,
    Body(new): Body<NewGrant>,
) -> Answer<GrantView> {
    check_new(&new, &account.domain)?;
    must_be_theirs(&account, &caller, &new.principal).await?;
    let key = EntityKey::Grant {
        principal: new.principal.clone(),
        to: new.to.clone(),
    };
    let owner = caller.person().filter(|_| !caller.is_admin()).cloned();
    account
        .carry_out(caller.orders("grant.register", key), move |draft| {
            // Once more: the device may have gone to another owner.
            if let Some(owner) = &owner
                && binding::grants_since(draft.sql(), owner, &new.principal)?.is_none()
            {
                return Err(NOT_THEIRS.into());
            }
            grant::give(draft, &new)
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// Withdraws a grant: what waits for the receiver by its right ends with 403, and nothing more passes.
#[utoipa::path(delete, path = "/v1/grants", tag = "grants", params(Which),
    responses((status = 200, body = Changed<GrantView>), (status = 202, body = Changed<GrantView>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    caller: Caller,
    Asked(Which { principal, to }): Asked<Which>,
) -> Answer<GrantView> {
    must_be_theirs(&account, &caller, &principal).await?;
    let key = EntityKey::Grant {
        principal: principal.clone(),
        to: to.clone(),
    };
    let owner = caller.person().filter(|_| !caller.is_admin()).cloned();
    account
        .carry_out(caller.orders("grant.delete", key), move |draft| {
            let known_since = match &owner {
                Some(owner) => binding::grants_since(draft.sql(), owner, &principal)?.ok_or(NOT_THEIRS)?,
                None => 0,
            };
            grant::withdraw(draft, &principal, &to, known_since)
        })
        .await?
        .answer(StatusCode::OK)
}

/// What of a new grant needs no database to be refused. Within the domain (`own`) applications are granted by themselves.
pub(super) fn check_new(new: &NewGrant, own: &Domain) -> Result<(), Refusal> {
    let abroad = new.to.domain.as_ref().is_some_and(|domain| domain != own);
    let to = new.to.principal.kind;
    if !abroad || !matches!(to, Kind::Application | Kind::User) {
        return Err(Refusal::Malformed(
            "to: an application or user of another domain, such as app/climate@other.example".to_owned(),
        ));
    }
    if to == Kind::User && new.principal.kind != Kind::Device {
        return Err(Refusal::Malformed(
            "principal: only a device is shared with a user".to_owned(),
        ));
    }
    match new.hears || new.pushes {
        true => Ok(()),
        false => Err(Refusal::Malformed("hears or pushes: what is granted?".to_owned())),
    }
}

const NOT_THEIRS: Refusal =
    Refusal::NotGranted("only for the device's owner, the user itself and administrators");

/// Refuses who is neither an administrator nor the owner. Whether the principal exists is not told.
async fn must_be_theirs(account: &Account, caller: &Caller, principal: &Principal) -> Result<(), Refusal> {
    if caller.is_admin() {
        return Ok(());
    }
    let theirs = match caller.person().cloned() {
        Some(user) => {
            let principal = principal.clone();
            account
                .courier
                .store()
                .read(move |sql| binding::grants_since(sql, &user, &principal))
                .await?
                .is_some()
        }
        None => false,
    };
    if theirs { Ok(()) } else { Err(NOT_THEIRS) }
}
