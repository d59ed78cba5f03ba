//! Requests that may come again: `Idempotency-Key`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::body::read as read_body;
use super::caller::Caller;
use crate::account::Account;
use crate::refusal::Refusal;
use crate::repeat::{KEY_LEN_MAX, Repeat};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Hashes a POST that carries an Idempotency-Key, so that whoever carries it out recognises a repeat. The body of a
/// stranger is not read.
pub(super) async fn recognise(State(account): State<Arc<Account>>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match recognised(&account, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn recognised(account: &Arc<Account>, request: Request) -> Result<Request, Refusal> {
    let (mut parts, body) = request.into_parts();
    let Ok(caller) = Caller::from_request_parts(&mut parts, account).await else {
        // The handler says why.
        return Ok(Request::from_parts(parts, body));
    };
    let key = key(&parts.headers)?.to_vec();
    let body = read_body(Request::from_parts(parts.clone(), body)).await?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let asked = [parts.method.as_str().as_bytes(), path.as_bytes(), &body];
    let repeat = Repeat::new(account.directory.hash_key(), &caller.principal, &key, &asked);
    parts.extensions.insert(repeat);
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn key(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if (1..=KEY_LEN_MAX).contains(&key.len()) => Ok(key.as_bytes()),
        _ => Err(Refusal::Malformed(format!(
            "one Idempotency-Key of 1 to {KEY_LEN_MAX} bytes is understood"
        ))),
    }
}
