//! HTTP to third parties: one request, one answer within a deadline.
//!
//! Every connection is made here: the name is resolved, its addresses are checked by [`AddressRules`], and the connection
//! goes to one of those, so no later answer of the name server can lead it elsewhere. No proxy of the environment is
//! used, no redirect is followed, and no more of an answer is read than [`Limits::answer_bytes_max`].

mod connect;

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;

use self::connect::Connector;
use super::target::{AddressRules, Target};

/// How long a connection without a request is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("no answer within {:.1} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("{0}")]
    Http(String),
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
}

/// What an endpoint answered.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) code: u16,
    pub(crate) retry_after: Option<String>,
    /// No more than the limit; the rest was not read.
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Authorities beside the system's, as PEM.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) answer_bytes_max: usize,
    /// Connections to one host that are kept while they have nothing to do.
    pub(crate) idle_connections: usize,
}

/// Sends requests. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    answer_bytes_max: usize,
}

impl Client {
    pub(crate) fn new(rules: AddressRules, limits: &Limits) -> Client {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(limits.idle_connections)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(Connector::new(rules, limits.ca.clone()));
        Client {
            http,
            answer_bytes_max: limits.answer_bytes_max,
        }
    }

    /// Posts `body`; gives the answer and how long it took.
    pub(crate) async fn post(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> (Result<HttpAnswer, ClientError>, Duration) {
        let begin = Instant::now();
        let exchange = self.exchange(target, headers, body);
        let result = match tokio::time::timeout(within, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut(within)),
        };
        (result, begin.elapsed())
    }

    async fn exchange(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, ClientError> {
        let mut request = Request::post(target.uri().clone())
            .body(Full::new(body))
            .map_err(|error| ClientError::Http(error.to_string()))?;
        *request.headers_mut() = headers;
        let answer = (self.http.request(request).await).map_err(|error| ClientError::Http(chain(&error)))?;
        let (head, mut rest) = answer.into_parts();
        let header = head.headers.get(axum::http::header::RETRY_AFTER);
        let mut body = BytesMut::new();
        while let Some(frame) = rest.frame().await {
            let frame = frame.map_err(|error| ClientError::BrokenOff(error.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let room = self.answer_bytes_max.saturating_sub(body.len());
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                // The rest is left unread, and the connection ends with it.
                break;
            }
        }
        Ok(HttpAnswer {
            code: head.status.as_u16(),
            retry_after: header.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: body.freeze(),
        })
    }
}

/// An error with its causes, the outermost first, each said once.
fn chain(error: &legacy::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // An IO error around one of ours says the same twice.
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        source = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    parts.dedup();
    parts.join(": ")
}
