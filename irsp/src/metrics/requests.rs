//! HTTP requests by route and code, and the time to the answer's head.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of the histogram, seconds: from a read in memory to an answer that waited for a device.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0];
/// In place of a path that no route has: a stranger's paths are no labels.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    route: String,
    code: u16,
}

/// Counts requests. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    counted: Family<Labels, Counter>,
    seconds: Histogram,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            counted: Family::default(),
            seconds: Histogram::new(SECONDS),
        }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "irsp_http_requests",
            "HTTP requests answered, by route and code",
            self.counted.clone(),
        );
        registry.register(
            "irsp_http_seconds",
            "Time from a request to the head of its answer",
            self.seconds.clone(),
        );
    }
}

/// The layer that counts.
pub(crate) async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = known_method(request.method().as_str());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let labels = Labels { method, route, code };
    requests.counted.get_or_create(&labels).inc();
    requests.seconds.observe(began.elapsed().as_secs_f64());
    response
}

/// A method somebody made up is no label.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
