//! A forgotten password: an administrator makes a code, hands it to the user by a way of their own (this server sends no
//! mail), and the user sets a new password with it, once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{Changed, UserView};
use irsp_protocol::api::login::{PasswordByCode, ResetCode};
use irsp_protocol::{Id, Principal, Secret};

use super::answer::Answer;
use super::body::{Body, IdPath};
use super::caller::{Admin, From};
use super::doc::Problems;
use super::login::note;
use super::users::hashed;
use crate::account::Account;
use crate::change::{Conditions, Done, Order};
use crate::door::Visitor;
use crate::refusal::Refusal;
use crate::store::{Author, login, user};

/// Makes a code with which the user sets a new password once, shown this once; an older one is void. The password until
/// now stays good meanwhile.
#[utoipa::path(post, path = "/v1/users/{id}/reset", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = Changed<ResetCode>), (status = 202, body = Changed<ResetCode>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Answer<ResetCode> {
    let (code, hash) = account.secret()?;
    let expires = account.courier.now().plus(account.reset_lifetime);
    let order = caller.orders("user.reset", Principal::user(id.clone()));
    account
        .carry_out(order, move |draft| {
            login::put_reset(draft, &id, &hash, expires)?;
            Ok(ResetCode {
                id: id.clone(),
                code: code.clone(),
                expires,
            })
        })
        .await?
        .answer(StatusCode::OK)
}

/// Sets a new password with a reset code, which is void then. Every login of the user ends.
///
/// An unknown user and a wrong code are one answer. After some failures from one address the answer is 429.
#[utoipa::path(post, path = "/v1/password", tag = "login", request_body = PasswordByCode,
    responses((status = 200, body = Changed<UserView>), (status = 202, body = Changed<UserView>), Problems),
    security(()))]
pub(super) async fn redeem(
    State(account): State<Arc<Account>>,
    From(from): From,
    Body(PasswordByCode { id, code, password }): Body<PasswordByCode>,
) -> Answer<UserView> {
    let id = Id::new(&id).ok();
    let name = id.as_ref().map(Id::to_string).unwrap_or_default();
    let who = id.clone();
    let redeemed = async {
        let attempt = account.admit(Visitor { name, from }).await?;
        let id = id.ok_or(Refusal::WrongResetCode)?;
        let author = Author {
            who: Principal::user(id.clone()),
            from,
        };
        let done = set(&account, author, id, &code, password).await?;
        account.logins.succeeded(attempt, account.courier.now());
        Ok(done)
    };
    match redeemed.await {
        Ok(done) => done.answer(StatusCode::OK),
        Err(refusal) => {
            note(&account, who, from, "user.password", &refusal).await?;
            Err(refusal)
        }
    }
}

async fn set(
    account: &Account,
    author: Author,
    id: Id,
    code: &Secret,
    password: Secret,
) -> Result<Done<UserView>, Refusal> {
    let code = account.directory.hash_key().hash(code.expose().as_bytes());
    let (now, asked) = (account.courier.now(), id.clone());
    // Before the password is hashed: a stranger causes no such work.
    let right = account
        .courier
        .store()
        .read(move |sql| login::is_reset(sql, &asked, &code, now))
        .await?;
    if !right {
        return Err(Refusal::WrongResetCode);
    }
    let password = hashed(account, password).await?;
    let order = Order {
        target: author.who.clone().into(),
        author,
        action: "user.password",
        conditions: Conditions::default(),
    };
    account
        .carry_out(order, move |draft| {
            if !login::is_reset(draft.sql(), &id, &code, draft.now())? {
                return Err(Refusal::WrongResetCode.into());
            }
            user::set_password(draft, &id, None, &password)
        })
        .await
}
