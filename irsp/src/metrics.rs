//! `/metrics`: what the roles of this process count, in the OpenMetrics text format.
//!
//! On the listener of the API it answers callers on this machine only, and none that a proxy speaks for: the figures
//! name nobody, but they tell a stranger how much goes on here. On a listener of its own (`metrics.listen`) it answers
//! whoever reaches it.

mod process;
mod requests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use irsp_courier::{Couriers, Observed};
use irsp_protocol::Status;
use irsp_protocol::api::Problem;
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::process::Process;
pub(crate) use self::requests::{Requests, count};
use crate::attach::Attached;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a store may take to show its ledger; after it the last one is shown again.
const LEDGER_WAIT: Duration = Duration::from_secs(2);
/// What a proxy adds when it speaks for somebody.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// The instruments of a process.
pub(crate) struct Metrics {
    roles: Vec<Arc<dyn Observed>>,
    /// The copies of the directory, and how far each has followed.
    directories: Vec<(Arc<dyn Observed>, Gauge)>,
    bus: Option<(Attached, Gauge)>,
    requests: Requests,
    /// Locked from the reading of the figures to the end of the text, so that they belong together.
    registry: Mutex<Registry>,
}

impl Metrics {
    pub(crate) fn new(roles: Vec<Arc<dyn Observed>>, bus: Option<Attached>) -> Metrics {
        let mut registry = Registry::default();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("irsp_build", "The irsp that runs", version);
        let couriers: Couriers = roles
            .iter()
            .map(|role| (role.courier().server(), role.courier().metrics()))
            .collect();
        registry.register_collector(Box::new(couriers));
        let bus = bus.map(|attached| {
            let gauge = Gauge::default();
            let help = "1 while a role that runs apart is joined to the bus.";
            registry.register("irsp_bus_attached", help, gauge.clone());
            (attached, gauge)
        });
        let changes: Family<[(&'static str, &'static str); 1], Gauge> = Family::default();
        let directories = roles
            .iter()
            .filter(|role| role.directory().is_some())
            .map(|role| {
                let server = role.courier().server().as_str();
                (
                    Arc::clone(role),
                    changes.get_or_create_owned(&[("server", server)]),
                )
            })
            .collect();
        let help = "Number of the last account change in force at this server.";
        registry.register("irsp_directory_change", help, changes);
        let requests = Requests::default();
        requests.register(&mut registry);
        registry.register_collector(Box::new(Process));
        Metrics {
            roles,
            directories,
            bus,
            requests,
            registry: Mutex::new(registry),
        }
    }

    /// Counts the requests of a listener.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    async fn text(&self) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().await;
        for role in &self.roles {
            role.refresh();
            let server = role.courier().server();
            match timeout(LEDGER_WAIT, role.courier().observe()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%server, %error, "the ledger cannot be read for /metrics"),
                Err(_) => tracing::warn!(%server, wait = ?LEDGER_WAIT, "the ledger is slow for /metrics"),
            }
        }
        for (role, change) in &self.directories {
            change.set(role.directory().map_or(0, u64::cast_signed));
        }
        if let Some((attached, gauge)) = &self.bus {
            gauge.set(i64::from(attached.is_now()));
        }
        let mut written = String::new();
        for role in &self.roles {
            text::encode_registry(&mut written, role.instruments())?;
        }
        text::encode_registry(&mut written, &registry)?;
        text::encode_eof(&mut written)?;
        Ok(written)
    }
}

/// `/metrics` for whoever reaches the listener.
pub(crate) fn open(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(metrics)
}

/// `/metrics` for callers on this machine.
pub(crate) fn guarded(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(show_to_neighbours))
        .with_state(metrics)
}

async fn show_to_neighbours(
    metrics: State<Arc<Metrics>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if peer.ip().to_canonical().is_loopback() && !FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        show(metrics).await
    } else {
        refused(
            Status::FORBIDDEN,
            "metrics are shown on this machine only: set metrics.listen to show them elsewhere",
        )
    }
}

async fn show(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text().await {
        Ok(text) => (
            [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            refused(Status::FAILED, "the metrics cannot be written")
        }
    }
}

fn refused(status: Status, detail: &str) -> Response {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_static(Problem::MEDIA_TYPE);
    let problem = axum::Json(Problem::new(status, detail));
    (code, [(header::CONTENT_TYPE, media_type)], problem).into_response()
}
