//! The HTTP API of the application server (`/v1`). Every refusal is a problem document; see [`refusal`].

mod app_message;
mod caller;
mod dead_letters;
mod endpoint;
mod export;
mod external;
mod input;
mod ledger;
mod message_list;
mod message_tail;
mod messages;
mod note;
mod presence;
mod push;
pub(crate) mod refusal;
mod sending;
pub(crate) mod state;
mod stream;
mod told;
mod uploads;
mod websocket;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use irsp_protocol::Status;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::refusal::Refusal;
use self::state::Api;

/// Entries of a page, if the request does not say.
const PAGE_DEFAULT: u16 = 100;
/// Most entries of a page.
const PAGE_MAX: u16 = 1000;
/// Room in a body beside its payload.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(info(
    title = "IRSP application server",
    description = "Uploads, messages, pushes, presence and receipts (clauses 7.3, 8.3, 8.4); external applications, both ways (7.4, 8.8); the operator's ledger and dead letters. Errors are problem documents whose \
                   status is a code of the status registry."
))]
struct Description;

/// The routes.
pub(crate) fn routes(api: Api) -> Router {
    // JSON may write a byte in up to six characters.
    let body_bytes_max = api
        .push
        .data_bytes_max
        .saturating_mul(6)
        .saturating_add(HEAD_BYTES_MAX);
    let request_bytes_max = api.external.settings.request_bytes_max;
    let (router, _) = described(body_bytes_max, request_bytes_max).split_for_parts();
    router
        .method_not_allowed_fallback(refusal::no_method)
        .with_state(api)
}

/// The description of the API, made from its handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described(usize::MAX, usize::MAX).into_openapi()
}

fn described(body_bytes_max: usize, request_bytes_max: usize) -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(uploads::list_uploads))
        .routes(routes!(uploads::stream_uploads))
        .routes(routes!(uploads::list_latest))
        .routes(routes!(export::export_uploads))
        .routes(routes!(presence::list_presence))
        .routes(routes!(presence::stream_presence))
        .routes(routes!(presence::show_presence))
        .routes(routes!(push::push))
        .routes(routes!(app_message::send_message))
        .routes(routes!(message_list::list_messages))
        .routes(routes!(message_tail::stream_messages))
        .routes(routes!(messages::show_message))
        .routes(routes!(ledger::show_ledger))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(
            dead_letters::show_dead_letter,
            dead_letters::discard_dead_letter
        ))
        .routes(routes!(dead_letters::retry_dead_letter))
        .routes(routes!(
            endpoint::put_endpoint,
            endpoint::post_endpoint,
            endpoint::show_endpoint,
            endpoint::delete_endpoint
        ))
        .routes(routes!(endpoint::confirm_endpoint))
        .routes(routes!(endpoint::test_endpoint))
        .routes(routes!(endpoint::pause_endpoint))
        .routes(routes!(endpoint::resume_endpoint))
        .routes(routes!(endpoint::rotate_secret))
        .routes(routes!(endpoint::replay_dead_letters))
        .routes(routes!(endpoint::list_deliveries))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(external::from_external))
                .layer(DefaultBodyLimit::max(request_bytes_max)),
        )
}

/// The size of page that is asked for.
fn page_limit(limit: Option<u16>) -> Result<usize, Refusal> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(limit.into()),
        limit => Err(Refusal::new(
            Status::MALFORMED,
            format!("limit is 1 to {PAGE_MAX}, not {limit}"),
        )),
    }
}
