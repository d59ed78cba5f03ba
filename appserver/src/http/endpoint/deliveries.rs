//! What was delivered to an endpoint, and dead letters delivered again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use irsp_protocol::api::external::{DeliveryPage, DeliveryView, ReplayRequest, Replayed};
use irsp_protocol::note::Action;
use irsp_protocol::{Id, MessageId};
use serde::Deserialize;

use super::{must_find, must_manage, must_read, told};
use crate::external::hop;
use crate::http::caller::Caller;
use crate::http::input::{self, Body, Params, Path};
use crate::http::page_limit;
use crate::http::refusal::{Refusal, Refusals};
use crate::http::state::Api;
use crate::store::endpoint::{self as rows, Delivery};

/// Dead letters delivered again in one transaction.
const REPLAYED_AT_ONCE: u16 = 200;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeliveryQuery {
    /// Those before this one: `next` of the page before.
    before: Option<u64>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
}

/// The last tries to deliver, the newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/endpoint/deliveries", tag = "external",
    params(("app" = String, Path, description = "The application's id"), DeliveryQuery),
    responses(
        (status = 200, body = DeliveryPage),
        Refusals,
    ))]
pub(in crate::http) async fn list_deliveries(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Params(query): Params<DeliveryQuery>,
) -> Result<Json<DeliveryPage>, Refusal> {
    must_read(&api, &caller, &app)?;
    let limit = page_limit(query.limit)?;
    must_find(&api, &app).await?;
    let reading = (api.courier.store()).read(move |sql| rows::deliveries(sql, &app, query.before, limit));
    let found = reading.await?;
    let next = (found.len() == limit)
        .then(|| found.last().map(|(seq, _)| *seq))
        .flatten();
    Ok(Json(DeliveryPage {
        deliveries: found
            .into_iter()
            .map(|(seq, delivery)| line(seq, delivery))
            .collect(),
        next,
    }))
}

/// Delivers dead letters of the application again, behind all that waits now, under the ids they had.
#[utoipa::path(post, path = "/v1/apps/{app}/endpoint/replay", tag = "external",
    params(("app" = String, Path, description = "The application's id")),
    request_body(content = ReplayRequest, description = "May be left out: all of them"),
    responses(
        (status = 202, body = Replayed),
        Refusals,
    ))]
pub(in crate::http) async fn replay_dead_letters(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Body(body): Body,
) -> Result<(StatusCode, Json<Replayed>), Refusal> {
    must_manage(&api, &caller, &app)?;
    let request: ReplayRequest = input::optional(&body)?;
    must_find(&api, &app).await?;
    let period = request.expiry.map(|period| period.0);
    let expires = (api.push.expiry.until(api.courier.now(), period, None))
        .map_err(|error| Refusal::new(error.status(), error.to_string()))?;
    let note = told(&api, &caller, Action::ReplayEndpoint, &app)?;
    let mut done: Vec<MessageId> = Vec::new();
    let mut after: Option<MessageId> = None;
    loop {
        let (waits_for, wanted) = (hop(&app), request.ids.clone());
        let note = note.clone();
        let page = api.courier.write(move |tx| {
            let found = tx.service_dead_letters(&waits_for, after, REPLAYED_AT_ONCE)?;
            let mut again = Vec::new();
            for id in &found {
                let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted.contains(id));
                if is_wanted && tx.replay(*id, expires)? {
                    again.push(*id);
                }
            }
            // The same line each time is one line.
            if !again.is_empty() {
                note.store(tx)?;
            }
            Ok((found, again))
        });
        let (found, again) = page.await?;
        done.extend(again);
        match found.last() {
            Some(last) if found.len() == usize::from(REPLAYED_AT_ONCE) => after = Some(*last),
            Some(_) | None => break,
        }
    }
    let replayed = done.len() as u64;
    let wanted = request.ids.unwrap_or_default();
    tracing::info!(%app, replayed, who = %caller.principal(), "dead letters are delivered again");
    Ok((
        StatusCode::ACCEPTED,
        Json(Replayed {
            replayed,
            unknown: wanted.into_iter().filter(|id| !done.contains(id)).collect(),
        }),
    ))
}

fn line(seq: u64, delivery: Delivery) -> DeliveryView {
    DeliveryView {
        seq,
        message: delivery.message,
        kind: delivery.kind,
        source: delivery.source,
        attempt: delivery.attempt,
        time: delivery.time,
        duration_ms: delivery.duration_ms,
        code: delivery.code,
        outcome: delivery.outcome,
        error: delivery.error,
    }
}
