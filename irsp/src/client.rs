//! The HTTP API of a running platform, as the commands of an operator reach it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use irsp_config::Settings;
use irsp_protocol::api::Problem;
use irsp_protocol::{Secret, Status};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use crate::access::Access;
use crate::cause::chain;

/// How long an answer may take: the servers of the domain are asked meanwhile.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Pauses before what is sent under a key is sent again, when the connection fails.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1_500)];
/// How long a stream may be silent: it says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Why an operator's command fails.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("{}: {reason}: give --data of the account server, or --token-file", path.display())]
    TokenFile { path: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("--url {url}: cannot be reached ({reason}): start irsp or give another --url")]
    Unreachable {
        url: String,
        reason: String,
        /// The request may have been read.
        sent: bool,
    },
    #[error(
        "{url} has not answered ({reason}), so whether it was done is not known: the same with --idempotency-key {key} does it once"
    )]
    Unanswered {
        url: String,
        reason: String,
        key: String,
    },
    #[error("{0}: this order takes none")]
    NoCondition(&'static str),
    #[error("the system gives no randomness: give --idempotency-key")]
    NoRandomness,
    #[error("the token is not taken by {url}: give --data or --token-file of that platform")]
    Token { url: String },
    #[error("{url} refused: {status} {detail}")]
    Refused {
        url: String,
        status: u16,
        detail: String,
        /// As it was answered.
        problem: Option<Box<Problem>>,
    },
    #[error("{url} answered what this irsp does not understand ({reason}): use the same version of both")]
    Answer { url: String, reason: String },
    #[error("the ledger does not add up: residue {0}: keep the data directory and say so to the developers")]
    Residue(i64),
    #[error("the {0} server does not answer, so its ledger is not known: start it and ask again")]
    LedgerUnknown(String),
    #[error("a server does not answer, so its dead letters are not known: start it and ask again")]
    LettersUnknown,
    #[error("a server does not answer, so messages may be missing: start it and ask again")]
    MessagesUnknown,
    #[error("{url} has ended the stream ({reason}): call irsp tail again")]
    StreamEnded { url: String, reason: String },
    #[error("what was found cannot be shown: {0}")]
    Show(#[from] serde_json::Error),
}

/// One platform and one caller.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    /// `None` for calls that bring their credentials in the body.
    token: Option<Secret>,
}

impl Client {
    /// With the token of `--token-file`, else the admin token of the data directory.
    pub(crate) fn new(settings: &Settings, access: &Access) -> Result<Client, ClientError> {
        let file = access.token_file.clone();
        let token = read_token(&file.unwrap_or_else(|| settings.files().admin_token()))?;
        Client::with(access, Some(token))
    }

    /// Without a token.
    pub(crate) fn anybody(access: &Access) -> Result<Client, ClientError> {
        Client::with(access, None)
    }

