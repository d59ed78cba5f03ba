//! Login: a password for a short-lived signed token, which every server checks on its own, and a refresh token for the
//! next, which only this server knows.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_directory::token::Claims;
use irsp_protocol::api::account::{Credentials, Token};
use irsp_protocol::api::login::Refresh;
use irsp_protocol::change::User;
use irsp_protocol::credential::LoginId;
use irsp_protocol::{Id, Principal, Secret, Status, Timestamp};
use ring::rand::SecureRandom;
use tracing::{error, info, warn};

use super::body::Body;
use super::caller::From;
use super::doc::Problems;
use crate::account::Account;
use crate::change::{Conditions, Order};
use crate::door::Visitor;
use crate::password::{self, StoredPassword};
use crate::refresh::RefreshToken;
use crate::refusal::Refusal;
use crate::store::audit::Line;
use crate::store::login::{self, Rotation};
use crate::store::{Author, password as stored};

/// A token for a user's password, and a refresh token for the next one.
///
/// An unknown user and a wrong password are one answer. After some failures from one address, or many over all names from
/// one network, the answer is 429, with a `Retry-After`.
#[utoipa::path(post, path = "/v1/login", tag = "login", request_body = Credentials,
    responses((status = 200, body = Token), Problems), security(()))]
pub(super) async fn login(
    State(account): State<Arc<Account>>,
    From(from): From,
    Body(credentials): Body<Credentials>,
) -> Result<Json<Token>, Refusal> {
    let now = account.courier.now();
    let Credentials { id, password } = credentials;
    // What is no id is one door, so that made-up names take no memory.
    let id = Id::new(&id).ok();
    let (user, password) = match checked(&account, id.clone(), password, from, now).await {
        Ok(checked) => checked,
        Err(refusal) => {
            note(&account, id, from, "login", &refusal).await?;
            return Err(refusal);
        }
    };
    // A clock that was set back makes no token that is refused at once.
    let now = now.max(user.tokens_from);
    let refresh = RefreshToken::new(account.secret()?.0, account.secret()?.0);
    let issue = Issue::new(&account, login_id(&account)?, now);
    let begun = login::Login {
        id: issue.login,
        user: user.id.clone(),
        refresh: refresh.hash(account.directory.hash_key()),
        password,
        began: now,
        expires: issue.refresh_expires,
        token_until: issue.expires,
        from,
    };
    let who = Principal::user(user.id.clone());
    let order = Order {
        author: Author {
            who: who.clone(),
            from,
        },
        action: "login",
        target: who.into(),
        conditions: Conditions::default(),
    };
    account
        .note(order, move |draft| login::begin(draft, &begun))
        .await?;
    account.metrics.logins.inc();
    issue.token(&account, &user, &refresh)
}

/// The next token and refresh token of a login.
///
/// A refresh token is good once. Shown a second time, somebody has a copy of it: the login ends, with all its tokens.
#[utoipa::path(post, path = "/v1/refresh", tag = "login", request_body = Refresh,
    responses((status = 200, body = Token), Problems), security(()))]
pub(super) async fn refresh(
    State(account): State<Arc<Account>>,
    From(from): From,
    Body(Refresh { refresh_token }): Body<Refresh>,
) -> Result<Json<Token>, Refusal> {
    let now = account.courier.now();
    match renewed(&account, &refresh_token, from, now).await {
        Ok(token) => {
            account.metrics.logins_renewed.inc();
            Ok(token)
        }
        Err(refusal) => {
            note(&account, None, from, "login.refresh", &refusal).await?;
            Err(refusal)
        }
    }
}

