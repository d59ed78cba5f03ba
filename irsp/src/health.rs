//! `/healthz` says that the process lives. `/readyz` says whether it can serve: every store takes a write, the
//! directory is in force, and a role that runs apart is joined to the bus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use irsp_courier::Observed;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::attach::Attached;

/// How long a store may take for a write before it counts as one that cannot be written.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// How long a verdict is given again: asking often costs no more writes than this.
const VERDICT_AGE_MAX: Duration = Duration::from_secs(1);

/// Looks whether the roles of this process can serve.
pub(crate) struct Health {
    roles: Vec<Arc<dyn Observed>>,
    /// Of a role that runs apart; in one process the bus is always there.
    bus: Option<Attached>,
    last: Mutex<Option<(Instant, Verdict)>>,
}

/// What was found, by what was looked at: `"message.store": "ok"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Verdict {
    status: &'static str,
    checks: BTreeMap<String, &'static str>,
}

impl Health {
    pub(crate) fn new(roles: Vec<Arc<dyn Observed>>, bus: Option<Attached>) -> Health {
        Health {
            roles,
            bus,
            last: Mutex::default(),
        }
    }

    async fn verdict(&self) -> Verdict {
        // Held while looking: who asks meanwhile hears the same.
        let mut last = self.last.lock().await;
        if let Some((at, verdict)) = &*last
            && at.elapsed() < VERDICT_AGE_MAX
        {
            return verdict.clone();
        }
        let verdict = self.look().await;
        *last = Some((Instant::now(), verdict.clone()));
        verdict
    }

    async fn look(&self) -> Verdict {
        let mut checks = BTreeMap::new();
        for role in &self.roles {
            let server = role.courier().server();
            checks.insert(format!("{server}.store"), store(role.as_ref()).await);
            if let Some(change) = role.directory() {
                let directory = said(change > 0, "not here yet");
                checks.insert(format!("{server}.directory"), directory);
            }
        }
        if let Some(bus) = &self.bus {
            checks.insert("bus".to_owned(), said(bus.is_now(), "not attached"));
        }
        let ready = checks.values().all(|found| *found == OK);
        let status = if ready { READY } else { "not-ready" };
        Verdict { status, checks }
    }
}

const OK: &str = "ok";
const READY: &str = "ready";

fn said(fine: bool, otherwise: &'static str) -> &'static str {
    if fine { OK } else { otherwise }
}

/// What ails the store is for the log: a stranger only learns that it does.
async fn store(role: &dyn Observed) -> &'static str {
    let server = role.courier().server();
    match timeout(WRITE_WAIT, role.courier().probe()).await {
        Ok(Ok(())) => OK,
        Ok(Err(error)) => {
            tracing::warn!(%server, %error, "not ready: the store cannot be written");
            "cannot be written"
        }
        Err(_) => {
            tracing::warn!(%server, wait = ?WRITE_WAIT, "not ready: the store does not answer");
            "does not answer"
        }
    }
}

/// `/healthz` and `/readyz`.
pub(crate) fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(lives))
        .route("/readyz", get(ready))
        .with_state(health)
}

fn lives() -> std::future::Ready<Json<Value>> {
    std::future::ready(Json(json!({ "status": "ok" })))
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, Json<Verdict>) {
    let verdict = health.verdict().await;
    let code = if verdict.status == READY {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(verdict))
}
