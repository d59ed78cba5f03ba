//! What is done with an endpoint: confirmed, tested, paused, resumed, given a new secret.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::Problem;
use irsp_protocol::api::external::{EndpointView, EndpointWithSecret, ProbeView, RotateSecret};
use irsp_protocol::note::Action;
use irsp_protocol::{Id, Status};

use super::{modify, must_find, must_manage, own_secret, secret, told, view, with_secret};
use crate::external::{Endpoint, Probe};
use crate::http::caller::Caller;
use crate::http::input::{self, Body, Path};
use crate::http::refusal::{Refusal, Refusals};
use crate::http::state::Api;
use crate::store::endpoint::{self as rows, Delivery};

/// How long older secrets hold after a new one, if the request does not say: a day to deploy it.
pub(super) const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest they may: a secret that is replaced is one that somebody else may know.
const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Sends a challenge and, if it is answered, begins to deliver.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/confirm", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointView, description = "Confirmed"),
        Refusals,
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "The challenge was not answered; the detail says what came instead"),
    ))]
pub(in crate::http) async fn confirm_endpoint(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
) -> Result<Json<EndpointView>, Refusal> {
    must_manage(&api, &caller, &app)?;
    let endpoint = must_find(&api, &app).await?;
    let no_random = |_| Refusal::new(Status::UNAVAILABLE, "the system gives no random bytes");
    let word = api.external.nonce().map_err(no_random)?;
    let asked = endpoint.target.clone();
    let heard = probe(&api, &endpoint, &Probe::Challenge(word)).await?;
    if let Some(error) = heard.error {
        let detail = format!("the challenge was not answered: {error}");
        return Err(Refusal::new(Status::CONFLICT, detail));
    }
    let now = api.courier.now();
    let note = told(&api, &caller, Action::ConfirmEndpoint, &app)?;
    let confirming = modify(&api, &app, note, move |endpoint| {
        if endpoint.target == asked {
            endpoint.confirmed = Some(now);
        }
    });
    let endpoint = confirming.await?;
    if endpoint.confirmed.is_none() {
        let detail = "the endpoint was set to another URL meanwhile";
        return Err(Refusal::new(Status::CONFLICT, detail));
    }
    tracing::info!(%app, url = %endpoint.target, "an endpoint is confirmed");
    view(&api, &endpoint).await.map(Json)
}

/// Sends an event `irsp.test` and says what came back.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/test", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = ProbeView, description = "Sent; `ok` says how it went"),
        Refusals,
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Not confirmed yet"),
    ))]
pub(in crate::http) async fn test_endpoint(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
) -> Result<Json<ProbeView>, Refusal> {
    must_manage(&api, &caller, &app)?;
    let endpoint = must_find(&api, &app).await?;
    if endpoint.confirmed.is_none() {
        return Err(Refusal::new(
            Status::CONFLICT,
            "the endpoint is not confirmed yet",
        ));
    }
    probe(&api, &endpoint, &Probe::Test).await.map(Json)
}

/// Stops delivering; what comes waits.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/pause", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointView),
        Refusals,
    ))]
pub(in crate::http) async fn pause_endpoint(
    state: State<Api>,
    caller: Caller,
    app: Path<Id>,
) -> Result<Json<EndpointView>, Refusal> {
    set_paused(state, caller, app, true).await
}

/// Delivers again, and at once what waits for another try.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/resume", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    responses(
        (status = 200, body = EndpointView),
        Refusals,
    ))]
pub(in crate::http) async fn resume_endpoint(
    state: State<Api>,
    caller: Caller,
    app: Path<Id>,
) -> Result<Json<EndpointView>, Refusal> {
    set_paused(state, caller, app, false).await
}

async fn set_paused(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    paused: bool,
) -> Result<Json<EndpointView>, Refusal> {
    must_manage(&api, &caller, &app)?;
    let now = api.courier.now();
    let action = if paused {
        Action::PauseEndpoint
    } else {
        Action::ResumeEndpoint
    };
    let note = told(&api, &caller, action, &app)?;
    let switching = modify(&api, &app, note, move |endpoint| {
        endpoint.paused = paused;
        endpoint.modified = now;
    });
    let endpoint = switching.await?;
    tracing::info!(%app, paused, who = %caller.principal(), "deliveries to an endpoint are switched");
    view(&api, &endpoint).await.map(Json)
}

/// A new signing secret, shown this once. The ones before it go on signing and are accepted for the overlap.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/rotate", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    request_body(content = RotateSecret, description = "May be left out"),
    responses(
        (status = 200, body = EndpointWithSecret),
        Refusals,
    ))]
pub(in crate::http) async fn rotate_secret(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Body(body): Body,
) -> Result<Json<EndpointWithSecret>, Refusal> {
    must_manage(&api, &caller, &app)?;
    let request: RotateSecret = input::optional(&body)?;
    let overlap = request.overlap.map_or(OVERLAP, |overlap| overlap.0);
    if overlap > OVERLAP_MAX {
        let detail = format!("the longest overlap is {} days", OVERLAP_MAX.as_secs() / 86_400);
        return Err(Refusal::new(Status::MALFORMED, detail));
    }
    let new = secret(&api, own_secret(request.secret.as_ref())?)?;
    let (shown, now) = (new.text(), api.courier.now());
    let note = told(&api, &caller, Action::RotateEndpoint, &app)?;
    let rotating = modify(&api, &app, note, move |endpoint| {
        endpoint.secrets.rotate(new.clone(), now, overlap);
        endpoint.modified = now;
    });
    let endpoint = rotating.await?;
    tracing::info!(%app, who = %caller.principal(), "an endpoint has a new signing secret");
    with_secret(&api, &endpoint, Some(shown)).await
}

/// Sends a probe and writes it into the log.
async fn probe(api: &Api, endpoint: &Endpoint, probe: &Probe) -> Result<ProbeView, Refusal> {
    let (id, now) = (api.courier.new_id(), api.courier.now());
    let heard = api.external.probe(endpoint, probe, id, now).await;
    let line = Delivery {
        app: endpoint.app.clone(),
        message: None,
        kind: probe.kind().to_owned(),
        source: "srv/app".to_owned(),
        attempt: 1,
        time: now,
        duration_ms: heard.duration_ms,
        code: heard.code,
        outcome: if heard.ok { "done" } else { "failed" }.to_owned(),
        error: heard.error.clone(),
    };
    let kept = api.external.settings.deliveries_max;
    api.courier
        .write(move |tx| rows::log(tx.sql(), &line, kept))
        .await?;
    Ok(heard)
}
