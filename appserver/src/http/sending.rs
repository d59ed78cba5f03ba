//! A push or a message on its way: on disk here before it is answered, then its end or the message server's custody
//! is waited for. While that server is away the answer is 202 all the same: it is kept and sent later.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use irsp_courier::{Accepted, Hop, Until};
use irsp_protocol::api::app::{AnswerView, PushReply};
use irsp_protocol::change::Delivery;
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Envelope, Kind, MessageId, Server, Status};

use super::refusal::{Refusal, location};
use super::state::Api;
use crate::external;
use crate::push::PushError;

/// What is waited for before the sender is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// The message server's word that it has it.
    Custody(Duration),
    /// The receiver's answer, also to the one this repeats.
    End(Duration),
    /// The end if it comes soon; that this is a repeat is told before it.
    Soon(Duration),
}

/// What became of it so far.
pub(super) struct Sent {
    pub(super) id: MessageId,
    pub(super) status: Status,
    pub(super) answer: Option<Answer>,
}

/// Accepts an envelope whose sender may reach its receiver, and waits. An end that is an error is a refusal.
pub(super) async fn send(api: &Api, envelope: Envelope, wait: Wait) -> Result<Sent, Refusal> {
    let kind = envelope.kind.as_str();
    let Accepted { id, duplicate } = accept(api, envelope).await?;
    let (within, until) = match wait {
        Wait::Custody(within) => (within, Until::Custody),
        Wait::End(within) | Wait::Soon(within) => (within, Until::End),
    };
    // A server that stops does not wait: it is on disk, and 202 is the truth.
    let outcome = api
        .stop
        .run_until_cancelled(api.courier.outcome(id, within, until))
        .await
        .flatten();
    let sent = |id, status, answer| Ok(Sent { id, status, answer });
    match outcome {
        Some((status, _)) if status.is_error() => {
            let cause = api.courier.cause(id).await?;
            let why = cause.map_or_else(|| status.name().to_owned(), |cause| cause.to_string());
            Err(Refusal::of_message(
                status,
                id,
                format!("the {kind} has ended: {why}"),
            ))
        }
        // It had come by MQTT before: there is one, and this is its id.
        Some((Status::DUPLICATE, _)) => match api.courier.cause(id).await? {
            Some(Cause::Duplicate { of }) => sent(of, Status::DUPLICATE, None),
            Some(Cause::Superseded { .. } | Cause::EpochChanged { .. }) | None => {
                sent(id, Status::DUPLICATE, None)
            }
        },
        Some((Status::DONE, answer)) if matches!(wait, Wait::End(_)) => sent(id, Status::DONE, answer),
        Some(_) | None if duplicate => sent(id, Status::DUPLICATE, None),
        Some((Status::DONE, answer)) if matches!(wait, Wait::Soon(_)) => sent(id, Status::DONE, answer),
        Some(_) | None => sent(id, Status::QUEUED, None),
    }
}

/// Puts an envelope on disk, without waiting for more. What is for an external application waits here for its service;
/// everything else goes by the message server.
pub(super) async fn accept(api: &Api, envelope: Envelope) -> Result<Accepted, Refusal> {
    let to = &envelope.destination.principal;
    let is_external = envelope.destination.domain.is_none()
        && to.kind == Kind::Application
        && api.directory.delivery(&to.id) == Ok(Delivery::External);
    let next = if is_external {
        external::hop(&to.id)
    } else {
        Hop::Server(Server::Message)
    };
    let accepting = api
        .courier
        .write(move |tx| tx.accept(envelope.clone(), next.clone()));
    Ok(accepting.await?)
}

/// A request that is refused by a rule, and counted where it is a limit.
pub(super) fn refused(api: &Api, error: &PushError) -> Refusal {
    if error.status() == Status::TOO_LARGE {
        api.metrics.push_size_max.inc();
    }
    Refusal::new(error.status(), error.to_string())
}

impl From<Sent> for PushReply {
    fn from(sent: Sent) -> PushReply {
        PushReply {
            id: sent.id,
            status: sent.status,
            name: sent.status.name().to_owned(),
            answer: sent.answer.map(AnswerView::from),
        }
    }
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.status.code()).unwrap_or(StatusCode::ACCEPTED);
        let at: HeaderMap = location(self.id)
            .map(|at| (header::LOCATION, at))
            .into_iter()
            .collect();
        (code, at, Json(PushReply::from(self))).into_response()
    }
}
