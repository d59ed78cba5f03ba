//! The one shape of an error over HTTP: RFC 9457 problem details with a code of the status registry.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::status::Status;

/// `application/problem+json`: `status` is the registry code (also the HTTP status), `title` its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Code of the status registry.
    #[schema(value_type = u16, example = 403)]
    pub status: Status,
    /// Name of the code.
    #[schema(example = "not-granted")]
    pub title: String,
    /// What was wrong with this request, for a person.
    pub detail: String,
    /// What was wrong with which line, where a text was sent; a hundred at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemLine>,
}

/// What was wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemLine {
    /// Counted from 1.
    #[schema(example = 7)]
    pub line: u64,
    pub detail: String,
}

impl Problem {
    /// The media type of the body.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    pub fn new(status: Status, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            title: status.name().to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }
}
