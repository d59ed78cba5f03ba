//! Verification codes of a device beside the first: how one is replaced without a moment in which none is valid.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, CodeGone, CodeView, CodeWithSecret, Codes, NewCode};
use irsp_protocol::credential::Code;
use irsp_protocol::{Id, Timestamp};

use super::answer::Answer;
use super::body::{IdPath, MaybeBody, PairPath};
use super::caller::Caller;
use super::devices::{NOT_THEIRS, principal};
use super::doc::Problems;
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::{binding, device};

/// The codes of a device, without the codes themselves. For the owner, administrators and operators.
#[utoipa::path(get, path = "/v1/devices/{id}/codes", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = Codes), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
) -> Result<Json<Codes>, Refusal> {
    let owner = owner(&caller, caller.reads_everything())?;
    let now = account.courier.now();
    let codes = account
        .courier
        .store()
        .read(move |sql| {
            must_own(sql, &id, owner.as_ref())?;
            device::codes(sql, &id)
        })
        .await?;
    let codes = codes.iter().map(|code| view(code, now)).collect();
    Ok(Json(Codes { codes }))
}

/// Makes another code, shown this once; those there are stay valid. For administrators and the owner.
#[utoipa::path(post, path = "/v1/devices/{id}/codes", tag = "devices", params(("id" = String, Path)),
    request_body = Option<NewCode>,
    responses((status = 201, body = Changed<CodeWithSecret>), (status = 202, body = Changed<CodeWithSecret>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
    MaybeBody(NewCode {
        expires,
        others_expire,
    }): MaybeBody<NewCode>,
) -> Answer<CodeWithSecret> {
    let now = account.courier.now();
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Refusal::Malformed("expires has passed".to_owned()));
    }
    let owner = owner(&caller, caller.is_admin())?;
    let (secret, hash) = account.secret()?;
    let code = Code { hash, expires };
    let order = caller.orders("device.code.add", principal(&id));
    account
        .carry_out(order, move |draft| {
            must_own(draft.sql(), &id, owner.as_ref())?;
            device::add_code(draft, &id, code, others_expire)?;
            Ok(CodeWithSecret {
                view: view(&code, now),
                code: secret.clone(),
            })
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// Revokes a code; sessions opened with it end. For administrators and the owner.
#[utoipa::path(delete, path = "/v1/devices/{id}/codes/{code}", tag = "devices",
    params(("id" = String, Path), ("code" = String, Path, description = "`id` of the code")),
    responses((status = 200, body = Changed<CodeGone>), (status = 202, body = Changed<CodeGone>), Problems))]
pub(super) async fn revoke(
    State(account): State<Arc<Account>>,
    caller: Caller,
    PairPath(id, code): PairPath,
) -> Answer<CodeGone> {
    let owner = owner(&caller, caller.is_admin())?;
    let order = caller.orders("device.code.revoke", principal(&id));
    account
        .carry_out(order, move |draft| {
            must_own(draft.sql(), &id, owner.as_ref())?;
            device::revoke_code(draft, &id, &code)?;
            Ok(CodeGone { id: code.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

/// The user who must own the device; `None` for who needs not.
fn owner(caller: &Caller, stands_above: bool) -> Result<Option<Id>, Refusal> {
    match stands_above {
        true => Ok(None),
        false => Ok(Some(caller.person().ok_or(NOT_THEIRS)?.clone())),
    }
}

/// To a user, a device that does not exist and one that is not theirs are the same.
fn must_own(
    sql: &rusqlite::Connection,
    device: &Id,
    owner: Option<&Id>,
) -> Result<(), irsp_courier::store::StoreError> {
    match owner {
        Some(owner) if !binding::is_owner(sql, device, owner)? => Err(NOT_THEIRS.into()),
        Some(_) | None => Ok(()),
    }
}

fn view(code: &Code, now: Timestamp) -> CodeView {
    CodeView {
        id: code.id(),
        expires: code.expires,
        valid: code.is_valid(now),
    }
}
