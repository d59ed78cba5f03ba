//! One HTTP listener: the routers of the roles behind it, `/healthz`, and the `/openapi.json` of all of them.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::failure::Failure;
use crate::ports::Port;

/// A role's part of the API.
pub(crate) struct Part {
    pub(crate) router: Router,
    pub(crate) openapi: Option<OpenApi>,
}

/// Joins the parts and adds what belongs to no role.
pub(crate) fn join(parts: Vec<Part>) -> Router {
    let mut router = Router::new().route(
        "/healthz",
        get(|| std::future::ready(Json(json!({"status": "ok"})))),
    );
    let mut document: Option<OpenApi> = None;
    for part in parts {
        router = router.merge(part.router);
        if let Some(more) = part.openapi {
            match &mut document {
                Some(document) => document.merge(more),
                None => document = Some(more),
            }
        }
    }
    match document {
        Some(mut document) => {
            document.info.title = "IRSP platform".to_owned();
            document.info.version = env!("CARGO_PKG_VERSION").to_owned();
            router.route(
                "/openapi.json",
                get(move || std::future::ready(Json(document.clone()))),
            )
        }
        None => router,
    }
}

/// A listener being served.
pub(crate) struct Http {
    stop: CancellationToken,
    /// The one task that serves.
    serving: JoinSet<Result<(), Failure>>,
}

impl Http {
    /// Serves from now on.
    pub(crate) fn start(port: Port, router: Router) -> Result<Http, Failure> {
        let address = port.address;
        let failed = move |source| Failure::Http { address, source };
        let listener = port.into_listener().map_err(failed)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, service)
                .with_graceful_shutdown(stopped)
                .await
                .map_err(failed)
        });
        Ok(Http { stop, serving })
    }

    /// Resolves when serving has ended though nobody asked for it.
    pub(crate) async fn ended(&mut self) -> Failure {
        let reason = match self.serving.join_next().await {
            Some(Ok(Err(failure))) => return failure,
            Some(Err(error)) => error.to_string(),
            Some(Ok(Ok(()))) | None => "nobody is served any more".to_owned(),
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
            if let Ok(Err(failure)) = ended {
                tracing::warn!(%failure, "HTTP ended badly");
            }
        }
    }
}
