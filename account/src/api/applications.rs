//! Applications.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::account::{
    ApplicationPatch, ApplicationView, ApplicationWithKey, Changed, Gone, NewApplication, Page, RotateKey,
};
use irsp_protocol::change::Scope;
use irsp_protocol::{Address, Id, Kind, Principal};

use serde::Deserialize;

use super::answer::{Answer, Shown};
use super::body::{Asked, Body, IdPath, MaybeBody};
use super::caller::{Admin, Caller, Reader};
use super::doc::Problems;
use super::page::{Standing, limit, page};
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::application::{self, GRANTED_MAX, MESSAGED_MAX};

/// Which applications are asked for; all that is given must be so.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplicationQuery {
    /// Only ids that begin like this.
    #[param(max_length = 64)]
    prefix: Option<String>,
    #[param(inline)]
    state: Option<Standing>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The applications, in order of their ids.
#[utoipa::path(get, path = "/v1/apps", tag = "applications", params(ApplicationQuery),
    responses((status = 200, body = Page<ApplicationView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(asked): Asked<ApplicationQuery>,
) -> Result<Json<Page<ApplicationView>>, Refusal> {
    let limit = limit(asked.limit)?;
    let after = asked.after.unwrap_or_default();
    let filter = application::Filter {
        prefix: asked.prefix,
        disabled: asked.state.map(Standing::is_disabled),
    };
    let apps = account
        .courier
        .store()
        .read(move |sql| application::list(sql, filter, after, limit + 1))
        .await?;
    Ok(page(apps, limit, |app| app.id.to_string()))
}

/// Registers an application and makes its key, shown this once.
#[utoipa::path(post, path = "/v1/apps", tag = "applications", request_body = NewApplication,
    responses((status = 201, body = Changed<ApplicationWithKey>), (status = 202, body = Changed<ApplicationWithKey>), Problems))]
pub(super) async fn create(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    Body(new): Body<NewApplication>,
) -> Answer<ApplicationWithKey> {
    check_new(&new)?;
    let (key, hash) = account.secret()?;
    let order = caller.orders("app.register", principal(&new.id));
    account
        .carry_out(order, move |draft| {
            Ok(ApplicationWithKey {
                application: application::register(draft, &new, hash)?,
                key: key.clone(),
            })
        })
        .await?
        .answer(StatusCode::CREATED)
}

/// One application; an application may look at itself.
#[utoipa::path(get, path = "/v1/apps/{id}", tag = "applications", params(("id" = String, Path)),
    responses((status = 200, body = ApplicationView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    caller: Caller,
    IdPath(id): IdPath,
) -> Result<Shown<ApplicationView>, Refusal> {
    if !caller.reads_everything() && caller.principal != Principal::application(id.clone()) {
        return Err(Refusal::NotGranted(
            "only for administrators, operators and the application",
        ));
    }
    let record = account
        .courier
        .store()
        .read(move |sql| application::view(sql, &id))
        .await?;
    Ok(caller.shown(record))
}

/// Changes what an application is granted, disables or enables it.
#[utoipa::path(patch, path = "/v1/apps/{id}", tag = "applications", params(("id" = String, Path)),
    request_body = ApplicationPatch,
    responses((status = 200, body = Changed<ApplicationView>), (status = 202, body = Changed<ApplicationView>), Problems))]
pub(super) async fn modify(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    Body(patch): Body<ApplicationPatch>,
) -> Answer<ApplicationView> {
    check_grants([patch.hears.as_ref(), patch.pushes.as_ref()])?;
    check_messages(patch.messages.as_ref())?;
    let order = caller.orders("app.modify", principal(&id));
    account
        .carry_out(order, move |draft| application::modify(draft, &id, &patch))
        .await?
        .answer(StatusCode::OK)
}

/// Deletes an application. The id is not used again.
#[utoipa::path(delete, path = "/v1/apps/{id}", tag = "applications", params(("id" = String, Path)),
    responses((status = 200, body = Changed<Gone>), (status = 202, body = Changed<Gone>), Problems))]
pub(super) async fn delete(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Answer<Gone> {
    let order = caller.orders("app.delete", principal(&id));
    account
        .carry_out(order, move |draft| {
            application::delete(draft, &id)?;
            Ok(Gone { id: id.clone() })
        })
        .await?
        .answer(StatusCode::OK)
}

/// Makes a new key, shown this once. The old one and its sessions end, unless `overlap` keeps it for a while.
#[utoipa::path(post, path = "/v1/apps/{id}/keys/rotate", tag = "applications", params(("id" = String, Path)),
    request_body = Option<RotateKey>,
    responses((status = 200, body = Changed<ApplicationWithKey>), (status = 202, body = Changed<ApplicationWithKey>), Problems))]
pub(super) async fn rotate(
    State(account): State<Arc<Account>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    MaybeBody(RotateKey { overlap }): MaybeBody<RotateKey>,
) -> Answer<ApplicationWithKey> {
    let (key, hash) = account.secret()?;
    let order = caller.orders("app.rotate", principal(&id));
    account
        .carry_out(order, move |draft| {
            Ok(ApplicationWithKey {
                application: application::rotate(draft, &id, hash, overlap)?,
                key: key.clone(),
            })
        })
        .await?
        .answer(StatusCode::OK)
}

/// What of a new application needs no database to be refused.
pub(super) fn check_new(new: &NewApplication) -> Result<(), Refusal> {
    check_grants([new.hears.as_ref(), new.pushes.as_ref()])?;
    check_messages(new.messages.as_ref())
}

/// Grants name devices, users and applications.
fn check_grants(scopes: [Option<&Scope>; 2]) -> Result<(), Refusal> {
    for scope in scopes.into_iter().flatten() {
        let Scope::Only(list) = scope else { continue };
        if list.len() > GRANTED_MAX {
            return Err(Refusal::TooMany {
                what: "principals in a grant",
                max: GRANTED_MAX,
            });
        }
        let foreign = |named: &&Address| {
            !matches!(
                named.principal.kind,
                Kind::Device | Kind::User | Kind::Application
            )
        };
        if let Some(foreign) = list.iter().find(foreign) {
            return Err(Refusal::Malformed(format!(
                "{foreign} is no device, user or application"
            )));
        }
    }
    Ok(())
}

/// Messages go to applications of this domain.
fn check_messages(scope: Option<&Scope>) -> Result<(), Refusal> {
    let Some(Scope::Only(list)) = scope else {
        return Ok(());
    };
    if list.len() > MESSAGED_MAX {
        return Err(Refusal::TooMany {
            what: "applications in a grant",
            max: MESSAGED_MAX,
        });
    }
    match list
        .iter()
        .find(|named| named.principal.kind != Kind::Application)
    {
        Some(other) => Err(Refusal::Malformed(format!("{other} is no application"))),
        None => Ok(()),
    }
}

fn principal(id: &Id) -> Principal {
    Principal::application(id.clone())
}