async fn renewed(
    account: &Account,
    shown: &Secret,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<Json<Token>, Refusal> {
    let shown = RefreshToken::parse(shown).ok_or(Refusal::WrongRefresh)?;
    let (turn, turn_hash) = account.secret()?;
    let hash = shown.hash(account.directory.hash_key());
    let renewal = login::Renewal {
        now,
        expires: now.plus(account.refresh_lifetime.max(account.token_lifetime)),
        token_until: now.plus(account.token_lifetime),
        from,
    };
    // Before the writer is asked: a stranger causes no such work.
    let family = hash.family;
    let known = account
        .courier
        .store()
        .read(move |sql| login::of_family(sql, &family, now))
        .await?;
    if known.is_none() {
        return Err(Refusal::WrongRefresh);
    }
    let rotation = account
        .courier
        .write(move |tx| login::rotate(tx, &hash, &turn_hash, renewal))
        .await?;
    match rotation {
        Rotation::Renewed { user, login } => {
            let issue = Issue::new(account, login, now.max(user.tokens_from));
            issue.token(account, &user, &shown.next(turn))
        }
        Rotation::Reused { user, login } => {
            account.metrics.refreshes_reused.inc();
            let who = Principal::user(user.clone());
            warn!(user = %who, %login, from = ?from, "a refresh token was shown a second time: its login ends");
            let order = Order {
                author: Author {
                    who: who.clone(),
                    from,
                },
                action: "login.reuse",
                target: who.into(),
                conditions: Conditions::default(),
            };
            let ended = account
                .note(order, move |draft| login::end(draft, &user, login, None))
                .await;
            match ended {
                // Somebody else has ended it meanwhile.
                Err(refusal) if refusal.status() != Status::NOT_FOUND => Err(refusal),
                Ok(()) | Err(_) => Err(Refusal::WrongRefresh),
            }
        }
        Rotation::Disabled => Err(Refusal::Disabled),
        Rotation::Unknown => Err(Refusal::WrongRefresh),
    }
}

/// Tokens of a login about to be made.
struct Issue {
    login: LoginId,
    now: Timestamp,
    expires: Timestamp,
    refresh_expires: Timestamp,
}

impl Issue {
    fn new(account: &Account, login: LoginId, now: Timestamp) -> Issue {
        Issue {
            login,
            now,
            expires: now.plus(account.token_lifetime),
            refresh_expires: now.plus(account.refresh_lifetime.max(account.token_lifetime)),
        }
    }

    fn token(self, account: &Account, user: &User, refresh: &RefreshToken) -> Result<Json<Token>, Refusal> {
        let claims = Claims {
            sub: Principal::user(user.id.clone()),
            role: user.role,
            iat: self.now,
            exp: self.expires,
            sid: Some(self.login),
        };
        let token = account.signer.sign(&claims).map_err(|error| {
            error!(%error, "a token cannot be signed");
            Refusal::NotSigned
        })?;
        Ok(Json(Token {
            token,
            expires: self.expires,
            token_type: "Bearer".to_owned(),
            login: Some(self.login),
            refresh_token: Some(refresh.text()),
            refresh_expires: Some(self.refresh_expires),
        }))
    }
}

fn login_id(account: &Account) -> Result<LoginId, Refusal> {
    let mut bytes = [0; 8];
    account
        .random
        .fill(&mut bytes)
        .map_err(|_| Refusal::NoRandomness)?;
    Ok(LoginId(u64::from_be_bytes(bytes)))
}

/// The user whose password it is, and the password as it is stored.
async fn checked(
    account: &Account,
    id: Option<Id>,
    password: Secret,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<(Arc<User>, StoredPassword), Refusal> {
    let name = id.as_ref().map(Id::to_string).unwrap_or_default();
    let attempt = account.admit(Visitor { name, from }).await?;
    if password.expose().len() > password::LEN_MAX {
        return Err(Refusal::WrongPassword);
    }
    let stored = match id.clone() {
        Some(id) => {
            account
                .courier
                .store()
                .read(move |sql| stored::of_user(sql, &id))
                .await?
        }
        None => None,
    };
    let right = match account.passwords.is_right(password, stored.clone()).await {
        Ok(right) => right,
        Err(error) => {
            account.logins.take_back(attempt);
            return Err(error.into());
        }
    };
    let id = id.filter(|_| right).ok_or(Refusal::WrongPassword)?;
    let stored = stored.ok_or(Refusal::WrongPassword)?;
    account.logins.succeeded(attempt, now);
    let user = account.directory.user(&id).ok_or(Refusal::WrongPassword)?;
    match user.disabled {
        true => Err(Refusal::Disabled),
        false => Ok((user, stored)),
    }
}

/// Counts a refused login, or what stands for one, and writes it down. A name that nobody has is not written: it may be a password that was
/// typed into the wrong field.
pub(super) async fn note(
    account: &Account,
    id: Option<Id>,
    from: Option<IpAddr>,
    action: &'static str,
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
    info!(user = known.as_ref().map(tracing::field::display), from = ?from, status = %refusal.status(), action, "a login was refused");
    account
        .refused(Line {
            who: None,
            from,
            action,
            what: known
                .as_ref()
                .map_or_else(|| "an unknown user".to_owned(), Principal::to_string),
            status: refusal.status(),
            targets: known.into_iter().collect(),
        })
        .await
}
