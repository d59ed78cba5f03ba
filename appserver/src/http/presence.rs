//! Presence over HTTP: a snapshot in pages, one principal, and a live stream of the changes (clause 8.3.2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{PresencePage, PresenceView};
use irsp_protocol::{Address, Kind, Status};
use serde::Deserialize;

use super::caller::{Caller, Warrant};
use super::input::{Params, Path};
use super::page_limit;
use super::refusal::{Refusal, Refusals};
use super::state::Api;
use super::stream::Listener;
use super::told::{Mark, Told, resume_after};
use super::websocket::Asked;
use crate::live::Log as _;
use crate::store::presence::{self, Changes, Numbered};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Principals after this one, such as `dev/lamp-1`: `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<Address>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Begin after this number (`at` of a first page); `Last-Event-ID` goes first. If neither is given, the stream
    /// begins now.
    after: Option<u64>,
}

/// A page of the presence the caller may hear of.
#[utoipa::path(get, path = "/v1/presence", tag = "presence", params(PageQuery),
    responses(
        (status = 200, body = PresencePage),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list_presence(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<PageQuery>,
) -> Result<Json<PresencePage>, Refusal> {
    let limit = page_limit(query.limit)?;
    let sight = caller.sight(&api.directory, &api.heard);
    let (at, mut found) = api
        .courier
        .store()
        .read(move |conn| {
            // `at` is read first: a change after it is told again by the stream, never left out.
            let at = presence::last_n(conn)?;
            // One more than asked for shows whether there is a next page.
            let found = presence::page(conn, sight.list(), query.after.as_ref(), limit + 1)?;
            Ok((at, found))
        })
        .await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(Numbered::address);
    // Who was deleted has left the directory; what was known of its presence is nobody's news.
    let there = |numbered: &Numbered| {
        if numbered.domain.is_some() {
            return caller.sees_abroad(&api.heard, &numbered.address());
        }
        let standing = api.directory.check(&numbered.presence.principal);
        !matches!(standing, Err(Status::NOT_FOUND | Status::DELETED))
    };
    Ok(Json(PresencePage {
        presence: found.into_iter().filter(there).map(view).collect(),
        at,
        next,
    }))
}

/// Presence of one principal.
#[utoipa::path(get, path = "/v1/presence/{kind}/{id}", tag = "presence",
    params(("kind" = String, Path, description = "`dev` or `usr`"), ("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, body = PresenceView),
        Refusals,
        (status = 410, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_presence(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<PresenceView>, Refusal> {
    let malformed = |detail: String| Refusal::new(Status::MALFORMED, detail);
    let address: Address = format!("{kind}/{id}")
        .parse()
        .map_err(|error: irsp_protocol::AddressError| malformed(error.to_string()))?;
    if !matches!(
        address.principal.kind,
        Kind::Device | Kind::User | Kind::Application
    ) {
        return Err(malformed("presence is of dev/..., usr/... or app/...".to_owned()));
    }
    if address
        .domain
        .as_ref()
        .is_some_and(|domain| *domain != api.domain)
    {
        return foreign_presence(&api, &caller, address).await;
    }
    let principal = address.principal;
    if !caller.sees(&api.directory, &principal) {
        return Err(Refusal::new(
            Status::FORBIDDEN,
            format!("{} does not hear of {principal}", caller.principal()),
        ));
    }
    let known = api.directory.check(&principal);
    let asked = Address::local(principal.clone());
    let found = api
        .courier
        .store()
        .read(move |conn| presence::one(conn, &asked))
        .await?;
    match (found, known) {
        (_, Err(status @ (Status::NOT_FOUND | Status::DELETED))) => {
            Err(Refusal::new(status, format!("{principal}: {}", status.name())))
        }
        (Some(found), _) => Ok(Json(view(found))),
        (None, _) => Err(Refusal::new(
            Status::NOT_FOUND,
            format!("{principal} has never been connected"),
        )),
    }
}

/// The presence of a principal of another domain. Who does not hear it does not learn whether it exists.
async fn foreign_presence(
    api: &Api,
    caller: &Caller,
    address: Address,
) -> Result<Json<PresenceView>, Refusal> {
    if !caller.sees_abroad(&api.heard, &address) {
        let detail = format!("{} does not hear of {address}", caller.principal());
        return Err(Refusal::new(Status::FORBIDDEN, detail));
    }
    let asked = address.clone();
    let found = api
        .courier
        .store()
        .read(move |conn| presence::one(conn, &asked))
        .await?;
    match found {
        Some(found) => Ok(Json(view(found))),
        None => Err(Refusal::new(
            Status::NOT_FOUND,
            format!("nothing has been heard of {address}"),
        )),
    }
}

/// Changes of presence as they come, as server-sent events: `event: presence`, `id:` the number of the change.
#[utoipa::path(get, path = "/v1/presence/stream", tag = "presence",
    params(StreamQuery, ("last-event-id" = Option<u64>, Header, description = "Resume after this number")),
    responses(
        (status = 200, body = PresenceView, content_type = "text/event-stream"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stream_presence(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<StreamQuery>,
    headers: HeaderMap,
    Asked(upgrade): Asked,
) -> Result<Response, Refusal> {
    let after = resume_after(&headers, query.after)?;
    let place = api.place()?;
    // Subscribed before anything is read: what changes from here on comes one way or the other.
    let batches = api.presence.subscribe();
    let store = api.courier.store().clone();
    let last = match after {
        Some(after) => after,
        None => store.read(Changes::last).await?,
    };
    let show = {
        let (api, caller) = (api.clone(), caller.clone());
        Arc::new(move |change: &Numbered| {
            let sees = match change.domain {
                Some(_) => caller.sees_abroad(&api.heard, &change.address()),
                None => caller.sees(&api.directory, &change.presence.principal),
            };
            sees.then(|| event(change))
        })
    };
    let listener = Listener::<Changes> {
        batches,
        part: (),
        show,
        last,
        warrant: Warrant::new(&api, &caller, Arc::new(|_: &Caller| Ok(()))),
        stop: api.stop.clone(),
        store,
        _place: place,
    };
    Ok(listener.respond(&api, upgrade))
}

fn event(change: &Numbered) -> Result<Told, serde_json::Error> {
    Ok(Told {
        mark: Mark::Number(change.n),
        name: "presence",
        data: serde_json::to_string(&view(change.clone()))?,
    })
}

fn view(numbered: Numbered) -> PresenceView {
    PresenceView::new(numbered.n, numbered.domain, numbered.presence)
}
