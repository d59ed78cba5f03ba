//! `/v1/apps/{app}/endpoint`: where an external application's service is, and what was delivered there (clause 7.4).
//! For the application itself and admins; operators read.

mod actions;
mod deliveries;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::Problem;
use irsp_protocol::api::external::{EndpointRequest, EndpointView, EndpointWithSecret, SecretAge};
use irsp_protocol::note::Action;
use irsp_protocol::{Id, Principal, Secret, Status};

pub(super) use self::actions::*;
pub(super) use self::deliveries::*;
use super::caller::Caller;
use super::input::{self, Path};
use super::note::Note;
use super::refusal::{Refusal, Refusals};
use super::state::Api;
use crate::external::{Endpoint, Mode, SigningSecret, Target, hop};
use crate::store::endpoint as rows;

/// Sets the endpoint of an application. A new one gets a signing secret, which is shown this once; one at another URL
/// is to be confirmed again.
#[utoipa::path(put, path = "/v1/apps/{app}/endpoint", tag = "external", request_body = EndpointRequest,
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointWithSecret),
        (status = 201, body = EndpointWithSecret, description = "Made, with its secret"),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "The URL is none, or where nothing may be sent"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put_endpoint(
    state: State<Api>,
    caller: Caller,
    app: Path<Id>,
    request: input::Json<EndpointRequest>,
) -> Result<(StatusCode, Json<EndpointWithSecret>), Refusal> {
    set(state, caller, app, request).await
}

/// The same as `PUT`.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint", tag = "external", request_body = EndpointRequest,
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointWithSecret),
        (status = 201, body = EndpointWithSecret),
        Refusals,
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn post_endpoint(
    state: State<Api>,
    caller: Caller,
    app: Path<Id>,
    request: input::Json<EndpointRequest>,
) -> Result<(StatusCode, Json<EndpointWithSecret>), Refusal> {
    set(state, caller, app, request).await
}

async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    input::Json(request): input::Json<EndpointRequest>,
) -> Result<(StatusCode, Json<EndpointWithSecret>), Refusal> {
    must_manage(&api, &caller, &app)?;
    let malformed = |error: String| Refusal::new(Status::MALFORMED, error);
    let target = Target::parse(&request.url).map_err(|error| malformed(error.to_string()))?;
    if let Some(address) = target.address() {
        // A name is looked up when it is used.
        let allowed = api.external.rules.check(address, target.is_plain());
        allowed.map_err(|error| malformed(error.to_string()))?;
    }
    let known =
        |word: &String| Mode::parse(word).ok_or_else(|| malformed(format!("there is no mode {word:?}")));
    let mode = request.mode.as_ref().map(known).transpose()?;
    let given = own_secret(request.secret.as_ref())?;
    let is_given = given.is_some();
    let (secret, now) = (secret(&api, given)?, api.courier.now());
    let note = told(&api, &caller, Action::SetEndpoint, &app)?;
    let changing = change(&api, &app, note, {
        let (app, target, secret) = (app.clone(), target.clone(), secret.clone());
        move |before| {
            let is_new = before.is_none();
            let mut endpoint = before.unwrap_or_else(|| Endpoint::new(app.clone(), target.clone(), now));
            if is_new || is_given {
                endpoint.secrets.rotate(secret.clone(), now, OVERLAP);
            }
            if endpoint.target != target {
                endpoint.target = target.clone();
                endpoint.confirmed = None;
            }
            endpoint.mode = mode.unwrap_or(endpoint.mode);
            endpoint.presence = request.presence.unwrap_or(endpoint.presence);
            endpoint.modified = now;
            Some((endpoint, is_new))
        }
    });
    let (endpoint, is_new) = changing.await?;
    tracing::info!(%app, url = %endpoint.target, who = %caller.principal(), "an endpoint is set");
    let shown = (is_new || is_given).then(|| secret.text());
    let code = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    with_secret(&api, &endpoint, shown).await.map(|view| (code, view))
}

/// The endpoint of an application, without its secrets.
#[utoipa::path(get, path = "/v1/apps/{app}/endpoint", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointView),
        Refusals,
    ))]
pub(super) async fn show_endpoint(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
) -> Result<Json<EndpointView>, Refusal> {
    must_read(&api, &caller, &app)?;
    let endpoint = must_find(&api, &app).await?;
    view(&api, &endpoint).await.map(Json)
}

/// Removes the endpoint of an application with its log. What waits for it waits on, and expires.
#[utoipa::path(delete, path = "/v1/apps/{app}/endpoint", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 204),
        Refusals,
    ))]
pub(super) async fn delete_endpoint(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
) -> Result<StatusCode, Refusal> {
    must_manage(&api, &caller, &app)?;
    let (of, note) = (app.clone(), told(&api, &caller, Action::DeleteEndpoint, &app)?);
    let removing = api.courier.write(move |tx| {
        let removed = rows::remove(tx.sql(), &of)?;
        if removed {
            note.store(tx)?;
        }
        Ok(removed)
    });
    if !removing.await? {
        return Err(none(&app));
    }
    api.external.doorbell.changed(&app);
    tracing::info!(%app, who = %caller.principal(), "an endpoint is removed");
    Ok(StatusCode::NO_CONTENT)
}

