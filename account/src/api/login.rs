//! Login: a password for a short-lived signed token, which every server checks on its own.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_directory::token::Claims;
use irsp_protocol::api::account::{Credentials, Token};
use irsp_protocol::{Id, Principal};
use tracing::{error, info};

use super::body::Body;
use super::caller::From;
use super::doc::Problems;
use crate::account::Account;
use crate::password;
use crate::refusal::Refusal;
use crate::store::{Author, user};

/// A token for a user's password.
///
/// An unknown user and a wrong password are one answer. After some failures from one address the answer is 429, with
/// a growing `Retry-After`.
#[utoipa::path(post, path = "/v1/login", tag = "login", request_body = Credentials,
    responses((status = 200, body = Token), Problems), security(()))]
pub(super) async fn login(
    State(account): State<Arc<Account>>,
    From(from): From,
    Body(credentials): Body<Credentials>,
) -> Result<Json<Token>, Refusal> {
    // Before the password is looked up: if it changes meanwhile, this token is older than the change.
    let now = account.courier.now();
    let Credentials { id, password } = credentials;
    // What is no id is one door, so that made-up names take no memory.
    let id = Id::new(&id).ok();
    let door = (id.as_ref().map(Id::to_string).unwrap_or_default(), from);
    account.logins.admit(&door, now)?;
    let wrong = || {
        info!(user = door.0, from = ?from, "a login was refused");
        account.metrics.logins_wrong.inc();
        Refusal::WrongPassword
    };
    if password.expose().len() > password::LEN_MAX {
        return Err(wrong());
    }
    let stored = match id.clone() {
        Some(id) => {
            account
                .courier
                .store()
                .read(move |sql| user::password(sql, &id))
                .await?
        }
        None => None,
    };
    let right = account.passwords.is_right(password, stored).await?;
    let Some(id) = id.filter(|_| right) else {
        return Err(wrong());
    };
    account.logins.succeeded(&door);
    let user = account.directory.user(&id).ok_or(Refusal::WrongPassword)?;
    if user.disabled {
        account.metrics.logins_disabled.inc();
        return Err(Refusal::Disabled);
    }
    let sub = Principal::user(id);
    let expires = now.plus(account.token_lifetime);
    let claims = Claims {
        sub: sub.clone(),
        role: user.role,
        iat: now,
        exp: expires,
    };
    let token = account.signer.sign(&claims).map_err(|error| {
        error!(%error, "a token cannot be signed");
        Refusal::NotSigned
    })?;
    let what = sub.to_string();
    account.audit(Author { who: sub, from }, "login", what).await?;
    account.metrics.logins.inc();
    Ok(Json(Token {
        token,
        expires,
        token_type: "Bearer".to_owned(),
    }))
}
