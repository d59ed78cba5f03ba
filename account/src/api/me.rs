//! Who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::account::Me;

use super::caller::Caller;
use super::doc::Problems;
use crate::account::Account;

/// Who the credentials belong to.
#[utoipa::path(get, path = "/v1/me", tag = "login", responses((status = 200, body = Me), Problems))]
pub(super) async fn me(State(account): State<Arc<Account>>, caller: Caller) -> Json<Me> {
    let me = Me {
        principal: caller.principal,
        role: caller.role,
        domain: account.domain.clone(),
    };
    std::future::ready(Json(me)).await
}
