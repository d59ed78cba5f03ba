//! Logins: looked at and ended by their user and by administrators. What a login has opened ends with it: its tokens
//! are refused, offline by every server, and its MQTT sessions are closed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, Gone};
use irsp_protocol::api::login::{LoginGone, Logins, Logout};
use irsp_protocol::credential::LoginId;
use irsp_protocol::{Id, Principal};

use super::answer::Answer;
use super::body::{IdPath, MaybeBody, PairPath};
use super::caller::{Caller, From, Somebody};
use super::doc::Problems;
use crate::account::Account;
use crate::change::{Conditions, Order};
use crate::refresh::RefreshToken;
use crate::refusal::Refusal;
use crate::store::{Author, login};

/// Ends a login: that of the refresh token in the body, else that of the request's token.
///
/// It needs no Idempotency-Key: what it is shown is ended by it, so a repeat ends nothing more and is answered 401.
#[utoipa::path(post, path = "/v1/logout", tag = "login", request_body = Option<Logout>,
    responses((status = 200, body = Changed<LoginGone>), (status = 202, body = Changed<LoginGone>), Problems),
    security((), ("token" = [])))]
pub(super) async fn logout(
    State(account): State<Arc<Account>>,
    From(from): From,
    Somebody(caller): Somebody,
    MaybeBody(Logout { refresh_token }): MaybeBody<Logout>,
) -> Answer<LoginGone> {
    let now = account.courier.now();
    let (user, ended, until) = match refresh_token {
        Some(shown) => {
            let shown = RefreshToken::parse(&shown).ok_or(Refusal::WrongRefresh)?;
            let family = shown.hash(account.directory.hash_key()).family;
            let found = account
                .courier
                .store()
                .read(move |sql| login::of_family(sql, &family, now))
                .await?;
            let (user, ended) = found.ok_or(Refusal::WrongRefresh)?;
            (user, ended, None)
        }
        None => {
            let caller = caller?;
            let ended = caller.login.ok_or(Refusal::NotOfLogin)?;
            let user = caller.person().cloned().ok_or(Refusal::NotOfLogin)?;
            (user, ended, Some(now.plus(account.token_lifetime)))
        }
    };
    let who = principal(&user);
    let order = Order {
        author: Author {
            who: who.clone(),
            from,
        },
        action: "logout",
        target: who.into(),
        conditions: Conditions::default(),
    };
    account
        .carry_out(order, move |draft| {
            login::end(draft, &user, ended, until)?;
            Ok(LoginGone { login: ended })
        })
        .await?
        .answer(StatusCode::OK)
}

/// The logins of a user that have not ended. For the user, administrators and operators.
#[utoipa::path(get, path = "/v1/users/{id}/logins", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = Logins), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
) -> Result<Json<Logins>, Refusal> {
    if !caller.reads_everything() && caller.person() != Some(&id) {
        return Err(NOT_THEIRS);
    }
    let (now, current) = (account.courier.now(), caller.login);
    let logins = account
        .courier
        .store()
        .read(move |sql| login::list(sql, &id, now, current))
        .await?;
    Ok(Json(Logins { logins }))
}

/// Ends one login of a user. For the user and administrators.
#[utoipa::path(delete, path = "/v1/users/{id}/logins/{login}", tag = "users",
    params(("id" = String, Path), ("login" = String, Path, description = "`id` of the login")),
    responses((status = 200, body = Changed<LoginGone>), (status = 202, body = Changed<LoginGone>), Problems))]
pub(super) async fn end(
    State(account): State<Arc<Account>>,
    caller: Caller,
    PairPath(id, named): PairPath,
) -> Answer<LoginGone> {
    must_be_theirs(&caller, &id)?;
    let ended = LoginId::try_from(named).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let order = caller.orders("login.end", principal(&id));
    account
        .carry_out(order, move |draft| {
            login::end(draft, &id, ended, None)?;
            Ok(LoginGone { login: ended })
        })
        .await?
        .answer(StatusCode::OK)
}

/// Ends every login of a user, with all tokens made until now. For the user and administrators.
#[utoipa::path(delete, path = "/v1/users/{id}/logins", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn end_all(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
) -> Answer<Gone> {
    must_be_theirs(&caller, &id)?;
    let order = caller.orders("login.end", principal(&id));
    account
        .carry_out(order, move |draft| {
            login::end_all(draft, &id)?;
            Ok(Gone { id: id.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

const NOT_THEIRS: Refusal = Refusal::NotGranted("the logins are another user's");

fn must_be_theirs(caller: &Caller, user: &Id) -> Result<(), Refusal> {
    match caller.is_admin() || caller.person() == Some(user) {
        true => Ok(()),
        false => Err(NOT_THEIRS),
    }
}

fn principal(id: &Id) -> Principal {
    Principal::user(id.clone())
}
