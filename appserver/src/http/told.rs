//! What live streams tell, however they travel: as server-sent events, or as messages of a WebSocket.

use std::convert::Infallible;

use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use irsp_protocol::Status;
use serde::Serialize;

use super::refusal::Refusal;

/// Name of the header with which a client resumes.
const LAST_EVENT_ID: &str = "last-event-id";

/// What a client resumes behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Mark {
    Number(u64),
    Text(String),
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) mark: Mark,
    /// What it is, such as `upload`.
    pub(super) name: &'static str,
    /// JSON in one line.
    pub(super) data: String,
}

/// What goes out next.
pub(super) enum Ready {
    /// The stream is open; sent at once, so that the client sees it.
    Open,
    Told(Told),
    Beat,
    /// It ends, and why.
    Closed(String),
}

impl From<Ready> for Event {
    fn from(ready: Ready) -> Event {
        match ready {
            Ready::Open => Event::default().comment("open"),
            Ready::Beat => Event::default().comment("keep-alive"),
            Ready::Closed(why) => Event::default().comment(why),
            Ready::Told(told) => {
                let id = match told.mark {
                    Mark::Number(number) => number.to_string(),
                    Mark::Text(text) => text,
                };
                Event::default().id(id).event(told.name).data(told.data)
            }
        }
    }
}

/// A stream as server-sent events, whose `id:` is the mark.
pub(super) fn sse(stream: impl Stream<Item = Ready> + Send + 'static) -> Response {
    let events = stream.map(|ready| Ok::<_, Infallible>(Event::from(ready)));
    Sse::new(events).into_response()
}

/// The text to resume behind: `Last-Event-ID`, else `after`, else none.
pub(super) fn resume_text(headers: &HeaderMap, after: Option<String>) -> Result<Option<String>, Refusal> {
    match headers.get(LAST_EVENT_ID) {
        None => Ok(after),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err(no_mark()),
        },
    }
}

/// The number to resume behind.
pub(super) fn resume_after(headers: &HeaderMap, after: Option<u64>) -> Result<Option<u64>, Refusal> {
    let text = resume_text(headers, after.map(|number| number.to_string()))?;
    let number = text.map(|text| text.parse().map_err(|_| no_mark()));
    number.transpose()
}

pub(super) fn no_mark() -> Refusal {
    Refusal::new(
        Status::MALFORMED,
        "Last-Event-ID, and `after`, is the id of an event of this stream",
    )
}
