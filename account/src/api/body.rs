//! What a request brings: JSON bodies, ids in the path, queries. Whatever is wrong with them is a problem with code 400.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use irsp_protocol::{Domain, Id};
use serde::de::DeserializeOwned;

use super::BODY_LEN_MAX;
use crate::refusal::Refusal;

/// A JSON body. Unknown fields are refused by the bodies' own types.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be missing.
pub(super) struct MaybeBody<T>(pub(super) T);

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

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Refusal> {
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        parse(&bytes, json).map(Body)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<MaybeBody<T>, Refusal> {
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        if bytes.is_empty() {
            return Ok(MaybeBody(T::default()));
        }
        parse(&bytes, json).map(MaybeBody)
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

/// Why a body could not be read.
pub(super) fn unread(rejection: BytesRejection) -> Refusal {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::TooLong(BODY_LEN_MAX)
    } else {
        Refusal::Malformed(rejection.body_text())
    }
}
