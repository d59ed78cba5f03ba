//! `POST /v1/push`: a push is on disk here before it is answered, then the message server's word is waited for
//! (clause 8.3.3). While that server is away the answer is 202 all the same: the push is kept and sent later.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use irsp_courier::{Accepted, Hop, Until};
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{AnswerView, PushReply, PushRequest};
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{MessageId, Server, Status};

use super::caller::Caller;
use super::input;
use super::refusal::{Refusal, location};
use super::state::Api;
use crate::push::Asking;

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
        caller: caller.principal(),
        admin: caller.is_admin(),
        domain: &api.domain,
        limits: &api.push,
        id: api.courier.new_id(),
        now: api.courier.now(),
    };
    let envelope = asking.compose(&request).map_err(|error| {
        if error.status() == Status::TOO_LARGE {
            api.metrics.push_size_max.inc();
        }
        Refusal::new(error.status(), error.to_string())
    })?;
    let (from, to) = (&envelope.source.principal, &envelope.destination.principal);
    api.directory
        .may_push(from, to)
        .map_err(|status| Refusal::new(status, format!("{from} to {to}: {}", status.name())))?;
    let Accepted { id, duplicate } = api
        .courier
        .write(move |tx| tx.accept(envelope.clone(), Hop::Server(Server::Message)))
        .await?;
    let (within, until) = match request.wait {
        Some(wait) => (wait.0, Until::End),
        None => (api.push.custody_wait, Until::Custody),
    };
    // A server that stops does not wait: the push is on disk, and 202 is the truth.
    let outcome = api
        .stop
        .run_until_cancelled(api.courier.outcome(id, within, until))
        .await
        .flatten();
    match outcome {
        Some((status, _)) if status.is_error() => {
            let cause = api.courier.cause(id).await?;
            let why = cause.map_or_else(|| status.name().to_owned(), |cause| cause.to_string());
            Err(Refusal::of_message(
                status,
                id,
                format!("the push has ended: {why}"),
            ))
        }
        // It had come by MQTT before: there is one push, and this is its id.
        Some((Status::DUPLICATE, _)) => match api.courier.cause(id).await? {
            Some(Cause::Duplicate { of }) => Ok(reply(of, Status::DUPLICATE, None)),
            Some(Cause::Superseded { .. } | Cause::EpochChanged { .. }) | None => {
                Ok(reply(id, Status::DUPLICATE, None))
            }
        },
        Some((Status::DONE, answer)) if request.wait.is_some() => Ok(reply(id, Status::DONE, answer)),
        Some(_) | None if duplicate => Ok(reply(id, Status::DUPLICATE, None)),
        Some(_) | None => Ok(reply(id, Status::QUEUED, None)),
    }
}

fn reply(id: MessageId, status: Status, answer: Option<Answer>) -> Response {
    let body = PushReply {
        id,
        status,
        name: status.name().to_owned(),
        answer: answer.map(AnswerView::from),
    };
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::ACCEPTED);
    let at: HeaderMap = location(id)
        .map(|at| (header::LOCATION, at))
        .into_iter()
        .collect();
    (code, at, Json(body)).into_response()
}
