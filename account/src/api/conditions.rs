//! The conditions of a request: `If-Match`, `If-None-Match` (RFC 9110, 13.1), and the repeat that [`super::repeat`] has
//! recognised it as.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use crate::change::{Conditions, Tags};
use crate::repeat::Repeat;

/// What a request asks for beside its body.
pub(super) fn read(parts: &Parts) -> Conditions {
    Conditions {
        if_match: tags(&parts.headers, &header::IF_MATCH),
        if_none_match: tags(&parts.headers, &header::IF_NONE_MATCH),
        repeat: parts.extensions.get::<Repeat>().cloned(),
    }
}

/// Tags of all headers with this name. Ours hold no commas, so what a comma divides wrongly is no tag of ours.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Tags> {
    let mut listed = None;
    for value in headers.get_all(name) {
        let text = String::from_utf8_lossy(value.as_bytes());
        if text.trim() == "*" {
            return Some(Tags::Any);
        }
        let tags = text.split(',').map(|tag| tag.trim().to_owned());
        listed.get_or_insert_with(Vec::new).extend(tags);
    }
    listed.map(Tags::Listed)
}
