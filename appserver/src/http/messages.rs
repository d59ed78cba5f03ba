//! `GET /v1/messages/{id}`: the receipt of a message, joined from what every server on its way knows of it.

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::ReceiptView;
use irsp_protocol::inquiry::{Finding, Inquiry, Known};
use irsp_protocol::receipt::Receipt;
use irsp_protocol::{Address, Kind, MessageId, MessageKind, Principal, Status};

use super::caller::Caller;
use super::input::Path;
use super::refusal::Refusal;
use super::state::Api;
use crate::inquire::ask;
use crate::ladder;

/// The receipt of a message.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages",
    params(("id" = String, Path, description = "The message's id")),
    responses(
        (status = 200, body = ReceiptView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "No such message, or it is not the caller's to see"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_message(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ReceiptView>, Refusal> {
    let id: MessageId = id
        .parse()
        .map_err(|_| Refusal::new(Status::MALFORMED, "a message id is a UUID in lower case"))?;
    let unknown = || Refusal::new(Status::NOT_FOUND, format!("there is no message {id} of yours"));
    let ours = api.courier.receipt(id).await?;
    // A stranger learns nothing, and costs no question.
    if ours
        .as_ref()
        .is_some_and(|receipt| !may_see(&api, &caller, receipt))
    {
        return Err(unknown());
    }
    let heard = ask(&api.courier, caller.reach(), &Inquiry::Messages { ids: vec![id] }).await?;
    let silent = !heard.silent.is_empty();
    let known = heard.found.into_iter().filter_map(|(_, finding)| known(finding));
    let Some(receipt) = ladder::join(known.flatten().collect()) else {
        return Err(if silent {
            let detail = "the servers that may know it do not all answer";
            Refusal::new(Status::UNAVAILABLE, detail)
        } else {
            unknown()
        });
    };
    if !may_see(&api, &caller, &receipt) {
        return Err(unknown());
    }
    Ok(Json(ReceiptView::new(receipt, &api.domain, silent)))
}

/// What was found, if it is what was asked for.
fn known(finding: Finding) -> Option<Vec<Known>> {
    if let Finding::Messages(known) = finding {
        Some(known)
    } else {
        None
    }
}

/// Its sender, who it is for, an owner of the device it is for, operators and admins. The servers' own messages
/// (presence, account changes, statuses) are for operators and admins only.
pub(super) fn may_see(api: &Api, caller: &Caller, receipt: &Receipt) -> bool {
    if caller.reads_all() {
        return true;
    }
    if !matches!(
        receipt.kind,
        MessageKind::Upload | MessageKind::Push | MessageKind::Message
    ) {
        return false;
    }
    let own = |address: &Address| {
        let local = address.domain.as_ref().is_none_or(|domain| *domain == api.domain);
        local.then(|| address.principal.clone())
    };
    let destination = own(&receipt.destination);
    own(&receipt.source).as_ref() == Some(caller.principal())
        || destination.as_ref() == Some(caller.principal())
        || destination.is_some_and(|to| owns(api, caller.principal(), &to))
}

fn owns(api: &Api, user: &Principal, device: &Principal) -> bool {
    user.kind == Kind::User
        && device.kind == Kind::Device
        && api
            .directory
            .binding(&device.id, &user.id)
            .is_some_and(|binding| binding.owner)
}
