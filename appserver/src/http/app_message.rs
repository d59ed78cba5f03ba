//! `POST /v1/message`: an application sends another one a message (clause 8.4). It takes the same way as a push, so the
//! message server looks at the grant again and knows how the receiver is reached; its end is the receiver's status.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{MessageRequest, PushReply, PushRequest};

use super::caller::Caller;
use super::input;
use super::refusal::Refusal;
use super::sending::{Wait, refused, send};
use super::state::Api;
use crate::push::{Asking, What};

/// Sends a message to another application.
#[utoipa::path(post, path = "/v1/message", tag = "messages", request_body = MessageRequest,
    responses(
        (status = 200, body = PushReply, description = "The receiver has stored or answered it"),
        (status = 202, body = PushReply, description = "On its way; Location is its receipt"),
        (status = 208, body = PushReply, description = "Accepted before under the same id"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "The receiver is not in the sender's `messages` grant, or is disabled"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 408, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Another message has this id"),
        (status = 410, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 421, body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn send_message(
    State(api): State<Api>,
    caller: Caller,
    input::Json(request): input::Json<MessageRequest>,
) -> Result<Response, Refusal> {
    let to = request.to.clone();
    let request = PushRequest::from(request);
    let asking = Asking {
        what: What::Message,
        caller: caller.principal(),
        admin: caller.is_admin(),
        domain: &api.domain,
        limits: &api.push,
        id: api.courier.new_id(),
        now: api.courier.now(),
    };
    let envelope = asking
        .compose(&request, &to)
        .map_err(|error| refused(&api, &error))?;
    let (from, to) = (&envelope.source.principal, &envelope.destination);
    let right = match &to.domain {
        Some(_) => api.directory.may_send_out(envelope.kind, from, to),
        None => api.directory.may_message(from, &to.principal),
    };
    right.map_err(|status| Refusal::new(status, format!("{from} to {to}: {}", status.name())))?;
    // A hosted receiver has it in a moment: its end is worth the wait, without being asked.
    let wait = match request.wait {
        Some(wait) => Wait::End(wait.0),
        None => Wait::Soon(api.push.custody_wait),
    };
    Ok(send(&api, envelope, wait).await?.into_response())
}
