//! Bindings: a user becomes a device's owner by presenting its verification code, and shares the device with others.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{BindingView, Changed, Gone, NewBinding, Page, Share, Transfer};
use irsp_protocol::change::EntityKey;
use irsp_protocol::{Id, Principal};

use serde::Deserialize;

use super::answer::{Answer, Shown};
use super::body::{self, Asked, Body, IdPath, PairPath};
use super::caller::Person;
use super::doc::Problems;
use super::page::{limit, page};
use crate::account::Account;
use crate::change::Done;
use crate::refusal::Refusal;
use crate::store::audit::Line;
use crate::store::binding::{self, Bound};

/// Whose binding is meant.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// The user whose binding it is; oneself unless given. Another one's is for the owner and administrators.
    #[param(value_type = Option<String>)]
    user: Option<Id>,
}

/// Which bindings are asked for; all that is given must be so.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BindingQuery {
    /// Only of this device.
    #[param(value_type = Option<String>)]
    device: Option<Id>,
    /// Only of this user; users see their own and those who share their devices.
    #[param(value_type = Option<String>)]
    user: Option<Id>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The caller's bindings and the shares of the caller's devices; every binding for administrators and operators.
#[utoipa::path(get, path = "/v1/bindings", tag = "bindings", params(BindingQuery),
    responses((status = 200, body = Page<BindingView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    Person { id, caller }: Person,
    Asked(asked): Asked<BindingQuery>,
) -> Result<Json<Page<BindingView>>, Refusal> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    let filter = binding::Filter {
        of: (!caller.reads_everything()).then_some(id),
        device: asked.device,
        user: asked.user,
    };
    let bindings = account
        .courier
        .store()
        .read(move |sql| {
            let after = after.split_once('/').unwrap_or((&after, ""));
            binding::list(sql, filter, after, limit + 1)
        })
        .await?;
    Ok(page(bindings, limit, |binding| {
        format!("{}/{}", binding.device, binding.user)
    }))
}

/// Binds a device to the caller, who presents its verification code.
///
/// Repeated by the same user it changes nothing (200). An unknown device and a wrong code are one answer (403); that
/// another user owns the device (409) is told only to who has the code. Guessing leads to 429.
#[utoipa::path(post, path = "/v1/bindings", tag = "bindings", request_body = NewBinding,
    responses((status = 200, body = Changed<BindingView>), (status = 201, body = Changed<BindingView>),
        (status = 202, body = Changed<BindingView>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Person { id: user, caller }: Person,
    Body(NewBinding { device, code }): Body<NewBinding>,
) -> Answer<BindingView> {
    let device = Id::new(&device).ok();
    let door = (
        device.as_ref().map(Id::to_string).unwrap_or_default(),
        user.clone(),
    );
    let guess = Line {
        status: Refusal::WrongCode.status(),
        targets: BTreeSet::from([caller.principal.clone()]),
        ..Line::done(
            &caller.author(),
            "binding.register",
            // What no device is called may be a code that was typed into the wrong field.
            match device.as_ref().and_then(|id| account.directory.device(id)) {
                Some(known) => format!("dev/{} usr/{user}", known.id),
                None => format!("an unknown device usr/{user}"),
            },
        )
    };
    if let Err(refusal) = account.bindings.admit(&door, account.courier.now()) {
        let status = refusal.status();
        account.refused(Line { status, ..guess }).await?;
        return Err(refusal);
    }
    let Some(device) = device else {
        account.refused(guess).await?;
        return Err(Refusal::WrongCode);
    };
    let code = account.directory.hash_key().hash(code.expose().as_bytes());
    let order = caller.orders("binding.register", key(&device, &user));
    let result = account
        .carry_out(order, move |draft| binding::bind(draft, &device, &user, code))
        .await;
    match &result {
        Err(refusal) if refusal.status() == guess.status => account.refused(guess).await?,
        Ok(_) => account.bindings.succeeded(&door),
        Err(refusal) if refusal.status() == Refusal::OwnedByAnother.status() => {
            account.bindings.succeeded(&door);
        }
        Err(_) => {}
    }
    answer(&account, result?).await
}

async fn answer(account: &Account, done: Done<Bound>) -> Answer<BindingView> {
    let Done { of, effect, repeated } = done;
    let (of, effect, success) = match of {
        Bound::New(binding) => (binding, effect, StatusCode::CREATED),
        Bound::Changed(binding) => (binding, effect, StatusCode::OK),
        Bound::Already { binding, operation } => {
            (binding, account.effect_of(operation).await?, StatusCode::OK)
        }
    };
    Done { of, effect, repeated }.answer(success)
}

/// One binding. For its user, the device's owner, administrators and operators.
#[utoipa::path(get, path = "/v1/bindings/{device}/{user}", tag = "bindings",
    params(("device" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = BindingView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    Person { id: own, caller }: Person,
    PairPath(device, user): PairPath,
) -> Result<Shown<BindingView>, Refusal> {
    let user = body::id(&user)?;
    let any = caller.reads_everything();
    let binding = account
        .courier
        .store()
        .read(move |sql| {
            let known_since = match any || user == own {
                true => 0,
                false => binding::owned_since(sql, &device, &own)?.ok_or(NOT_OWNED)?,
            };
            binding::show(sql, &device, &user, known_since)
        })
        .await?;
    Ok(caller.shown(binding))
}

/// Shares a device with a user, or changes what that user may do with it. For the owner and administrators.
#[utoipa::path(put, path = "/v1/bindings/{device}/{user}", tag = "bindings",
    params(("device" = String, Path), ("user" = String, Path)), request_body = Share,
    responses((status = 200, body = Changed<BindingView>), (status = 201, body = Changed<BindingView>),
        (status = 202, body = Changed<BindingView>), Problems))]
