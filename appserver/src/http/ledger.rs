//! `GET /v1/ledger`: what every server of the domain accepted, how it ended and what is in flight.

use axum::Json;
use axum::extract::State;
use irsp_protocol::Server;
use irsp_protocol::api::Problem;
use irsp_protocol::api::operator::LedgerView;
use irsp_protocol::inquiry::{Finding, Inquiry};

use super::caller::Caller;
use super::refusal::Refusal;
use super::state::Api;
use crate::inquire::ask;

/// The ledger of the domain.
#[utoipa::path(get, path = "/v1/ledger", tag = "operator",
    responses(
        (status = 200, body = LedgerView),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "For operators and admins"),
    ))]
pub(super) async fn show_ledger(State(api): State<Api>, caller: Caller) -> Result<Json<LedgerView>, Refusal> {
    caller.must_read_all("the ledger")?;
    let heard = ask(&api.courier, &Server::ALL, &Inquiry::Ledger).await?;
    let mut ledgers = Vec::new();
    for (server, finding) in heard.found {
        if let Finding::Ledger(ledger) = finding {
            ledgers.push((server, ledger));
        }
    }
    let now = api.courier.now();
    Ok(Json(LedgerView::new(
        api.domain.clone(),
        now,
        ledgers,
        heard.silent,
    )))
}
