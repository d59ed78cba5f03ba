//! Dead letters over HTTP: listed, shown, sent again, discarded. Whichever server holds one, it is reached from here.

use axum::Json;
use axum::extract::State as Shared;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::Period;
use irsp_protocol::api::operator::{DeadLetterPage, DeadLetterView, OperatedView, RetryRequest};
use irsp_protocol::inquiry::{DeadLetter, Filter, Finding, Inquiry, Operated, Order, PageRequest};
use irsp_protocol::note::Action;
use irsp_protocol::{Expiry, MessageId, Server, State, Status, Timestamp};
use serde::Deserialize;

use super::caller::Caller;
use super::input::{self, Body, Params, Path};
use super::message_list::{Direction, order};
use super::messages::may_see;
use super::note::Note;
use super::page_limit;
use super::refusal::Refusal;
use super::state::Api;
use crate::inquire::ask;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Beyond this message, in the order asked for: `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<MessageId>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
    /// `asc` (oldest first, the default) or `desc`.
    #[param(value_type = Option<String>)]
    order: Option<Direction>,
}

/// Dead letters the caller may see, without their data.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "operator", params(PageQuery),
    responses(
        (status = 200, body = DeadLetterPage),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list_dead_letters(
    Shared(api): Shared<Api>,
    caller: Caller,
    Params(query): Params<PageQuery>,
) -> Result<Json<DeadLetterPage>, Refusal> {
    let limit = page_limit(query.limit)?;
    let request = PageRequest {
        filter: Filter::default(),
        order: order(query.order),
        after: query.after,
        limit: limit.try_into().unwrap_or(u16::MAX),
    };
    let heard = ask(
        &api.courier,
        caller.reach(),
        &Inquiry::DeadLetters(request.clone()),
    )
    .await?;
    let partial = !heard.silent.is_empty();
    let mut letters: Vec<(Server, DeadLetter)> = Vec::new();
    let mut ends = Vec::new();
    for (server, finding) in heard.found {
        if let Finding::DeadLetters(page) = finding {
            letters.extend(page.entries.into_iter().map(|letter| (server, letter)));
            ends.extend(page.next);
        }
    }
    letters.sort_by_key(|(_, letter)| letter.receipt.id);
    ends.sort();
    if request.order == Order::Newest {
        letters.reverse();
        ends.reverse();
    }
    // Beyond the first place where a server has more, the others' do not follow in order.
    let mut next = ends.first().copied();
    if let Some(end) = next {
        letters.retain(|(_, letter)| match request.order {
            Order::Oldest => letter.receipt.id <= end,
            Order::Newest => letter.receipt.id >= end,
        });
    }
    if letters.len() > limit {
        letters.truncate(limit);
        next = letters.last().map(|(_, letter)| letter.receipt.id);
    }
    letters.retain(|(_, letter)| may_see(&api, &caller, &letter.receipt));
    Ok(Json(DeadLetterPage {
        dead_letters: letters
            .into_iter()
            .map(|(server, letter)| DeadLetterView::new(server, letter, &api.domain))
            .collect(),
        next,
        partial,
    }))
}

/// A dead letter with its data.
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "operator",
    params(("id" = String, Path, description = "The message's id")),
    responses(
        (status = 200, body = DeadLetterView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_dead_letter(
    Shared(api): Shared<Api>,
    caller: Caller,
    Path(id): Path<MessageId>,
) -> Result<Json<DeadLetterView>, Refusal> {
    let heard = ask(&api.courier, caller.reach(), &Inquiry::DeadLetter { id }).await?;
    for (server, finding) in heard.found {
        if let Finding::DeadLetter(Some(letter)) = finding
            && may_see(&api, &caller, &letter.receipt)
        {
            return Ok(Json(DeadLetterView::with_data(server, *letter, &api.domain)));
        }
    }
    Err(not_found(id, &heard.silent))
}

/// Sends a dead letter again. It is in flight again, and its receipt goes on.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/retry", tag = "operator",
    params(("id" = String, Path, description = "The message's id")),
    request_body(content = RetryRequest, description = "May be left out"),
    responses(
        (status = 202, body = OperatedView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "For admins"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 408, body = Problem, content_type = "application/problem+json",
            description = "Its expiry, or the one given, has passed: give another"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "It has ended otherwise"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn retry_dead_letter(
    Shared(api): Shared<Api>,
    caller: Caller,
    Path(id): Path<MessageId>,
    Body(body): Body,
) -> Result<(axum::http::StatusCode, Json<OperatedView>), Refusal> {
    caller.must_be_admin("sends a dead letter again")?;
    let request: RetryRequest = input::optional(&body)?;
    let expires = expires(&request, api.push.expiry, api.courier.now())?;
    let note = Note::new(&api, &caller, Action::RetryDeadLetter, id.to_string(), Vec::new())?;
    let order = operate(api.clone(), id, Inquiry::Retry { id, expires });
    let server = note.after(&api, order).await?;
    tracing::info!(%id, %server, who = %caller.principal(), "a dead letter is sent again");
    let view = OperatedView {
        id,
        server,
        state: State::InFlight,
    };
    Ok((axum::http::StatusCode::ACCEPTED, Json(view)))
}

/// Discards a dead letter: its data go, its end and its receipt stay.
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "operator",
    params(("id" = String, Path, description = "The message's id")),
    responses(
        (status = 200, body = OperatedView),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "For admins"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "It is no dead letter"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn discard_dead_letter(
    Shared(api): Shared<Api>,
    caller: Caller,
    Path(id): Path<MessageId>,
) -> Result<Json<OperatedView>, Refusal> {
    caller.must_be_admin("discards a dead letter")?;
    let (action, of) = (Action::DiscardDeadLetter, id.to_string());
    let note = Note::new(&api, &caller, action, of, Vec::new())?;
    let order = operate(api.clone(), id, Inquiry::Discard { id });
    let server = note.after(&api, order).await?;
    tracing::info!(%id, %server, who = %caller.principal(), "a dead letter is discarded");
    Ok(Json(OperatedView {
        id,
        server,
        state: State::Undeliverable,
    }))
}

/// The server that carried the order out. A dead letter is in one place, so the others do not know it as one; one that
/// handed the message over, or took it over, says how it stands there.
async fn operate(api: Api, id: MessageId, order: Inquiry) -> Result<Server, Refusal> {
    let holder = holder(&api, id).await?;
    let heard = ask(&api.courier, &holder, &order).await?;
    let mut no = None;
    for (server, finding) in heard.found {
        match finding {
            Finding::Operated(Operated::Done) => return Ok(server),
            Finding::Operated(Operated::Expired) => {
                let detail = format!("the expiry of {id} has passed: give an expiry");
                no = Some(Refusal::new(Status::EXPIRED, detail));
            }
            Finding::Operated(Operated::NotDead(status)) => {
                let stands = State::of(status);
                let detail = format!("{id} is no dead letter: it is {stands} ({status})");
                no = Some(Refusal::new(Status::CONFLICT, detail));
            }
            Finding::Operated(Operated::Unknown)
            | Finding::Messages(_)
            | Finding::Receipts(_)
            | Finding::Tail(_)
            | Finding::Ledger(_)
            | Finding::DeadLetters(_)
            | Finding::DeadLetter(_) => {}
        }
    }
    Err(no.unwrap_or_else(|| not_found(id, &heard.silent)))
}

/// Where the letter is; all servers, if it is nowhere.
async fn holder(api: &Api, id: MessageId) -> Result<Vec<Server>, Refusal> {
    let heard = ask(&api.courier, &Server::ALL, &Inquiry::DeadLetter { id }).await?;
    let holds = |(server, finding)| matches!(finding, Finding::DeadLetter(Some(_))).then_some(server);
    Ok(match heard.found.into_iter().find_map(holds) {
        Some(server) => vec![server],
        None => Server::ALL.to_vec(),
    })
}

/// When it expires, if another expiry is given: by the rule of all senders.
fn expires(request: &RetryRequest, expiry: Expiry, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let until = |period: Period| expiry.until(now, Some(period.0), None);
    let expires = request.expiry.map(until).transpose();
    expires.map_err(|error| Refusal::new(error.status(), error.to_string()))
}

fn not_found(id: MessageId, silent: &[Server]) -> Refusal {
    if silent.is_empty() {
        Refusal::new(
            Status::NOT_FOUND,
            format!("there is no dead letter {id} of yours"),
        )
    } else {
        Refusal::new(
            Status::UNAVAILABLE,
            "the servers that may hold it do not all answer",
        )
    }
}
