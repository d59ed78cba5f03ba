//! `POST /v1/ext/{app}`: the service of an external application speaks for it (clause 8.8.3). It signs as we sign, or
//! shows the application's key; what it asks for is checked and sent like the application's own.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use irsp_courier::Accepted;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{PushReply, PushRequest};
use irsp_protocol::api::external::{BatchReply, ItemReply};
use irsp_protocol::{Envelope, Id, Principal, Status};

use super::caller::Caller;
use super::input::{Body, Path};
use super::refusal::Refusal;
use super::sending::{Wait, accept, refused, send};
use super::state::Api;
use crate::external::{Incoming, Item, Shape, Signed};
use crate::push::{Asking, What};
use crate::store::endpoint as rows;

/// Pushes and messages of an external application: one, or a batch with one status each.
#[utoipa::path(post, path = "/v1/ext/{app}", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    request_body(content = PushRequest, description = "As for `/v1/push` or `/v1/message`, or an array of them; or \
        CloudEvents in binary, structured or batch mode"),
    responses(
        (status = 200, body = BatchReply, description = "A batch: one status each, in its order. Or one item that has ended"),
        (status = 202, body = PushReply, description = "One item, on its way; Location is its receipt"),
        (status = 208, body = PushReply, description = "One item, accepted before under the same id"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json",
            description = "Neither signed with a live secret nor the application's key"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 408, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 421, body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json",
            description = "Above `external.rate_max`, with Retry-After; or over a quota"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn from_external(
    State(api): State<Api>,
    Path(app): Path<Id>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Refusal> {
    let sender = authenticate(&api, &app, &headers, &body).await?;
    let read = Incoming::read(&headers, &body, api.external.settings.batch_max);
    let incoming = read.map_err(|error| Refusal::new(Status::MALFORMED, error.to_string()))?;
    api.external.admit(&app, incoming.items.len()).map_err(|wait| {
        api.metrics.external_rate_max.inc();
        over_rate(&app, wait)
    })?;
    let is_batch = incoming.shape == Shape::Batch;
    let mut items = incoming
        .items
        .into_iter()
        .map(|item| item.map_err(|error| Refusal::new(Status::MALFORMED, error.to_string())));
    if is_batch {
        // All at once, so that they share commits; they are put on disk in this order.
        let accepting = items.map(|item| accept_item(&api, &sender, item));
        let items = join_all(accepting).await;
        return Ok(Json(BatchReply { items }).into_response());
    }
    let Some(item) = items.next() else {
        return Err(Refusal::new(Status::MALFORMED, "there is no item"));
    };
    let item = item?;
    let wait = match (item.request.wait, item.what) {
        (Some(wait), _) => Wait::End(wait.0),
        (None, What::Push) => Wait::Custody(api.push.custody_wait),
        (None, What::Message) => Wait::Soon(api.push.custody_wait),
    };
    let envelope = compose(&api, &sender, &item)?;
    Ok(send(&api, envelope, wait).await?.into_response())
}

/// The application whose service this is: by the signature if there is one, else by the key.
async fn authenticate(api: &Api, app: &Id, headers: &HeaderMap, body: &[u8]) -> Result<Principal, Refusal> {
    let own = Principal::application(app.clone());
    let header = |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(signed) = Signed::of(header) else {
        let caller = Caller::of(headers, api)?;
        if *caller.principal() != own {
            let detail = format!("only app/{app} speaks for itself here");
            return Err(Refusal::new(Status::FORBIDDEN, detail));
        }
        return Ok(own);
    };
    let unsigned = |error: String| Refusal::new(Status::UNAUTHENTICATED, error);
    let signed = signed.map_err(|error| unsigned(error.to_string()))?;
    let of = app.clone();
    let row = api.courier.store().read(move |sql| rows::find(sql, &of)).await?;
    let endpoint = row.map(|row| api.external.read(row)).transpose()?;
    let now = api.courier.now();
    // A stranger does not learn which applications have an endpoint.
    let secrets = endpoint.iter().flat_map(|endpoint| endpoint.secrets.live(now));
    let tolerance = api.external.settings.signature_tolerance;
    let verified = signed.verify(secrets, body, now, tolerance);
    verified.map_err(|error| unsigned(error.to_string()))?;
    let standing = api.directory.check(&own);
    standing.map_err(|status| Refusal::new(status, format!("app/{app}: {}", status.name())))?;
    Ok(own)
}

/// The envelope of an item, if the sender may reach its receiver.
fn compose(api: &Api, sender: &Principal, item: &Item) -> Result<Envelope, Refusal> {
    let asking = Asking {
        what: item.what,
        caller: sender,
        admin: false,
        domain: &api.domain,
        limits: &api.push,
        id: api.courier.new_id(),
        now: api.courier.now(),
    };
    let envelope = asking
        .compose(&item.request, &item.to)
        .map_err(|error| refused(api, &error))?;
    let to = &envelope.destination;
    let right = match (&to.domain, item.what) {
        (Some(_), _) => api.directory.may_send_out(envelope.kind, sender, to),
        (None, What::Push) => api.directory.may_push(sender, &to.principal),
        (None, What::Message) => api.directory.may_message(sender, &to.principal),
    };
    right.map_err(|status| Refusal::new(status, format!("{sender} to {to}: {}", status.name())))?;
    Ok(envelope)
}

async fn accept_item(api: &Api, sender: &Principal, item: Result<Item, Refusal>) -> ItemReply {
    let item = match item {
        Ok(item) => item,
        Err(refusal) => return refusal.into_item(None),
    };
    let id = item.request.id.clone();
    let accepted = match compose(api, sender, &item) {
        Ok(envelope) => accept(api, envelope).await,
        Err(refusal) => Err(refusal),
    };
    match accepted {
        Ok(Accepted {
            id: message,
            duplicate,
        }) => {
            let status = if duplicate {
                Status::DUPLICATE
            } else {
                Status::QUEUED
            };
            ItemReply {
                id,
                status,
                name: status.name().to_owned(),
                message: Some(message),
                detail: None,
            }
        }
        Err(refusal) => refusal.into_item(id),
    }
}

fn over_rate(app: &Id, wait: Duration) -> Refusal {
    Refusal::over_rate(wait, format!("app/{app} is above external.rate_max"))
}
