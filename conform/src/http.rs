//! The HTTP API as one caller sees it. Every status is an answer; only silence is trouble.

use std::time::Duration;

use irsp_protocol::Secret;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, Url};
use serde_json::Value;

use crate::trouble::{CannotStart, Trouble, unlike};

/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(90);
/// How long a stream may be silent: it says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What the application server answers where the roles run apart; everything else is the account server's.
const OF_APPSERVER: [&str; 10] = [
    "/v1/push",
    "/v1/presence",
    "/v1/message",
    "/v1/ledger",
    "/v1/dead-letters",
    "/v1/ext",
    "/endpoint",
    "/uploads",
    "/latest",
    "/readings",
];

/// What a request was answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// JSON; null where the body is none.
    pub body: Value,
    pub headers: HeaderMap,
    what: String,
}

/// Two HTTP doors, often the same, and one credential.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    account: Url,
    app: Url,
    credential: Option<Secret>,
}

impl Api {
    /// `app` is the application server's HTTP, where it is not the account server's.
    pub fn new(account: &str, app: Option<&str>, credential: Secret) -> Result<Api, CannotStart> {
        let url = |text: &str| match Url::parse(text) {
            Ok(url) if url.scheme() == "http" && url.has_host() && url.query().is_none() => Ok(url),
            Ok(_) | Err(_) => Err(CannotStart::Url(text.to_owned())),
        };
        let client = Client::builder().no_proxy().read_timeout(SILENCE_MAX).build();
        let account = url(account)?;
        Ok(Api {
            client: client.map_err(CannotStart::Http)?,
            app: app.map_or_else(|| Ok(account.clone()), url)?,
            account,
            credential: Some(credential),
        })
    }

    /// The same API, called by somebody else.
    pub fn with(&self, credential: &Secret) -> Api {
        Api {
            credential: Some(credential.clone()),
            ..self.clone()
        }
    }

    /// The same API, called by nobody.
    pub fn anybody(&self) -> Api {
        Api {
            credential: None,
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.call(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer, Trouble> {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Result<Answer, Trouble> {
        self.call(Method::PATCH, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, Trouble> {
        self.call(Method::DELETE, path, None, &[]).await
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Trouble> {
        let what = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let mut request = self.request(method, path).timeout(ANSWER_WAIT);
        if let Some(body) = body {
            // Bytes, so that whoever signs knows what is sent.
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let unreachable = |error: reqwest::Error| Trouble::Unreachable {
            what: what.clone(),
            reason: error.to_string(),
        };
        let response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.map_err(unreachable)?;
        Ok(Answer {
            status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            headers,
            what,
        })
    }

    /// A response whose body is still to come.
    pub async fn open(&self, path: &str) -> Result<Response, Trouble> {
        let response = self.request(Method::GET, path).send().await;
        response.map_err(|error| Trouble::Unreachable {
            what: format!("GET {path}"),
            reason: error.to_string(),
        })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let base = if OF_APPSERVER.iter().any(|part| path.contains(part)) {
            &self.app
        } else {
            &self.account
        };
        let url = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let request = self.client.request(method, url);
        match &self.credential {
            Some(credential) => request.bearer_auth(credential.expose()),
            None => request,
        }
    }
}

impl Answer {
    /// The status is one of these.
    pub fn is(self, expected: &[u16]) -> Result<Answer, Trouble> {
        if expected.contains(&self.status) {
            Ok(self)
        } else {
            Err(self.not(&format!("{expected:?}")))
        }
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> Result<&str, Trouble> {
        self.body[field]
            .as_str()
            .ok_or_else(|| self.not(&format!("a text {field:?}")))
    }

    /// A list of the body.
    pub fn list(&self, field: &str) -> Result<&[Value], Trouble> {
        let list = self.body[field].as_array();
        list.map(Vec::as_slice)
            .ok_or_else(|| self.not(&format!("a list {field:?}")))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn not(&self, expected: &str) -> Trouble {
        let found = format!("{} {}", self.status, self.body);
        unlike(&self.what, expected, &found)
    }
}
