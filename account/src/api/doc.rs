//! What the handlers cannot say themselves in the OpenAPI description: credentials, and how every "no" looks.

use std::collections::BTreeMap;

use irsp_protocol::api::{Problem, ProblemLine};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "IRSP account server",
        description = "Users, devices, applications and bindings of a domain (ISO/IEC 14543-5-9 clauses 7.1 and 8.2, our own profile)."
    ),
    components(schemas(Problem, ProblemLine)),
    modifiers(&Schemes),
    security(("token" = []), ("key" = []))
)]
pub(super) struct Doc;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        let scheme = |scheme| SecurityScheme::Http(Http::new(scheme));
        components.add_security_scheme("token", scheme(HttpAuthScheme::Bearer));
        components.add_security_scheme("key", scheme(HttpAuthScheme::Basic));
    }
}

/// Every refusal and failure is a problem (RFC 9457).
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = |description: &str| {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build();
            let response = ResponseBuilder::new()
                .description(description)
                .content(Problem::MEDIA_TYPE, content)
                .build();
            RefOr::T(response)
        };
        BTreeMap::from([
            (
                "4XX".to_owned(),
                problem("Refused; `status` is the code of the registry."),
            ),
            ("5XX".to_owned(), problem("The account server cannot do it now.")),
        ])
    }
}
