//! How a refusal looks over HTTP: problem details (RFC 9457) with a code of the status registry.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use irsp_protocol::Status;
use irsp_protocol::api::{Problem, ProblemLine};
use tracing::error;

use crate::refusal::Refusal;
use crate::transfer::LineError;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        if status == Status::FAILED {
            error!(error = %self, "a request failed");
        }
        let http = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut told = Problem::new(status, self.detail());
        if let Refusal::Lines { lines, .. } = &self {
            let line = |wrong: &LineError| ProblemLine {
                line: wrong.line,
                detail: wrong.detail.clone(),
            };
            told.errors = lines.iter().map(line).collect();
        }
        let mut response = problem(http, &told);
        if let Some((name, value)) = header_of(&self) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A path that this server does not know.
pub(super) async fn no_path() -> Refusal {
    std::future::ready(Refusal::NoPath).await
}

/// A path with another method. HTTP has a code of its own for it (RFC 9110, 405 with `Allow`); in the registry it is a
/// request that cannot be understood.
pub(super) async fn no_method() -> Response {
    let detail = "the path has other methods than this one; see `Allow`".to_owned();
    let told = Problem::new(Status::MALFORMED, detail);
    std::future::ready(problem(StatusCode::METHOD_NOT_ALLOWED, &told)).await
}

fn header_of(refusal: &Refusal) -> Option<(HeaderName, HeaderValue)> {
    if let Refusal::TooManyAttempts(wait) = refusal {
        let seconds = (*wait + Duration::from_millis(999)).as_secs().max(1);
        return Some((header::RETRY_AFTER, seconds.into()));
    }
    (refusal.status() == Status::UNAUTHENTICATED).then(|| {
        (
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer, Basic realm=\"irsp\""),
        )
    })
}

fn problem(http: StatusCode, told: &Problem) -> Response {
    let media_type = (
        header::CONTENT_TYPE,
        HeaderValue::from_static(Problem::MEDIA_TYPE),
    );
    match serde_json::to_vec(told) {
        Ok(body) => (http, [media_type], body).into_response(),
        Err(error) => {
            error!(%error, "a problem cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
