//! Lists in pages.

use axum::Json;
use irsp_protocol::api::account::Page;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::refusal::Refusal;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// Only those that are not disabled, or only those that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    Enabled,
    Disabled,
}

impl Standing {
    pub(super) fn is_disabled(self) -> bool {
        self == Standing::Disabled
    }
}

/// How many items a page holds.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Refusal> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Refusal::Malformed(format!("limit is from 1 to {LIMIT_MAX}"))),
    }
}

/// A page out of one item more than fits on it, if there are so many.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Json<Page<T>> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Json(Page { items, next })
}
