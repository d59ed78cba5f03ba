//! Login: a password for a short-lived signed token, which every server checks on its own.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_directory::token::Claims;
use irsp_protocol::api::account::{Credentials, Token};
use irsp_protocol::change::User;
use irsp_protocol::{Id, Principal, Secret, Status, Timestamp};
use tracing::{error, info};

use super::body::Body;
use super::caller::From;
use super::doc::Problems;
use crate::account::Account;
use crate::password;
use crate::refusal::Refusal;
use crate::store::audit::Line;
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
    match checked(&account, id.clone(), password, from, now).await {
        Ok((user, sub)) => {
            let expires = now.plus(account.token_lifetime);
            let claims = Claims {
                sub: sub.clone(),
                role: user.role,
                iat: now,
                exp: expires,
                sid: None,
            };
            let token = account.signer.sign(&claims).map_err(|error| {
                error!(%error, "a token cannot be signed");
                Refusal::NotSigned
            })?;
            let author = Author {
                who: sub.clone(),
                from,
            };
            let mut line = Line::done(&author, "login", sub.to_string());
            line.targets.insert(sub);
            account.audit(line).await?;
            account.metrics.logins.inc();
            Ok(Json(Token {
                token,
                expires,
                token_type: "Bearer".to_owned(),
            }))
        }
        Err(refusal) => {
            note(&account, id, from, &refusal).await?;
            Err(refusal)
        }
    }
}

/// The user whose password it is.
async fn checked(
    account: &Account,
    id: Option<Id>,
    password: Secret,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<(Arc<User>, Principal), Refusal> {
    let door = (id.as_ref().map(Id::to_string).unwrap_or_default(), from);
    account.logins.admit(&door, now)?;
    if password.expose().len() > password::LEN_MAX {
        return Err(Refusal::WrongPassword);
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
    let id = id.filter(|_| right).ok_or(Refusal::WrongPassword)?;
    account.logins.succeeded(&door);
    let user = account.directory.user(&id).ok_or(Refusal::WrongPassword)?;
    match user.disabled {
        true => Err(Refusal::Disabled),
        false => Ok((user, Principal::user(id))),
    }
}

/// Counts a refused login and writes it down. A name that nobody has is not written: it may be a password that was
/// typed into the wrong field.
async fn note(
    account: &Account,
    id: Option<Id>,
    from: Option<IpAddr>,
    refusal: &Refusal,
) -> Result<(), Refusal> {
    match refusal.status() {
        Status::UNAUTHENTICATED => account.metrics.logins_wrong.inc(),
        Status::FORBIDDEN => account.metrics.logins_disabled.inc(),
        Status::OVER_QUOTA => 0,
        // The server's own trouble.
        _ => return Ok(()),
    };
    let known = id
        .filter(|id| account.directory.user(id).is_some())
        .map(Principal::user);
    info!(user = known.as_ref().map(tracing::field::display), from = ?from, status = %refusal.status(), "a login was refused");
    account
        .refused(Line {
            who: None,
            from,
            action: "login",
            what: known
                .as_ref()
                .map_or_else(|| "an unknown user".to_owned(), Principal::to_string),
            status: refusal.status(),
            targets: known.into_iter().collect(),
        })
        .await
}
