//! `POST /v1/push`: a push to a device or a user (clause 8.3.3). See [`super::sending`] for what its answer means.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{PushReply, PushRequest};

use super::caller::Caller;
use super::input;
use super::refusal::Refusal;
use super::sending::{Wait, refused, send};
use super::state::Api;
use crate::push::{Asking, What};

/// Pushes to a device or a user.
#[utoipa::path(post, path = "/v1/push", tag = "push", request_body = PushRequest,
    responses(
        (status = 200, body = PushReply, description = "It was waited for, and the receiver has answered"),
        (status = 202, body = PushReply, description = "On its way; Location is its receipt"),
        (status = 208, body = PushReply, description = "Accepted before under the same id"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 408, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Another push has this id, a newer one took its place, or its receiver has another epoch"),
        (status = 410, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 421, body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json",
            description = "The sender or the receiver has too much in flight"),
        (status = 507, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn push(
    State(api): State<Api>,
    caller: Caller,
    input::Json(request): input::Json<PushRequest>,
) -> Result<Response, Refusal> {
    let asking = Asking {
        what: What::Push,
        caller: caller.principal(),
        admin: caller.is_admin(),
        domain: &api.domain,
        limits: &api.push,
        id: api.courier.new_id(),
        now: api.courier.now(),
    };
    let envelope = asking.compose(&request).map_err(|error| refused(&api, &error))?;
    let (from, to) = (&envelope.source.principal, &envelope.destination.principal);
    api.directory
        .may_push(from, to)
        .map_err(|status| Refusal::new(status, format!("{from} to {to}: {}", status.name())))?;
    let wait = match request.wait {
        Some(wait) => Wait::End(wait.0),
        None => Wait::Custody(api.push.custody_wait),
    };
    Ok(send(&api, envelope, wait).await?.into_response())
}
