//! Lists in pages.

use axum::Json;
use irsp_protocol::api::account::Page;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::refusal::Refusal;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// Which part of a list is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Only what comes after this; `next` of the page before.
    pub(super) after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl Paging {
    pub(super) fn limit(&self) -> Result<u32, Refusal> {
        match self.limit.unwrap_or(LIMIT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            _ => Err(Refusal::Malformed(format!("limit is from 1 to {LIMIT_MAX}"))),
        }
    }

    pub(super) fn after(self) -> String {
        self.after.unwrap_or_default()
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
