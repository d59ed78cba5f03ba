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
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|error| Refusal::new(Status::MALFORMED, format!("the body is not understood: {error}")))
    }
}

fn unread(rejection: BytesRejection) -> Refusal {
    let detail = rejection.body_text();
    if rejection.into_response().status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::new(Status::TOO_LARGE, detail)
    } else {
        Refusal::new(Status::MALFORMED, detail)
    }
}
