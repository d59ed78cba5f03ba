//! What a request brings: JSON bodies, ids in the path, queries. Whatever is wrong with them is a problem with code 400.

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use irsp_protocol::{Domain, Id};
use serde::de::DeserializeOwned;

use super::{BODY_LEN_MAX, IMPORT, IMPORT_LEN_MAX};
use crate::refusal::Refusal;
use crate::transfer::{Format, Records};

/// A JSON body. Unknown fields are refused by the bodies' own types.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be missing.
pub(super) struct MaybeBody<T>(pub(super) T);

/// A text of records.
pub(super) struct Text {
    pub(super) format: Format,
    pub(super) text: Bytes,
}

/// The kind of records in the path.
pub(super) struct RecordsPath(pub(super) Records);

/// The id in the path.
pub(super) struct IdPath(pub(super) Id);

/// An id in the path, and what stands behind it.
pub(super) struct PairPath(pub(super) Id, pub(super) String);

/// The domain in the path.
pub(super) struct DomainPath(pub(super) Domain);

/// The number in the path.
pub(super) struct NumberPath(pub(super) u64);

/// The query after `?`.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Body<T>, Refusal> {
        let json = is_json(request.headers());
        let bytes = read(request).await?;
        parse(&bytes, json).map(Body)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<MaybeBody<T>, Refusal> {
        let json = is_json(request.headers());
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(MaybeBody(T::default()));
        }
        parse(&bytes, json).map(MaybeBody)
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Text, Refusal> {
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let format = Format::of_media_type(media_type).ok_or_else(|| {
            let (csv, ndjson) = (Format::Csv.media_type(), Format::Ndjson.media_type());
            Refusal::Malformed(format!("the body must have `Content-Type: {csv}` or `{ndjson}`"))
        })?;
        let text = read(request).await?;
        Ok(Text { format, text })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RecordsPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<RecordsPath, Refusal> {
        match path(parts, state).await?.as_str() {
            "devices" => Ok(RecordsPath(Records::Devices)),
            "users" => Ok(RecordsPath(Records::Users)),
            "apps" => Ok(RecordsPath(Records::Apps)),
            "bindings" => Ok(RecordsPath(Records::Bindings)),
            "peers" => Ok(RecordsPath(Records::Peers)),
            "grants" => Ok(RecordsPath(Records::Grants)),
            _ => Err(Refusal::NoPath),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<IdPath, Refusal> {
        let text = path(parts, state).await?;
        id(&text).map(IdPath)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PairPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PairPath, Refusal> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((first, second))) => Ok(PairPath(id(&first)?, second)),
            Err(error) => Err(Refusal::Malformed(error.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DomainPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<DomainPath, Refusal> {
        let text = path(parts, state).await?;
        Domain::new(&text)
            .map(DomainPath)
            .map_err(|error| Refusal::Malformed(error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NumberPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<NumberPath, Refusal> {
        let text = path(parts, state).await?;
        let number = text
            .parse()
            .map_err(|_| Refusal::Malformed("the path ends in a number".to_owned()))?;
        Ok(NumberPath(number))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Asked(asked)),
            Err(error) => Err(Refusal::Malformed(error.body_text())),
        }
    }
}

/// An id as it stands in a path.
pub(super) fn id(text: &str) -> Result<Id, Refusal> {
    Id::new(text).map_err(|error| Refusal::Malformed(error.to_string()))
}

async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Refusal> {
    match Path::<String>::from_request_parts(parts, state).await {
        Ok(Path(text)) => Ok(text),
        Err(error) => Err(Refusal::Malformed(error.body_text())),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], json: bool) -> Result<T, Refusal> {
    if !json {
        return Err(Refusal::Malformed(
            "the body must have `Content-Type: application/json`".to_owned(),
        ));
    }
    // A reader of records takes a list of their fields, too, in an order that nobody has promised.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::Malformed("the body is a list, not an object".to_owned()));
    }
    // The reader's words name field and place. They may quote the caller's own input, so they are not logged.
    serde_json::from_slice(bytes).map_err(|error| Refusal::Malformed(format!("the body is refused: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = media_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// Reads a body whole, up to the longest that its path takes.
pub(super) async fn read(request: Request) -> Result<Bytes, Refusal> {
    let max = match request.uri().path().starts_with(IMPORT) {
        true => IMPORT_LEN_MAX,
        false => BODY_LEN_MAX,
    };
    to_bytes(request.into_body(), max).await.map_err(|error| {
        let cause = error.into_inner();
        match cause.is::<LengthLimitError>() {
            true => Refusal::TooLong(max),
            false => Refusal::Malformed(format!("the body cannot be read: {cause}")),
        }
    })
}
