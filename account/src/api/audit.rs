//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_protocol::Timestamp;
use irsp_protocol::api::account::{AuditEntry, Page};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::Asked;
use super::caller::Reader;
use super::doc::Problems;
use super::page::{limit, page};
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::audit::{self, Filter};

/// In which order the lines come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// Which lines are asked for; all that is given must be so.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Who did it: `usr/ann`; `nobody` is a refused login.
    #[param(example = "usr/ann")]
    who: Option<String>,
    /// What was done: `device.reset`, or `device` for all that was done to devices.
    #[param(example = "device")]
    action: Option<String>,
    /// To whom: `dev/lamp-1`.
    #[param(example = "dev/lamp-1")]
    target: Option<String>,
    /// How it ended: 200 done, 401, 403 or 429 refused.
    #[param(minimum = 200, maximum = 599)]
    status: Option<u16>,
    /// Not before this time (RFC 3339).
    #[param(value_type = Option<String>, format = "date-time")]
    from: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = "date-time")]
    to: Option<Timestamp>,
    #[serde(default)]
    #[param(inline, required = false)]
    order: Order,
    /// Only what comes after this; `next` of the page before.
    after: Option<u64>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Who did what, from where: every change and every login, refused ones too.
///
/// A flood of refused logins is written as one line a second that says how many it stands for.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditEntry>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(asked): Asked<AuditQuery>,
) -> Result<Json<Page<AuditEntry>>, Refusal> {
    let limit = limit(asked.limit)?;
    let filter = Filter {
        who: asked.who,
        action: asked.action,
        target: asked.target,
        status: asked.status,
        from: asked.from,
        to: asked.to,
        newest_first: asked.order == Order::Desc,
    };
    let entries = account
        .courier
        .store()
        .read(move |sql| audit::list(sql, &filter, asked.after, limit + 1))
        .await?;
    Ok(page(entries, limit, |entry| entry.n.to_string()))
}
