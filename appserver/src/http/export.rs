//! An application takes its uploads out: all that are stored when it asks, as NDJSON or CSV, read and written a page at a
//! time, so that neither side has to hold them.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use irsp_courier::store::StoreError;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::UploadView;
use irsp_protocol::{Channel, Id, MessageKind, Timestamp};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use super::caller::Caller;
use super::input::{Params, Path};
use super::refusal::{Refusal, Refusals};
use super::state::Api;
use super::uploads::{StoredKind, sender, view};
use crate::live::{Log as _, Page};
use crate::store::uploads::{self, Filter, Order, Upload, Uploads};

/// Uploads read at a time.
const PAGE: usize = 256;
/// The first line of a CSV.
const COLUMNS: &str = "seq,id,kind,source,channel,time,received,content_type,sender_id,encoding,data\r\n";

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A JSON object a line, as the pages have them.
    #[default]
    Ndjson,
    /// RFC 4180, with a line of names first. `encoding` says how `data` stands there: `json`, `text` or `base64`.
    Csv,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `ndjson` (the default) or `csv`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    format: Format,
    /// A device's id, or any sender's address (`usr/ann`).
    device: Option<String>,
    #[param(value_type = Option<String>)]
    channel: Option<Channel>,
    /// `upload` or `message` only.
    #[param(value_type = Option<String>)]
    kind: Option<StoredKind>,
    /// Not before this time (RFC 3339), by the sender's word.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Beyond this number: where an export that was cut goes on.
    after: Option<u64>,
}

/// Why an export ends in the middle; its reader sees that it was cut.
#[derive(Debug, Error)]
enum Cut {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an upload cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the server stops")]
    Stops,
}

/// One export under way.
struct Export {
    api: Api,
    filter: Filter,
    format: Format,
    after: u64,
    /// What was the last one when it began: it ends, however fast uploads come.
    last: u64,
    begun: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// The application's uploads, oldest first, as NDJSON or CSV.
#[utoipa::path(get, path = "/v1/apps/{app}/uploads/export", tag = "uploads",
    params(("app" = String, Path, description = "The application's id"), ExportQuery),
    responses(
        (status = 200, body = UploadView, content_type = "application/x-ndjson"),
        Refusals,
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn export_uploads(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<Id>,
    Params(query): Params<ExportQuery>,
) -> Result<Response, Refusal> {
    caller.may_read_uploads(&api.directory, &app)?;
    let filter = Filter {
        app: Some(app.clone()),
        source: sender(&api, query.device)?,
        channel: query.channel,
        kind: query.kind.map(MessageKind::from),
        from: query.from,
        to: query.to,
    };
    let place = api.place()?;
    let last = api.courier.store().read(Uploads::last).await?;
    let export = Export {
        api: api.clone(),
        filter,
        format: query.format,
        after: query.after.unwrap_or(0),
        last,
        begun: false,
        ended: false,
        _place: place,
    };
    let (content_type, ending) = match query.format {
        Format::Ndjson => ("application/x-ndjson", "ndjson"),
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
    };
    let pieces = stream::unfold(export, |mut export| async move {
        let piece = export.next().await?;
        if let Err(cut) = &piece {
            tracing::warn!(%cut, "an export is cut");
            export.ended = true;
        }
        Some((piece, export))
    });
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{app}.{ending}\""),
        ),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

impl Export {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.ended {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) && matches!(self.format, Format::Csv) {
            return Some(Ok(Bytes::from_static(COLUMNS.as_bytes())));
        }
        let page = match self.read().await {
            Ok(page) => page,
            Err(cut) => return Some(Err(cut)),
        };
        self.ended = !page.more;
        let mut text = String::new();
        for upload in page.entries.iter().filter(|upload| upload.seq <= self.last) {
            if let Err(error) = self.write(upload, &mut text) {
                return Some(Err(error.into()));
            }
        }
        match page.entries.last() {
            Some(last) if last.seq <= self.last => self.after = last.seq,
            Some(_) | None => self.ended = true,
        }
        (!text.is_empty()).then(|| Ok(Bytes::from(text)))
    }

    async fn read(&self) -> Result<Page<Upload>, Cut> {
        let (filter, after) = (self.filter.clone(), self.after);
        let store = self.api.courier.store();
        let reading = store.read(move |conn| uploads::page(conn, &filter, Some(after), Order::Oldest, PAGE));
        match self.api.stop.run_until_cancelled(reading).await {
            Some(page) => Ok(page?),
            None => Err(Cut::Stops),
        }
    }

    fn write(&self, upload: &Upload, text: &mut String) -> Result<(), serde_json::Error> {
        let view = view(upload);
        match self.format {
            Format::Ndjson => {
                text.push_str(&serde_json::to_string(&view)?);
                text.push('\n');
            }
            Format::Csv => write_row(&view, text),
        }
        Ok(())
    }
}

fn write_row(view: &UploadView, text: &mut String) {
    let (encoding, data) = match (&view.data, &view.text, &view.data_base64) {
        (Some(json), _, _) => ("json", json.get()),
        (None, Some(plain), _) => ("text", plain.as_str()),
        (None, None, base64) => ("base64", base64.as_deref().unwrap_or_default()),
    };
    // Writing into memory cannot fail.
    let _ = write!(text, "{},{},{},{},", view.seq, view.id, view.kind, view.source);
    let channel = view.channel.as_ref().map_or("", Channel::as_str);
    let content_type = view.content_type.as_deref().unwrap_or_default();
    let sender_id = view.sender_id.as_deref().unwrap_or_default();
    write_field(channel, text);
    let _ = write!(text, ",{},{},", view.time, view.received);
    for (field, end) in [
        (content_type, ","),
        (sender_id, ","),
        (encoding, ","),
        (data, "\r\n"),
    ] {
        write_field(field, text);
        text.push_str(end);
    }
}

/// RFC 4180: what holds a comma, a quote or an end of line stands in quotes, its quotes doubled.
fn write_field(field: &str, text: &mut String) {
    if !field.contains([',', '"', '\r', '\n']) {
        return text.push_str(field);
    }
    text.push('"');
    text.push_str(&field.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        for (field, written) in [
            ("", ""),
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("{\"a\":1}", "\"{\"\"a\"\":1}\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            let mut text = String::new();
            write_field(field, &mut text);
            assert_eq!(text, written, "{field:?}");
        }
    }
}
