//! The answers to changes, and single records with their ETags.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use irsp_protocol::api::account::Changed;
use serde::Serialize;

use super::caller::Caller;
use crate::change::{Done, Made, etag};
use crate::refusal::Refusal;

/// What a handler that changes something returns.
pub(super) type Answer<T> = Result<Answered<T>, Refusal>;

/// A change that was carried out.
pub(super) struct Answered<T> {
    status: StatusCode,
    done: Done<T>,
}

/// A record as it is now.
pub(super) struct Shown<T> {
    record: T,
    /// The caller has it in this version.
    known: bool,
}

impl<T> Done<T> {
    /// `success` when the change is in force, else 202.
    pub(super) fn answer(self, success: StatusCode) -> Answer<T> {
        let status = if self.effect.in_effect {
            success
        } else {
            StatusCode::ACCEPTED
        };
        Ok(Answered { status, done: self })
    }
}

impl Caller {
    /// Shows a record, unless `If-None-Match` says that the caller has it.
    pub(super) fn shown<T: Made>(&self, record: T) -> Shown<T> {
        let known = record
            .version()
            .is_some_and(|version| self.conditions.knows(version));
        Shown { record, known }
    }

    /// Shows a record with something that is no part of its version, so that it is never known already.
    pub(super) fn shown_now<T: Made>(record: T) -> Shown<T> {
        Shown { record, known: false }
    }
}

impl<T: Made> IntoResponse for Answered<T> {
    fn into_response(self) -> Response {
        let Answered { status, done } = self;
        let tag = tagged(&done.of);
        let repeated = done
            .repeated
            .then_some((REPLAYED, HeaderValue::from_static("true")));
        let Done { of, effect, .. } = done;
        let mut response = (status, Json(Changed { of, effect })).into_response();
        response.headers_mut().extend(tag.into_iter().chain(repeated));
        response
    }
}

impl<T: Made + Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let tag = tagged(&self.record);
        let mut response = match self.known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Json(self.record).into_response(),
        };
        response.headers_mut().extend(tag);
        response
    }
}

/// The answer was made by an earlier request with the same Idempotency-Key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

fn tagged(record: &impl Made) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(etag(record.version()?)).ok()?;
    Some((header::ETAG, value))
}