pub(super) async fn share(
    State(account): State<Arc<Account>>,
    Person { id: own, caller }: Person,
    PairPath(device, user): PairPath,
    Body(Share { rights }): Body<Share>,
) -> Answer<BindingView> {
    if user.contains('@') {
        return Err(Refusal::Malformed(
            "a device is shared with a user of another domain by POST /v1/grants, for presence and pushes: receive does not travel"
                .to_owned(),
        ));
    }
    let user = body::id(&user)?;
    if rights.is_empty() {
        return Err(Refusal::Malformed("a share has one right at least".to_owned()));
    }
    let rights = rights.into_iter().collect();
    let any = caller.is_admin();
    let order = caller.orders("binding.share", key(&device, &user));
    let done = account
        .carry_out(order, move |draft| {
            if !any && !binding::is_owner(draft.sql(), &device, &own)? {
                return Err(NOT_OWNED.into());
            }
            // Before the user is looked for: no other answer without a share tells who exists.
            draft.expects_version()?;
            binding::share(draft, &device, &user, rights)
        })
        .await?;
    answer(&account, done).await
}

/// Ends a binding: one's own, as the owner the share of another, as an administrator anybody's.
#[utoipa::path(delete, path = "/v1/bindings/{device}/{user}", tag = "bindings",
    params(("device" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn withdraw(
    State(account): State<Arc<Account>>,
    person: Person,
    PairPath(device, user): PairPath,
) -> Answer<Gone> {
    let user = body::id(&user)?;
    end(&account, person, device, user).await
}

/// Gives a device to another user. The owner until now keeps the share that `keep` names, or nothing; the other shares
/// stay. `If-Match` names the version of the device, which shows its owner. For the owner and administrators.
#[utoipa::path(post, path = "/v1/bindings/{device}/transfer", tag = "bindings",
    params(("device" = String, Path)), request_body = Transfer,
    responses((status = 200, body = Changed<BindingView>), (status = 202, body = Changed<BindingView>), Problems))]
pub(super) async fn transfer(
    State(account): State<Arc<Account>>,
    Person { id: own, caller }: Person,
    IdPath(device): IdPath,
    Body(Transfer { to, keep }): Body<Transfer>,
) -> Answer<BindingView> {
    let keep = keep.into_iter().collect();
    let any = caller.is_admin();
    let order = caller.orders("binding.transfer", Principal::device(device.clone()));
    account
        .carry_out(order, move |draft| {
            if !any && !binding::is_owner(draft.sql(), &device, &own)? {
                return Err(NOT_OWNED.into());
            }
            draft.expects_version()?;
            binding::transfer(draft, &device, &to, keep)
        })
        .await?
        .answer(StatusCode::OK)
}

/// The same for a device that does not exist: nobody learns which do.
const NOT_OWNED: Refusal = Refusal::NotGranted("the caller does not own the device");

/// Ends a binding: one's own, as the owner the share of another, as an administrator anybody's. With the owner's the
/// shares end.
#[utoipa::path(delete, path = "/v1/bindings/{device}", tag = "bindings", params(("device" = String, Path), Whose),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    person: Person,
    IdPath(device): IdPath,
    Asked(Whose { user }): Asked<Whose>,
) -> Answer<Gone> {
    let user = user.unwrap_or_else(|| person.id.clone());
    end(&account, person, device, user).await
}

async fn end(account: &Account, Person { id: own, caller }: Person, device: Id, user: Id) -> Answer<Gone> {
    let any = caller.is_admin();
    let order = caller.orders("binding.delete", key(&device, &user));
    account
        .carry_out(order, move |draft| {
            let known_since = match any || user == own {
                true => 0,
                false => binding::owned_since(draft.sql(), &device, &own)?.ok_or(NOT_OWNED)?,
            };
            binding::unbind(draft, &device, &user, known_since)?;
            Ok(Gone { id: device.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

fn key(device: &Id, user: &Id) -> EntityKey {
    EntityKey::Binding {
        device: device.clone(),
        user: user.clone(),
    }
}
