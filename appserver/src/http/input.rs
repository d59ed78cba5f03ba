//! What stands in a request, parsed once. Anything that is not understood is refused with 400 and says why.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use irsp_protocol::Status;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// The query. Its type denies unknown fields, so that a misspelled filter is not taken for no filter.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Refusal> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Params(query)),
            Err(rejection) => Err(Refusal::new(Status::MALFORMED, rejection.body_text())),
        }
    }
}

/// The variable parts of the path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Refusal> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Path(path)),
            Err(rejection) => Err(Refusal::new(Status::MALFORMED, rejection.body_text())),
        }
    }
}

/// A JSON body, whatever its media type says: no form or file is ever expected here.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Refusal> {
        let Body(bytes) = Body::from_request(request, state).await?;
        object(&bytes).map(Json)
    }
}

/// The bytes of a body.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;
    async fn from_request(request: Request, state: &S) -> Result<Body, Refusal> {
        Bytes::from_request(request, state)
            .await
            .map(Body)
            .map_err(unread)
    }
}

/// A JSON object. A reader of records takes a list of their fields, too, in an order that nobody has promised.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let malformed = |detail: String| Refusal::new(Status::MALFORMED, detail);
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(malformed("the body is a list, not an object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| malformed(format!("the body is not understood: {error}")))
}

/// The same, of a body that may be left out.
pub(super) fn optional<T: Default + DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    object(bytes)
}

fn unread(rejection: BytesRejection) -> Refusal {
    let detail = rejection.body_text();
    if rejection.into_response().status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::new(Status::TOO_LARGE, detail)
    } else {
        Refusal::new(Status::MALFORMED, detail)
    }
}
