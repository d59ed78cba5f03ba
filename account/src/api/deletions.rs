//! Deletions that other domains were told of, with what each said (clause 8.7).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::account::Page;
use irsp_protocol::api::peer::DeletionView;
use irsp_protocol::{Principal, Status};
use serde::Deserialize;

use super::body::Asked;
use super::caller::Reader;
use super::doc::Problems;
use super::page::{self, page};
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::deletion::{self, Told};
use crate::store::operation::End;

/// Whose deletion is meant.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Such as `dev/lamp-1`; of all unless given.
    #[param(value_type = Option<String>)]
    principal: Option<Principal>,
    /// Only what comes after this; `next` of the page before.
    after: Option<String>,
    /// Items on a page, 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which domains were told that a device, user or application is deleted, and what they said: 202 while nothing, 200 when they have
/// confirmed it.
#[utoipa::path(get, path = "/v1/deletions", tag = "peers", params(Whose),
    responses((status = 200, body = Page<DeletionView>), Problems))]
pub(super) async fn list(
    State(account): State<Arc<Account>>,
    _: Reader,
    Asked(Whose {
        principal,
        after,
        limit,
    }): Asked<Whose>,
) -> Result<Json<Page<DeletionView>>, Refusal> {
    let limit = page::limit(limit)?;
    let after = after.unwrap_or_default();
    let told = account
        .courier
        .store()
        .read(move |sql| deletion::list(sql, principal.as_ref(), &after, limit + 1))
        .await?;
    let mut views = Vec::with_capacity(told.len());
    for one in told {
        views.push(settled(&account, one).await?);
    }
    Ok(page(views, limit, |view| {
        format!("{}/{}", view.principal, view.domain)
    }))
}

/// An end that was not noted, because this server was killed just then, stands in the receipt.
async fn settled(account: &Account, told: Told) -> Result<DeletionView, Refusal> {
    let Told { message, mut view } = told;
    if view.ended.is_some() {
        return Ok(view);
    }
    let receipt = account.courier.receipt(message).await?;
    let ended = receipt.filter(|receipt| receipt.status != Status::QUEUED);
    if let Some(receipt) = ended {
        let status = receipt.status;
        let at = receipt.stages.last().map_or(view.told, |stage| stage.time);
        (view.status, view.ended) = (status, Some(at));
        let end = End { message, status, at };
        account
            .courier
            .write(move |tx| deletion::end(tx.sql(), &[end]))
            .await?;
    }
    Ok(view)
}
