//! Every "no" over HTTP: problem details with a code of the status registry (RFC 9457).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use irsp_courier::store::StoreError;
use irsp_protocol::api::Problem;
use irsp_protocol::api::external::ItemReply;
use irsp_protocol::{MessageId, Status};
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Described, ResponseBuilder};

/// A request that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: Status,
    detail: String,
    /// The message that was refused after it had been accepted: it has a receipt.
    message: Option<MessageId>,
    /// How long whoever is over a rate has to wait.
    retry_after: Option<Duration>,
}

/// How the description names what a request about one application, user or device may be refused with.
pub(crate) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let statuses = [
            Status::MALFORMED,
            Status::UNAUTHENTICATED,
            Status::FORBIDDEN,
            Status::NOT_FOUND,
        ];
        let described = statuses.map(|status| {
            let problem = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build();
            let response = ResponseBuilder::new()
                .description(status.name())
                .content(Problem::MEDIA_TYPE, problem);
            (status.code().to_string(), RefOr::T(response.build()))
        });
        described.into()
    }
}

impl Refusal {
    pub(crate) fn new(status: Status, detail: impl Into<String>) -> Refusal {
        Refusal {
            status,
            detail: detail.into(),
            message: None,
            retry_after: None,
        }
    }

    /// 429, with the time after which the same request is welcome.
    pub(crate) fn over_rate(wait: Duration, detail: impl Into<String>) -> Refusal {
        Refusal {
            retry_after: Some(wait),
            ..Refusal::new(Status::OVER_QUOTA, detail)
        }
    }

    pub(crate) fn of_message(status: Status, id: MessageId, detail: impl Into<String>) -> Refusal {
        Refusal {
            message: Some(id),
            ..Refusal::new(status, detail)
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The message that has a receipt all the same.
    pub(crate) fn message(&self) -> Option<MessageId> {
        self.message
    }

    /// As it stands beside others in one answer.
    pub(super) fn into_item(self, id: Option<String>) -> ItemReply {
        ItemReply {
            id,
            status: self.status,
            name: self.status.name().to_owned(),
            message: self.message,
            detail: Some(self.detail),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let status = error.status();
        // Only a refusal is meant for the caller; what ails the store is for the log.
        if let StoreError::Refused { detail, .. } = error {
            return Refusal::new(status, detail);
        }
        tracing::warn!(%error, "a request fails at the store");
        Refusal::new(status, "the store cannot do this just now")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = Problem::new(self.status, self.detail);
        let code = StatusCode::from_u16(self.status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(Problem::MEDIA_TYPE),
        );
        let further: Option<(HeaderName, HeaderValue)> = match (self.message, self.status) {
            (Some(id), _) => location(id).map(|at| (header::LOCATION, at)),
            (None, Status::UNAUTHENTICATED) => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"irsp\", Basic realm=\"irsp\""),
            )),
            (None, Status::UNAVAILABLE | Status::QUEUE_FULL) => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
            (None, _) => self.retry_after.map(|wait| {
                // Whole seconds, none of them too early.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (header::RETRY_AFTER, HeaderValue::from(seconds))
            }),
        };
        headers.extend(further);
        response
    }
}

/// A path with another method. HTTP has a code of its own for it (RFC 9110, 405 with `Allow`); in the registry it is a
/// request that cannot be understood.
pub(super) async fn no_method() -> Response {
    let refusal = Refusal::new(
        Status::MALFORMED,
        "the path has other methods than this one; see `Allow`",
    );
    let mut response = std::future::ready(refusal.into_response()).await;
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// Where the receipt of a message is.
pub(super) fn location(id: MessageId) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("/v1/messages/{id}")).ok()
}
