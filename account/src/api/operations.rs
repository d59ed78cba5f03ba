//! Operations: what has become of a change at the servers that follow (clause 8.2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::account::OperationView;

use super::body::NumberPath;
use super::caller::Person;
use super::doc::Problems;
use crate::account::Account;
use crate::effect;
use crate::refusal::Refusal;

/// How far a change is. It tells nothing of what was changed, so any user may ask.
#[utoipa::path(get, path = "/v1/operations/{operation}", tag = "operations",
    params(("operation" = u64, Path, description = "The number that a change was answered with")),
    responses((status = 200, body = OperationView), Problems))]
pub(super) async fn show(
    State(account): State<Arc<Account>>,
    _: Person,
    NumberPath(operation): NumberPath,
) -> Result<Json<OperationView>, Refusal> {
    Ok(Json(effect::view(&account.operation(operation).await?)))
}