    fn with(access: &Access, token: Option<Secret>) -> Result<Client, ClientError> {
        let url = access.url.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().read_timeout(SILENCE_MAX).no_proxy();
        let http = http.build().map_err(|error| ClientError::Unreachable {
            url: url.clone(),
            reason: chain(&error),
            sent: false,
        })?;
        Ok(Client { http, url, token })
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// The same with words to narrow it.
    pub(crate) async fn list<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<A, ClientError> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.answer(self.request(Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.answer(self.request(Method::DELETE, path)).await
    }

    /// A deletion that is answered with nothing.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, path);
        self.send(request.timeout(ANSWER_WAIT)).await.map(|_| ())
    }

    /// Any call, with or without a JSON body.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let request = self.request(method, path);
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub(crate) async fn get_query<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<A, ClientError> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    /// Sends what makes something under a key, so that it is done once however often it is sent: again when the connection
    /// fails.
    pub(crate) async fn once(&self, request: RequestBuilder, key: &str) -> Result<Value, ClientError> {
        let request = request.header(IDEMPOTENCY_KEY, key);
        let mut unanswered = false;
        for pause in PAUSES {
            let Some(first) = request.try_clone() else { break };
            match self.sent(first).await {
                Err(ClientError::Unreachable { sent, .. }) => unanswered |= sent,
                known => return known,
            }
            tokio::time::sleep(pause).await;
        }
        match self.sent(request).await {
            Err(ClientError::Unreachable { url, reason, sent }) if sent || unanswered => {
                let key = key.to_owned();
                Err(ClientError::Unanswered { url, reason, key })
            }
            known => known,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        self.read(self.send(request).await?).await
    }

    /// A response whose body is still to come.
    pub(crate) async fn open(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, ClientError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            url: self.url.clone(),
            reason: chain(error),
            sent: !error.is_connect(),
        }
    }

    pub(crate) fn not_understood(&self, reason: impl ToString) -> ClientError {
        ClientError::Answer {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn stream_ended(&self, reason: String) -> ClientError {
        ClientError::StreamEnded {
            url: self.url.clone(),
            reason,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    pub(crate) async fn answer<A: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<A, ClientError> {
        self.read(self.send(request.timeout(ANSWER_WAIT)).await?).await
    }

    async fn read<A: DeserializeOwned>(&self, response: Response) -> Result<A, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_understood(error))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = self.url.clone();
        if status == StatusCode::UNAUTHORIZED && self.token.is_some() {
            return Err(ClientError::Token { url });
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let problem = serde_json::from_slice::<Problem>(&bytes).ok();
        let detail = match &problem {
            Some(problem) => in_words(problem),
            None => status.canonical_reason().unwrap_or("without a reason").to_owned(),
        };
        Err(ClientError::Refused {
            url,
            status: status.as_u16(),
            detail,
            problem: problem.map(Box::new),
        })
    }
}

impl ClientError {
    /// A refusal as the API gave it; `None` for what is no word of the API.
    pub(crate) fn problem(&self) -> Option<Value> {
        let of = |status: u16, title: &str| {
            Some(json!({ "status": status, "title": title, "detail": self.to_string() }))
        };
        if let ClientError::Refused { problem, status, .. } = self {
            return match problem {
                Some(problem) => serde_json::to_value(problem).ok(),
                None => of(*status, "refused"),
            };
        }
        let unknown = matches!(self, ClientError::Token { .. }).then_some(Status::UNAUTHENTICATED)?;
        of(unknown.code(), unknown.name())
    }
}

/// The detail, and what is wrong with each line of a text.
fn in_words(problem: &Problem) -> String {
    match problem.errors.as_slice() {
        [] | [_] => problem.detail.clone(),
        lines => {
            let each = lines
                .iter()
                .map(|wrong| format!("\nline {}: {}", wrong.line, wrong.detail));
            format!("nothing was imported:{}", each.collect::<String>())
        }
    }
}

/// The token in a file, without the blanks around it.
pub(crate) fn read_token(path: &Path) -> Result<Secret, ClientError> {
    let refused = |reason: String| ClientError::TokenFile {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("holds no token".to_owned())),
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A client of what listens there.
    fn at(listener: &TcpListener) -> Client {
        let access = Access {
            url: format!("http://{}", listener.local_addr().unwrap()),
            token_file: None,
            json: true,
        };
        Client::anybody(&access).unwrap()
    }

    /// Reads a request up to its empty line.
    async fn head(connection: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(connection.read_u8().await.unwrap());
        }
        String::from_utf8(text).unwrap().to_ascii_lowercase()
    }

    #[tokio::test]
    async fn what_is_sent_under_a_key_is_sent_again_when_the_connection_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let platform = async {
            let (mut first, _) = listener.accept().await.unwrap();
            let lost = head(&mut first).await;
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            let repeated = head(&mut second).await;
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 12\r\n\r\n{\"id\":\"ann\"}";
            second.write_all(answer).await.unwrap();
            (lost, repeated)
        };
        let client = at(&listener);
        let request = client.request(Method::POST, "/v1/users");
        let (made, (lost, repeated)) = tokio::join!(client.once(request, "k-1"), platform);
        assert_eq!(made.unwrap(), json!({"id": "ann"}));
        for head in [lost, repeated] {
            assert!(head.contains("idempotency-key: k-1\r\n"), "{head}");
        }
    }

    #[tokio::test]
    async fn who_is_not_answered_hears_under_which_key_to_ask_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let platform = async {
            for _ in 0..=PAUSES.len() {
                let (mut connection, _) = listener.accept().await.unwrap();
                head(&mut connection).await;
            }
        };
        let client = at(&listener);
        let request = client.request(Method::POST, "/v1/users");
        let (unanswered, ()) = tokio::join!(client.once(request, "k-1"), platform);
        let said = unanswered.unwrap_err().to_string();
        assert!(said.contains("--idempotency-key k-1"), "{said}");
    }
}
