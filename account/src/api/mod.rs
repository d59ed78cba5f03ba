//! The HTTP API of the account server (clause 7.1). The OpenAPI description is made from the handlers.

mod answer;
mod applications;
mod audit;
mod bindings;
mod body;
mod bulk;
mod caller;
mod codes;
mod conditions;
mod deletions;
mod devices;
mod doc;
mod export;
mod grants;
mod import;
mod login;
mod logins;
mod me;
mod operations;
mod page;
mod peers;
mod problem;
mod repeat;
mod reset;
mod seen;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::Account;

/// Longest body that is read: 20,000 ids of 64 characters, with room.
const BODY_LEN_MAX: usize = 2 << 20;
/// Longest text of an import: 50,000 devices with some attributes each.
const IMPORT_LEN_MAX: usize = 32 << 20;
/// Where imports are.
const IMPORT: &str = "/v1/import/";

pub(crate) fn router(account: Arc<Account>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(problem::no_path)
        .method_not_allowed_fallback(problem::no_method)
        .layer(from_fn_with_state(account.clone(), repeat::recognise))
        .layer(map_response(not_cached))
        .with_state(account)
}

/// The description of the API, made from its handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

fn described() -> OpenApiRouter<Arc<Account>> {
    OpenApiRouter::with_openapi(doc::Doc::openapi())
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(logins::logout))
        .routes(routes!(logins::list, logins::end_all))
        .routes(routes!(logins::end))
        .routes(routes!(reset::create))
        .routes(routes!(reset::redeem))
        .routes(routes!(me::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::modify, users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(bulk::create_many))
        .routes(routes!(devices::show, devices::modify, devices::delete))
        .routes(routes!(devices::reset))
        .routes(routes!(codes::list, codes::create))
        .routes(routes!(codes::revoke))
        .routes(routes!(applications::list, applications::create))
        .routes(routes!(
            applications::show,
            applications::modify,
            applications::delete
        ))
        .routes(routes!(applications::rotate))
        .routes(routes!(bindings::list, bindings::create))
        .routes(routes!(bindings::delete))
        .routes(routes!(bindings::show, bindings::share, bindings::withdraw))
        .routes(routes!(bindings::transfer))
        .routes(routes!(peers::list, peers::create))
        .routes(routes!(peers::show, peers::modify, peers::delete))
        .routes(routes!(grants::list, grants::create, grants::delete))
        .routes(routes!(grants::received))
        .routes(routes!(deletions::list))
        .routes(routes!(operations::show))
        .routes(routes!(audit::list))
        .routes(routes!(export::export))
        .routes(routes!(import::import))
}

/// Answers may hold secrets, and are true only now.
async fn not_cached(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
