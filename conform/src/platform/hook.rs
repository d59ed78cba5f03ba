//! A third party's HTTP service for clause 8.8.2: answers challenges, keeps what comes, answers as it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::trouble::CannotStart;

use super::HookAt;

pub(crate) struct Hook {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    /// Ends with the hook.
    _serving: JoinSet<()>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct Shared {
    events: Vec<Event>,
    /// Codes for the next requests; 200 when there are none.
    answers: Vec<u16>,
}

impl Event {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }
}

impl Hook {
    pub(crate) async fn start(at: &HookAt) -> Result<Hook, CannotStart> {
        let listener = TcpListener::bind(at.listen)
            .await
            .map_err(|source| CannotStart::Listen {
                what: "--hook-listen",
                address: at.listen,
                source,
            })?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let router = Router::new().fallback(post(take)).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // A service that ends early is seen by the check that waits for its events.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Hook {
            url: at.url.clone(),
            shared,
            _serving: serving,
        })
    }

    /// What has come for this endpoint's path.
    pub(crate) fn events(&self, source: &str) -> Vec<Event> {
        let shared = lock(&self.shared);
        let of = shared
            .events
            .iter()
            .filter(|event| event.header("ce-source").starts_with(source));
        of.cloned().collect()
    }

    /// The next requests are answered with these codes.
    pub(crate) fn answer(&self, codes: &[u16]) {
        lock(&self.shared).answers = codes.to_vec();
    }
}

async fn take(State(shared): State<Arc<Mutex<Shared>>>, headers: HeaderMap, body: Bytes) -> Response {
    let event = Event { headers, body };
    if event.header("ce-type") == "irsp.challenge" {
        let challenge: Value = serde_json::from_slice(&event.body).unwrap_or(Value::Null);
        return challenge["challenge"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            .into_response();
    }
    let mut shared = lock(&shared);
    shared.events.push(event);
    let code = if shared.answers.is_empty() {
        200
    } else {
        shared.answers.remove(0)
    };
    StatusCode::from_u16(code)
        .unwrap_or(StatusCode::OK)
        .into_response()
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
