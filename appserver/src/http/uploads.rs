//! A hosted application reads its uploads: pages, the last value of each channel, and a live stream (clause 8.3.1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::{Body, LatestPage, UploadPage, UploadView};
use irsp_protocol::{Address, Channel, Id, Kind, MessageKind, Principal, Status, Timestamp};
use serde::Deserialize;

use super::caller::{Caller, Warrant};
use super::input::{Params, Path};
use super::page_limit;
use super::refusal::{Refusal, Refusals};
use super::state::Api;
use super::stream::Listener;
use super::told::{Mark, Told, resume_after};
use super::websocket::Asked;
use crate::following;
use crate::live::Log as _;
use crate::store::uploads::{self, Filter, Order, Upload, Uploads};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// A device's id, or any sender's address (`usr/ann`).
    device: Option<String>,
    #[param(value_type = Option<String>)]
    channel: Option<Channel>,
    /// Not before this time (RFC 3339), by the sender's word.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Beyond this number, in the order asked for: `next` of the page before.
    after: Option<u64>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
    /// `asc` (oldest first, the default) or `desc`.
    #[param(value_type = Option<String>)]
    order: Option<Direction>,
    /// `upload` or `message` only.
    #[param(value_type = Option<String>)]
    kind: Option<StoredKind>,
}

/// What is stored for an application.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoredKind {
    /// Of a device or a user (clause 8.3.1).
    Upload,
    /// Of another application (clause 8.4).
    Message,
}

impl From<StoredKind> for MessageKind {
    fn from(kind: StoredKind) -> MessageKind {
        match kind {
            StoredKind::Upload => MessageKind::Upload,
            StoredKind::Message => MessageKind::Message,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    Desc,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// A device's id, or any sender's address.
    device: Option<String>,
    #[param(value_type = Option<String>)]
    channel: Option<Channel>,
    /// `upload` or `message` only.
    #[param(value_type = Option<String>)]
    kind: Option<StoredKind>,
    /// Begin after this number; `Last-Event-ID` goes first. If neither is given, the stream begins now.
    after: Option<u64>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LatestQuery {
    /// A device's id, or any sender's address.
    device: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
}

/// A page of the application's uploads.
#[utoipa::path(get, path = "/v1/apps/{app}/uploads", tag = "uploads",
    params(("app" = String, Path, description = "The application's id"), PageQuery),
    responses(
        (status = 200, body = UploadPage),
        Refusals,
    ))]
pub(super) async fn list_uploads(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Params(query): Params<PageQuery>,
) -> Result<Json<UploadPage>, Refusal> {
    caller.may_read_uploads(&api.directory, &app)?;
    let limit = page_limit(query.limit)?;
    let order = match query.order {
        None | Some(Direction::Asc) => Order::Oldest,
        Some(Direction::Desc) => Order::Newest,
    };
    let filter = Filter {
        app: Some(app),
        source: sender(&api, query.device)?,
        channel: query.channel,
        kind: query.kind.map(MessageKind::from),
        from: query.from,
        to: query.to,
    };
    let page = api
        .courier
        .store()
        .read(move |conn| uploads::page(conn, &filter, query.after, order, limit))
        .await?;
    let next = page.entries.last().filter(|_| page.more).map(|upload| upload.seq);
    Ok(Json(UploadPage {
        uploads: page.entries.iter().map(view).collect(),
        next,
    }))
}

/// The last upload of each device and channel.
#[utoipa::path(get, path = "/v1/apps/{app}/latest", tag = "uploads",
    params(("app" = String, Path, description = "The application's id"), LatestQuery),
    responses(
        (status = 200, body = LatestPage),
        Refusals,
    ))]
