//! `GET /v1/messages`: receipts in pages, by principal, state and kind, joined over the servers of the domain.
//!
//! Each server pages through its own in order of the ids; of what they say, all up to the earliest place where one of
//! them has more is whole. A message that only some of them told of is looked up at the others, because one server may
//! have ended what another still calls in flight.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State as Shared;
use irsp_protocol::api::Problem;
use irsp_protocol::api::app::ReceiptView;
use irsp_protocol::api::operator::MessagePage;
use irsp_protocol::inquiry::{Filter, Finding, Inquiry, Known, Order, PageRequest};
use irsp_protocol::receipt::Receipt;
use irsp_protocol::{Address, MessageId, MessageKind, Server, State, Status};
use serde::Deserialize;

use super::caller::Caller;
use super::input::Params;
use super::messages::may_see;
use super::page_limit;
use super::refusal::Refusal;
use super::state::Api;
use crate::inquire::ask;
use crate::ladder;

/// Rounds of asking for one page: each looks through thousands of messages at each server.
const ROUNDS_MAX: usize = 10;

/// The kinds people send each other; the servers' own are shown when asked for.
const PEOPLES: [MessageKind; 3] = [MessageKind::Upload, MessageKind::Push, MessageKind::Message];

/// Which messages are meant, in the words of a query.
pub(super) struct Wanted {
    pub(super) principal: Option<String>,
    pub(super) state: Option<String>,
    pub(super) kind: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Its sender or the one it is for, such as `dev/lamp-1`.
    principal: Option<String>,
    /// `in-flight`, `done`, `rejected`, `expired`, `revoked`, `superseded`, `over-quota` or `undeliverable`; several with
    /// commas between.
    state: Option<String>,
    /// `upload`, `push` or `message`; for operators also `status`, `presence` and `directory`. Several with commas between.
    kind: Option<String>,
    /// Beyond this message, in the order asked for: `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<MessageId>,
    /// 1 to 1000, 100 if not given.
    limit: Option<u16>,
    /// `asc` (oldest first, the default) or `desc`.
    #[param(value_type = Option<String>)]
    order: Option<Direction>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Asc,
    Desc,
}

