//! `POST /v1/push`: a push to a device or a user (clause 8.3.3). See [`super::sending`] for what its answer means.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{AnswerView, PushOutcome, PushReply, PushRequest, PushesReply};
use irsp_protocol::api::receivers::{Receivers, ReceiversError};
use irsp_protocol::{Address, Principal, Status};

use super::caller::Caller;
use super::input;
use super::refusal::{Refusal, Refusals};
use super::sending::{Sent, Wait, refused, send};
use super::state::Api;
use crate::push::{Asking, What};

/// Pushes to a device or a user; to several of them, or to all devices of a user, each with its own receipt.
///
/// To one the status is the answer's. To several the answer is 200 with the status of each (`PushesReply`).
#[utoipa::path(post, path = "/v1/push", tag = "push", request_body = PushRequest,
    responses(
        (status = 200, body = PushReply, description = "It was waited for, and the receiver has answered; or, to several, what became of each (PushesReply)"),
        (status = 202, body = PushReply, description = "On its way; Location is its receipt"),
        (status = 208, body = PushReply, description = "Accepted before under the same id"),
        Refusals,
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
    let asking = |id| Asking {
        what: What::Push,
        caller: caller.principal(),
        admin: caller.is_admin(),
        domain: &api.domain,
        limits: &api.push,
        id,
        now: api.courier.now(),
    };
    let wait = match request.wait {
        Some(wait) => Wait::End(wait.0),
        None => Wait::Custody(api.push.custody_wait),
    };
    let push_one = async |request: &PushRequest, to: &Address| {
        let envelope = asking(api.courier.new_id())
            .compose(request, to)
            .map_err(|error| refused(&api, &error))?;
        let (from, to) = (&envelope.source.principal, &envelope.destination);
        let right = match &to.domain {
            Some(_) => api.directory.may_send_out(envelope.kind, from, to),
            None => api.directory.may_push(from, &to.principal),
        };
        right.map_err(|status| Refusal::new(status, format!("{from} to {to}: {}", status.name())))?;
        send(&api, envelope, wait).await
    };
    let receivers = match &request.to {
        Receivers::One(to) => return Ok(push_one(&request, to).await?.into_response()),
        Receivers::Many(list) => each_once(&api, list)?,
        Receivers::DevicesOf(user) => devices_of(&api, &asking(api.courier.new_id()), &request, user)?,
    };
    let pushes = receivers.iter().map(async |to| {
        let own = PushRequest {
            // One id for each receiver, so that a repeat of the request repeats each push.
            id: request.id.as_ref().map(|id| format!("{id}:{to}")),
            ..request.clone()
        };
        outcome(to, push_one(&own, to).await)
    });
    let pushes = join_all(pushes).await;
    Ok(Json(PushesReply { pushes }).into_response())
}

/// A list without our own domain's name, in which nobody stands twice: [`Receivers`] knows no domain.
fn each_once(api: &Api, list: &[Address]) -> Result<Vec<Address>, Refusal> {
    let local: Vec<Address> = list.iter().map(|to| api.local(to.clone())).collect();
    let mut seen = HashSet::new();
    match local.iter().find(|to| !seen.insert(*to)) {
        Some(twice) => Err(Refusal::new(
            Status::MALFORMED,
            ReceiversError::Twice(twice.clone()).to_string(),
        )),
        None => Ok(local),
    }
}

/// The devices bound to a user that the sender may push to; of others it learns nothing.
fn devices_of(
    api: &Api,
    asking: &Asking<'_>,
    request: &PushRequest,
    user: &Address,
) -> Result<Vec<Address>, Refusal> {
    let refused = |error| refused(api, &error);
    let from = asking.source(request).map_err(refused)?;
    let user = asking.own(user).map_err(refused)?;
    api.directory
        .may_push(&from, &user)
        .map_err(|status| Refusal::new(status, format!("{from} to {user}: {}", status.name())))?;
    let devices = api.directory.bindings_of_user(&user.id).into_iter();
    let granted = |device: &Principal| api.directory.may_push(&from, device) != Err(Status::FORBIDDEN);
    Ok(devices
        .map(Principal::device)
        .filter(granted)
        .map(Address::local)
        .collect())
}

fn outcome(to: &Address, sent: Result<Sent, Refusal>) -> PushOutcome {
    let (id, status, detail, answer) = match sent {
        Ok(Sent { id, status, answer }) => (Some(id), status, None, answer.map(AnswerView::from)),
        Err(refusal) => (
            refusal.message(),
            refusal.status(),
            Some(refusal.detail().to_owned()),
            None,
        ),
    };
    PushOutcome {
        to: to.clone(),
        id,
        status,
        name: status.name().to_owned(),
        detail,
        answer,
    }
}