pub(super) async fn list_latest(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Params(query): Params<LatestQuery>,
) -> Result<Json<LatestPage>, Refusal> {
    caller.may_read_uploads(&api.directory, &app)?;
    let limit = page_limit(query.limit)?;
    let source = sender(&api, query.device)?;
    let after = query.after.unwrap_or_default();
    following::bring_up(&api.courier).await?;
    let page = api
        .courier
        .store()
        .read(move |conn| {
            // A source has no space in it, so the first one ends it; an empty cursor is before everything.
            let after = after.split_once(' ').unwrap_or((&after, ""));
            uploads::latest(conn, &app, source.as_ref(), after, limit)
        })
        .await?;
    let cursor = |upload: &Upload| {
        let channel = upload.channel.as_ref().map_or("", Channel::as_str);
        format!("{} {channel}", upload.source)
    };
    Ok(Json(LatestPage {
        next: page.entries.last().filter(|_| page.more).map(cursor),
        latest: page.entries.iter().map(view).collect(),
    }))
}

/// The application's uploads as they are stored, as server-sent events or, with `Upgrade: websocket`, as messages of a
/// WebSocket: `event: upload` or `event: message`, `id:` its number.
#[utoipa::path(get, path = "/v1/apps/{app}/uploads/stream", tag = "uploads",
    params(("app" = String, Path, description = "The application's id"), StreamQuery,
        ("last-event-id" = Option<u64>, Header, description = "Resume after this number")),
    responses(
        (status = 200, body = UploadView, content_type = "text/event-stream"),
        Refusals,
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stream_uploads(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Params(query): Params<StreamQuery>,
    headers: HeaderMap,
    Asked(upgrade): Asked,
) -> Result<Response, Refusal> {
    caller.may_read_uploads(&api.directory, &app)?;
    let after = resume_after(&headers, query.after)?;
    let part = Filter {
        app: Some(app.clone()),
        source: sender(&api, query.device)?,
        channel: query.channel,
        kind: query.kind.map(MessageKind::from),
        ..Filter::default()
    };
    let place = api.place()?;
    // Subscribed before anything is read: what is stored from here on comes one way or the other.
    let batches = api.uploads.subscribe();
    let store = api.courier.store().clone();
    let last = match after {
        Some(after) => after,
        None => store.read(Uploads::last).await?,
    };
    let right = {
        let (api, app) = (api.clone(), app.clone());
        Arc::new(move |caller: &Caller| caller.may_read_uploads(&api.directory, &app))
    };
    let wanted = part.clone();
    let listener = Listener::<Uploads> {
        batches,
        part,
        show: Arc::new(move |upload: &Upload| wanted.wants(upload).then(|| event(upload))),
        last,
        warrant: Warrant::new(&api, &caller, right),
        stop: api.stop.clone(),
        store,
        _place: place,
    };
    Ok(listener.respond(&api, upgrade))
}

fn event(upload: &Upload) -> Result<Told, serde_json::Error> {
    Ok(Told {
        mark: Mark::Number(upload.seq),
        name: upload.kind.as_str(),
        data: serde_json::to_string(&view(upload))?,
    })
}

/// The sender a query names: a device by its id, or anybody by address.
pub(super) fn sender(api: &Api, device: Option<String>) -> Result<Option<Address>, Refusal> {
    let Some(text) = device else {
        return Ok(None);
    };
    let address = if text.contains('/') {
        text.parse()
    } else {
        Id::new(&text).map(|id| Address::local(Principal::device(id)))
    };
    match address {
        Ok(address) => Ok(Some(api.local(address))),
        Err(error) => Err(Refusal::new(Status::MALFORMED, format!("device: {error}"))),
    }
}

pub(super) fn view(upload: &Upload) -> UploadView {
    let body = Body::of(&upload.data);
    let source = &upload.source;
    let device = (source.domain.is_none() && source.principal.kind == Kind::Device)
        .then(|| source.principal.id.clone());
    UploadView {
        seq: upload.seq,
        id: upload.id,
        kind: upload.kind.as_str().to_owned(),
        from: (upload.kind == MessageKind::Message).then(|| source.clone()),
        source: source.clone(),
        device,
        channel: upload.channel.clone(),
        time: upload.time,
        received: upload.received,
        content_type: upload.content_type.clone(),
        sender_id: upload.sender_id.clone(),
        attributes: upload.attributes.clone(),
        data: body.data,
        text: body.text,
        data_base64: body.data_base64,
    }
}
