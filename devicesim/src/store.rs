//! Reads over HTTP what an application has stored: the truth the ledger is held against.
//!
//! ```text
//! GET /v1/apps/{app}/uploads?limit=1&order=desc            where the store ends before the run
//! GET /v1/apps/{app}/uploads?after=SEQ&limit=1000&order=asc   page after page, until one is empty
//! ```
//! Answers `{"uploads":[{"seq":1,"data":{"run":"..","n":0,..}},..],"next":..}`. Sequence numbers must rise from page
//! to page; a store whose numbers do not cannot be paged and is an error, not an empty store.

use std::path::PathBuf;
use std::time::Duration;

use irsp_protocol::api::Problem;
use irsp_protocol::{Id, Secret};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::ledger::Shelf;

/// Uploads asked for at once.
const PAGE: usize = 1000;
/// How long one page may take.
const PAGE_WAIT: Duration = Duration::from_secs(30);

/// Why the store could not be read.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("--http {url:?} is not http://host:port")]
    Url { url: String },
    #[error("cannot read the admin token {path}: {error}", path = path.display())]
    Token { path: PathBuf, error: std::io::Error },
    #[error("the HTTP client could not be made: {0}")]
    Client(reqwest::Error),
    #[error("the HTTP API did not answer: {0}")]
    Unreachable(reqwest::Error),
    #[error("the HTTP API answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the HTTP API's answer is not a page of uploads: {0}")]
    Body(reqwest::Error),
    #[error("the store's sequence numbers do not rise: {after}, then {seq}")]
    Order { after: u64, seq: u64 },
}

/// The uploads of one application.
#[derive(Debug)]
pub struct Store {
    client: Client,
    uploads: Url,
    token: Secret,
}

/// How far the store has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u64);

#[derive(Deserialize)]
struct Page {
    uploads: Vec<Upload>,
}

#[derive(Deserialize)]
struct Upload {
    seq: u64,
    /// Any bytes a device may send, so not always ours.
    #[serde(default)]
    data: Value,
}

impl Store {
    /// The store of `app` behind the API at `http`, read with the admin token in `token_file`.
    pub fn new(http: &str, app: &Id, token_file: &std::path::Path) -> Result<Store, StoreError> {
        let wrong = || StoreError::Url { url: http.to_owned() };
        let base = Url::parse(http).map_err(|_| wrong())?;
        if base.scheme() != "http" || !base.has_host() || base.query().is_some() {
            return Err(wrong());
        }
        let mut uploads = base;
        uploads
            .path_segments_mut()
            .map_err(|()| wrong())?
            .pop_if_empty()
            .extend(["v1", "apps", app.as_str(), "uploads"]);
        let token = std::fs::read_to_string(token_file).map_err(|error| StoreError::Token {
            path: token_file.to_owned(),
            error,
        })?;
        let client = Client::builder()
            .timeout(PAGE_WAIT)
            .build()
            .map_err(StoreError::Client)?;
        Ok(Store {
            client,
            uploads,
            token: Secret::new(token.trim()),
        })
    }

    /// Where the store ends now.
    pub async fn end(&self) -> Result<Position, StoreError> {
        let page = self
            .page(&[("limit", "1".to_owned()), ("order", "desc".to_owned())])
            .await?;
        Ok(Position(
            page.uploads.iter().map(|upload| upload.seq).max().unwrap_or(0),
        ))
    }

    /// Puts every upload of `run` behind `from` on the shelf; says where the store ends now.
    pub async fn read(&self, from: Position, run: &str, shelf: &mut Shelf) -> Result<Position, StoreError> {
        let Position(mut after) = from;
        loop {
            let page = self
                .page(&[
                    ("after", after.to_string()),
                    ("limit", PAGE.to_string()),
                    ("order", "asc".to_owned()),
                ])
                .await?;
            if page.uploads.is_empty() {
                return Ok(Position(after));
            }
            for upload in &page.uploads {
                if upload.seq <= after {
                    return Err(StoreError::Order {
                        after,
                        seq: upload.seq,
                    });
                }
                after = upload.seq;
                if let Some(n) = number(&upload.data, run) {
                    shelf.put(n);
                }
            }
        }
    }

    async fn page(&self, query: &[(&str, String)]) -> Result<Page, StoreError> {
        let answer = self
            .client
            .get(self.uploads.clone())
            .query(query)
            .bearer_auth(self.token.expose())
            .send()
            .await
            .map_err(StoreError::Unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(StoreError::Body);
        }
        let detail = match answer.json::<Problem>().await {
            Ok(problem) => problem.detail,
            Err(_) => "no further detail".to_owned(),
        };
        Err(StoreError::Refused { status, detail })
    }
}

/// The number of an upload of `run`; other uploads of the application are nobody's business here.
fn number(data: &Value, run: &str) -> Option<u64> {
    (data.get("run")?.as_str()? == run)
        .then(|| data.get("n")?.as_u64())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_runs_own_uploads_count() {
        assert_eq!(number(&json!({"run":"r1","n":7,"v":20.5}), "r1"), Some(7));
        for data in [
            json!({"run":"r2","n":7}),
            json!({"run":"r1","n":-7}),
            json!({"run":"r1"}),
            json!({"n":7}),
            json!("r1"),
            json!(null),
        ] {
            assert_eq!(number(&data, "r1"), None, "{data}");
        }
    }

    #[test]
    fn a_wrong_url_or_a_missing_token_is_said_at_once() {
        let app = Id::new("climate").unwrap();
        let here = std::path::Path::new("/nonexistent/admin.token");
        for url in [
            "https://127.0.0.1",
            "127.0.0.1:8080",
            "mqtt://x",
            "http://",
            "http://h/?a=b",
        ] {
            assert!(
                matches!(Store::new(url, &app, here), Err(StoreError::Url { .. })),
                "{url}"
            );
        }
        assert!(matches!(
            Store::new("http://127.0.0.1:8080", &app, here),
            Err(StoreError::Token { .. })
        ));
    }
}
