//! Under which conditions an order is carried out, on the command line: `If-Match` and `Idempotency-Key` of the API.

use clap::Args;
use reqwest::{Method, RequestBuilder};
use rustls::crypto::ring::default_provider;

use crate::client::ClientError;

#[derive(Debug, Args)]
pub(crate) struct Conditions {
    /// Only if what is changed has this `version` still (its ETag); else refused with 412.
    #[arg(long, value_name = "ETAG", global = true)]
    if_match: Option<String>,
    /// For what is made: the same again under the same key is answered and not done again. One is made up unless given.
    #[arg(long, value_name = "KEY", global = true)]
    idempotency_key: Option<String>,
}

impl Conditions {
    /// Refuses conditions of what changes nothing.
    pub(super) fn must_be_none(&self) -> Result<(), ClientError> {
        match (&self.if_match, &self.idempotency_key) {
            (None, None) => Ok(()),
            (Some(_), _) => Err(ClientError::NoCondition("--if-match")),
            (None, Some(_)) => Err(ClientError::NoCondition("--idempotency-key")),
        }
    }

    /// The key of an order that makes something.
    pub(super) fn key(&self, method: &Method) -> Result<Option<String>, ClientError> {
        match (&self.idempotency_key, *method == Method::POST) {
            (Some(key), true) => Ok(Some(key.clone())),
            (None, true) => made_up().map(Some),
            (Some(_), false) => Err(ClientError::NoCondition("--idempotency-key")),
            (None, false) => Ok(None),
        }
    }

    /// The request with the version it is meant for.
    pub(super) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.if_match {
            Some(version) => request.header(reqwest::header::IF_MATCH, tag(version)),
            None => request,
        }
    }
}

/// A version as an entity tag; what is one already, or any (`*`), is itself.
fn tag(version: &str) -> String {
    match version.starts_with(['"', '*', 'W']) {
        true => version.to_owned(),
        false => format!("\"{version}\""),
    }
}

fn made_up() -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| ClientError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_version_is_a_tag_too() {
        for (given, sent) in [
            ("7", "\"7\""),
            ("\"7\"", "\"7\""),
            ("*", "*"),
            ("W/\"7\"", "W/\"7\""),
        ] {
            assert_eq!(tag(given), sent);
        }
    }

    #[test]
    fn a_key_is_given_or_made_up_for_what_makes_something_and_for_nothing_else() {
        let none = Conditions {
            if_match: None,
            idempotency_key: None,
        };
        let (one, other) = (none.key(&Method::POST).unwrap(), none.key(&Method::POST).unwrap());
        assert_eq!(one.as_ref().map(String::len), Some(32));
        assert_ne!(one, other);
        assert_eq!(none.key(&Method::PATCH).unwrap(), None);
        let given = Conditions {
            if_match: None,
            idempotency_key: Some("k".to_owned()),
        };
        assert_eq!(given.key(&Method::POST).unwrap().as_deref(), Some("k"));
        assert!(given.key(&Method::DELETE).is_err());
        assert!(given.must_be_none().is_err());
        assert!(none.must_be_none().is_ok());
    }
}
