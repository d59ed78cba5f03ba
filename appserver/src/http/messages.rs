//! `GET /v1/messages/{id}`: the receipt of a message, joined from what we and the message server know of it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::ReceiptView;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::receipt::Receipt;
use irsp_protocol::{Address, Kind, MessageId, MessageKind, Principal, Server, Status};

use super::caller::Caller;
use super::input::Path;
use super::refusal::Refusal;
use super::state::Api;

/// How long the message server may take to say what it knows.
const ASK_WITHIN: Duration = Duration::from_secs(2);

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
    let asked = api
        .courier
        .ask(Server::Message, Question::Receipt { id }, ASK_WITHIN)
        .await;
    let (theirs, heard) = match asked {
        Some(Reply::Receipt(theirs)) => (theirs, true),
        Some(Reply::Unanswered(_) | Reply::Directory(_) | Reply::Presence { .. }) | None => (None, false),
    };
    let receipt = match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.join(theirs),
        (Some(known), None) | (None, Some(known)) => known,
        (None, None) if heard => return Err(unknown()),
        (None, None) => {
            let detail = "the message server, which may know it, does not answer";
            return Err(Refusal::new(Status::UNAVAILABLE, detail));
        }
    };
    if !may_see(&api, &caller, &receipt) {
        return Err(unknown());
    }
    Ok(Json(ReceiptView::new(receipt, &api.domain, !heard)))
}

/// Its sender, who it is for, an owner of the device it is for, operators and admins. The servers' own messages
/// (presence, account changes, statuses) are for operators and admins only.
fn may_see(api: &Api, caller: &Caller, receipt: &Receipt) -> bool {
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
