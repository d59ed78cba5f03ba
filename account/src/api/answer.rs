//! The answers to changes.

use axum::Json;
use axum::http::StatusCode;
use irsp_protocol::api::account::Changed;

use crate::change::Done;
use crate::refusal::Refusal;

/// What a handler that changes something returns.
pub(super) type Answer<T> = Result<(StatusCode, Json<Changed<T>>), Refusal>;

impl<T> Done<T> {
    /// `success` when the change is in force, else 202.
    pub(super) fn answer(self, success: StatusCode) -> Answer<T> {
        let status = if self.effect.in_effect {
            success
        } else {
            StatusCode::ACCEPTED
        };
        let Done { of, effect } = self;
        Ok((status, Json(Changed { of, effect })))
    }
}