/// Receipts the caller may see: everybody's for operators and admins, else the caller's own.
#[utoipa::path(get, path = "/v1/messages", tag = "messages", params(PageQuery),
    responses(
        (status = 200, body = MessagePage),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list_messages(
    Shared(api): Shared<Api>,
    caller: Caller,
    Params(query): Params<PageQuery>,
) -> Result<Json<MessagePage>, Refusal> {
    let wanted = Wanted {
        principal: query.principal,
        state: query.state,
        kind: query.kind,
    };
    let mut request = PageRequest {
        filter: wanted.filter(&api, &caller)?,
        order: order(query.order),
        after: query.after,
        limit: page_limit(query.limit)?.try_into().unwrap_or(u16::MAX),
    };
    let limit = usize::from(request.limit);
    let mut found = Vec::new();
    let mut partial = false;
    for _ in 0..ROUNDS_MAX {
        let round = gather(&api, &caller, &request).await?;
        partial |= round.partial;
        found.extend(round.receipts);
        request.after = round.next;
        if found.len() >= limit || request.after.is_none() {
            break;
        }
    }
    if found.len() > limit {
        found.truncate(limit);
        request.after = found.last().map(|receipt| receipt.id);
    }
    Ok(Json(MessagePage {
        messages: found
            .into_iter()
            .map(|receipt| ReceiptView::new(receipt, &api.domain, partial))
            .collect(),
        next: request.after,
        partial,
    }))
}

impl Wanted {
    /// The filter; without a principal, who is no operator means its own messages.
    pub(super) fn filter(&self, api: &Api, caller: &Caller) -> Result<Filter, Refusal> {
        let refused = |reason: String| Refusal::new(Status::MALFORMED, reason);
        let principal = match &self.principal {
            Some(text) => {
                let address: Address = text
                    .parse()
                    .map_err(|error| refused(format!("principal: {error}")))?;
                Some(address)
            }
            None if caller.reads_all() => None,
            None => Some(Address::local(caller.principal().clone())),
        };
        let state = |word: &str| {
            State::parse(word).ok_or_else(|| {
                let known: Vec<_> = State::ALL.into_iter().map(State::as_str).collect();
                refused(format!("state is one of {}, not {word:?}", known.join(", ")))
            })
        };
        let kind = |word: &str| {
            MessageKind::parse(word).ok_or_else(|| {
                let known: Vec<_> = MessageKind::ALL.into_iter().map(MessageKind::as_str).collect();
                refused(format!("kind is one of {}, not {word:?}", known.join(", ")))
            })
        };
        Ok(Filter {
            principal: principal.map(|address| Address {
                domain: address.domain.or_else(|| Some(api.domain.clone())),
                ..address
            }),
            states: words(self.state.as_deref())
                .map(state)
                .collect::<Result<_, _>>()?,
            kinds: match &self.kind {
                Some(text) => words(Some(text)).map(kind).collect::<Result<_, _>>()?,
                None => PEOPLES.to_vec(),
            },
        })
    }
}

pub(super) fn order(direction: Option<Direction>) -> Order {
    match direction {
        None | Some(Direction::Asc) => Order::Oldest,
        Some(Direction::Desc) => Order::Newest,
    }
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.into_iter().flat_map(|text| text.split(','))
}

/// What one round of asking has found, in order, and where the next begins.
struct Round {
    receipts: Vec<Receipt>,
    next: Option<MessageId>,
    partial: bool,
}

async fn gather(api: &Api, caller: &Caller, request: &PageRequest) -> Result<Round, Refusal> {
    let heard = ask(&api.courier, caller.reach(), &Inquiry::Receipts(request.clone())).await?;
    let mut partial = !heard.silent.is_empty();
    let mut pages = Vec::new();
    for (server, finding) in heard.found {
        if let Finding::Receipts(page) = finding {
            pages.push((server, page));
        }
    }
    let behind = |id: MessageId, end: MessageId| match request.order {
        Order::Oldest => id > end,
        Order::Newest => id < end,
    };
    let horizon = pages
        .iter()
        .filter_map(|(_, page)| page.next)
        .reduce(|one, other| if behind(one, other) { other } else { one });
    let mut told: BTreeMap<MessageId, Vec<(Server, Receipt)>> = BTreeMap::new();
    for (server, page) in pages {
        for receipt in page.entries {
            if horizon.is_none_or(|end| !behind(receipt.id, end)) {
                told.entry(receipt.id).or_default().push((server, receipt));
            }
        }
    }
    partial |= complete(api, caller.reach(), &mut told).await?;
    let joined = told.into_values().filter_map(|parts| {
        let known = parts.into_iter().map(|(_, receipt)| Known {
            id: receipt.id,
            receipt: Some(receipt),
            received: None,
        });
        ladder::join(known.collect())
    });
    let mut receipts: Vec<Receipt> = joined
        .filter(|receipt| request.filter.wants(receipt) && may_see(api, caller, receipt))
        .collect();
    if request.order == Order::Newest {
        receipts.reverse();
    }
    Ok(Round {
        receipts,
        next: horizon,
        partial,
    })
}

/// Adds what each server knows of the messages that it did not tell of. Says whether one was silent.
async fn complete(
    api: &Api,
    servers: &[Server],
    told: &mut BTreeMap<MessageId, Vec<(Server, Receipt)>>,
) -> Result<bool, Refusal> {
    let mut silent = false;
    for server in servers {
        let untold: BTreeSet<MessageId> = told
            .iter()
            .filter(|(_, parts)| parts.iter().all(|(by, _)| by != server))
            .map(|(id, _)| *id)
            .collect();
        if untold.is_empty() {
            continue;
        }
        let ids = untold.into_iter().collect();
        let heard = ask(&api.courier, &[*server], &Inquiry::Messages { ids }).await?;
        silent |= !heard.silent.is_empty();
        for (server, finding) in heard.found {
            if let Finding::Messages(known) = finding {
                for known in known {
                    let parts = told.entry(known.id).or_default();
                    parts.extend(known.receipt.map(|receipt| (server, receipt)));
                }
            }
        }
    }
    Ok(silent)
}