fn must_manage(api: &Api, caller: &Caller, app: &Id) -> Result<(), Refusal> {
    let is_itself = *caller.principal() == Principal::application(app.clone());
    if !is_itself && !caller.is_admin() {
        let detail = format!("only app/{app} itself or an admin manages its endpoint");
        return Err(Refusal::new(Status::FORBIDDEN, detail));
    }
    exists(api, app)
}

fn must_read(api: &Api, caller: &Caller, app: &Id) -> Result<(), Refusal> {
    if caller.reads_all() {
        return exists(api, app);
    }
    must_manage(api, caller, app)
}

fn exists(api: &Api, app: &Id) -> Result<(), Refusal> {
    match api.directory.check(&Principal::application(app.clone())) {
        Ok(()) | Err(Status::FORBIDDEN) => Ok(()),
        Err(status) => Err(Refusal::new(status, format!("there is no app/{app}"))),
    }
}

async fn find(api: &Api, app: &Id) -> Result<Option<Endpoint>, Refusal> {
    let of = app.clone();
    let row = api.courier.store().read(move |sql| rows::find(sql, &of)).await?;
    Ok(row.map(|row| api.external.read(row)).transpose()?)
}

async fn must_find(api: &Api, app: &Id) -> Result<Endpoint, Refusal> {
    find(api, app).await?.ok_or_else(|| none(app))
}

fn none(app: &Id) -> Refusal {
    Refusal::new(Status::NOT_FOUND, format!("app/{app} has no endpoint"))
}

/// The audit log's line about something done to an application's endpoint.
fn told(api: &Api, caller: &Caller, action: Action, app: &Id) -> Result<Note, Refusal> {
    let itself = Principal::application(app.clone());
    Ok(Note::new(api, caller, action, itself.to_string(), vec![itself])?)
}

/// Changes an endpoint, and tells whoever delivers to it. Read and written in one transaction, so that of two changes
/// neither is lost; `change` may run again.
async fn change<R: Send + 'static>(
    api: &Api,
    app: &Id,
    note: Note,
    mut change: impl FnMut(Option<Endpoint>) -> Option<(Endpoint, R)> + Send + 'static,
) -> Result<(Endpoint, R), Refusal> {
    let (of, external) = (app.clone(), api.external.clone());
    let writing = api.courier.write(move |tx| {
        let before = rows::find(tx.sql(), &of)?;
        let before = before.map(|row| external.read(row)).transpose()?;
        let Some((endpoint, value)) = change(before) else {
            return Ok(None);
        };
        rows::put(tx.sql(), &external.written(&endpoint)?)?;
        note.store(tx)?;
        Ok(Some((endpoint, value)))
    });
    let changed = writing.await?.ok_or_else(|| none(app))?;
    api.external.doorbell.changed(app);
    Ok(changed)
}

/// The same, for one that is there.
async fn modify(
    api: &Api,
    app: &Id,
    note: Note,
    mut modify: impl FnMut(&mut Endpoint) + Send + 'static,
) -> Result<Endpoint, Refusal> {
    let changing = change(api, app, note, move |before| {
        let mut endpoint = before?;
        modify(&mut endpoint);
        Some((endpoint, ()))
    });
    Ok(changing.await?.0)
}

fn own_secret(given: Option<&Secret>) -> Result<Option<SigningSecret>, Refusal> {
    let parse = |secret: &Secret| SigningSecret::parse(secret.expose());
    let parsed = given.map(parse).transpose();
    parsed.map_err(|error| Refusal::new(Status::MALFORMED, error.to_string()))
}

/// The caller's own secret, or one that is made.
fn secret(api: &Api, given: Option<SigningSecret>) -> Result<SigningSecret, Refusal> {
    let no_random = |_| Refusal::new(Status::UNAVAILABLE, "the system gives no random bytes");
    given.map_or_else(|| api.external.make_secret().map_err(no_random), Ok)
}

async fn with_secret(
    api: &Api,
    endpoint: &Endpoint,
    secret: Option<Secret>,
) -> Result<Json<EndpointWithSecret>, Refusal> {
    let endpoint = view(api, endpoint).await?;
    Ok(Json(EndpointWithSecret { endpoint, secret }))
}

async fn view(api: &Api, endpoint: &Endpoint) -> Result<EndpointView, Refusal> {
    let waits_for = hop(&endpoint.app);
    let counting = api.courier.write(move |tx| tx.waiting(&waits_for));
    let ages = endpoint.secrets.ages(api.courier.now());
    let secrets = ages.map(|(made, until)| SecretAge { made, until }).collect();
    Ok(EndpointView {
        app: endpoint.app.to_string(),
        url: endpoint.target.to_string(),
        mode: endpoint.mode.as_str().to_owned(),
        presence: endpoint.presence,
        state: endpoint.state().to_owned(),
        confirmed: endpoint.confirmed,
        created: endpoint.created,
        modified: endpoint.modified,
        breaker: api.external.standing(&endpoint.app).as_str().to_owned(),
        waiting: counting.await?,
        secrets,
    })
}
