//! HTTP of a process: the routers of its roles, the `/openapi.json` of all of them, health and metrics; the last
//! two on a listener of their own if `metrics.listen` names one.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Router, middleware};
use bytes::Bytes;
use irsp_config::{Networks, Settings};
use irsp_courier::Observed;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::attach::Attached;
use crate::failure::Failure;
use crate::health::{self, Health};
use crate::metrics::{self, Metrics};
use crate::openapi;
use crate::origin;
use crate::ports::{self, Port, PortError};
use crate::serve::{Patience, serve};
use crate::welcome::Listening;

/// A role's part of the API.
pub(crate) struct Part {
    pub(crate) router: Router,
    pub(crate) openapi: Option<OpenApi>,
}

/// The ports of a process's HTTP.
pub(crate) struct Doors {
    api: Port,
    metrics: Option<Port>,
    proxies: Networks,
}

impl Doors {
    /// Takes the port of the API, which `key` names, and that of the metrics if they have their own.
    pub(crate) fn take(
        key: &'static str,
        address: SocketAddr,
        settings: &Settings,
    ) -> Result<Doors, PortError> {
        let api = ports::take(key, address)?;
        let metrics = settings
            .metrics
            .listen
            .map(|address| ports::take("metrics.listen", address));
        Ok(Doors {
            api,
            metrics: metrics.transpose()?,
            proxies: settings.http.proxies.clone(),
        })
    }

    pub(crate) fn listening(&self) -> Vec<Listening> {
        let ports = [&self.api].into_iter().chain(&self.metrics);
        let listening = ports.map(|port| Listening {
            key: port.key,
            address: port.address,
        });
        listening.collect()
    }
}

/// What a process serves over HTTP.
pub(crate) struct Served {
    pub(crate) parts: Vec<Part>,
    pub(crate) roles: Vec<Arc<dyn Observed>>,
    /// Of a role that runs apart.
    pub(crate) bus: Option<Attached>,
}

/// Joins the roles' parts. Of the description only its text is kept.
fn join(parts: Vec<Part>) -> Result<Router, Failure> {
    let mut router = Router::new();
    let mut described = Vec::new();
    for part in parts {
        router = router.merge(part.router);
        described.extend(part.openapi);
    }
    let Some(document) = openapi::join(described) else {
        return Ok(router);
    };
    let text = Bytes::from(document.to_json().map_err(Failure::Openapi)?);
    let media_type = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let describe = move || std::future::ready(([media_type.clone()], text.clone()));
    Ok(router.route("/openapi.json", get(describe)))
}

/// Listeners being served.
pub(crate) struct Http {
    stop: CancellationToken,
    /// One task for each.
    serving: JoinSet<()>,
}

impl Http {
    /// Serves from now on.
    pub(crate) fn start(doors: Doors, served: Served) -> Result<Http, Failure> {
        let Served { parts, roles, bus } = served;
        let metrics = Arc::new(Metrics::new(roles.clone(), bus.clone()));
        let health = Arc::new(Health::new(roles, bus));
        let counted = middleware::from_fn_with_state(metrics.requests(), metrics::count);
        let origin = middleware::from_fn_with_state(Arc::new(doors.proxies), origin::resolve);
        let api = join(parts)?
            .layer(origin)
            .merge(health::routes(Arc::clone(&health)));
        let mut http = Http {
            stop: CancellationToken::new(),
            serving: JoinSet::new(),
        };
        match doors.metrics {
            None => http.serve(doors.api, api.merge(metrics::guarded(metrics)).layer(counted))?,
            Some(port) => {
                http.serve(doors.api, api.layer(counted))?;
                http.serve(port, health::routes(health).merge(metrics::open(metrics)))?;
            }
        }
        Ok(http)
    }

    fn serve(&mut self, port: Port, router: Router) -> Result<(), Failure> {
        let address = port.address;
        let failed = move |source| Failure::Http { address, source };
        let listener = port.into_listener().map_err(failed)?;
        self.serving
            .spawn(serve(listener, router, Patience::default(), self.stop.clone()));
        Ok(())
    }

    /// Resolves when serving has ended though nobody asked for it.
    pub(crate) async fn ended(&mut self) -> Failure {
        let reason = match self.serving.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "nobody is served any more".to_owned(),
        };
        Failure::Role {
            role: "HTTP listener",
            reason,
        }
    }

    /// Takes no new connections.
    pub(crate) fn close(&self) {
        self.stop.cancel();
    }

    /// Waits for the requests under way.
    pub(crate) async fn wait(mut self) {
        while let Some(ended) = self.serving.join_next().await {
            if let Err(error) = ended {
                tracing::warn!(%error, "HTTP ended badly");
            }
        }
    }
}
