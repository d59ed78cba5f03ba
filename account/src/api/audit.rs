//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::account::{AuditEntry, Page};

use super::body::Asked;
use super::caller::Reader;
use super::doc::Problems;
use super::page::{Paging, page};
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::audit;

/// Who did what, from where: every change and every login, oldest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Paging),
    responses((status = 200, body = Page<AuditEntry>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<AuditEntry>>, Refusal> {
    let limit = paging.limit()?;
    let after = match paging.after {
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::Malformed("after is the number of an entry".to_owned()))?,
        None => 0,
    };
    let entries = account
        .courier
        .store()
        .read(move |sql| audit::list(sql, after, limit + 1))
        .await?;
    Ok(page(entries, limit, |entry| entry.n.to_string()))
}
