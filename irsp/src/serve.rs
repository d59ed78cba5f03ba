//! Serving HTTP/1.1 on one listener. What a client leaves unsaid is waited for within bounds, so that nobody holds a
//! connection by silence.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How long is waited for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of a request, from the connection or from the answer before it: so long may a connection rest.
    head: Duration,
    /// For the next part of a body.
    body: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            head: Duration::from_secs(60),
            body: Duration::from_secs(30),
        }
    }
}

/// After a connection could not be accepted, because the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then what is under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    let router = router.layer(RequestBodyTimeoutLayer::new(patience.body));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Some((stream, peer)) = usable(accepted).await else {
            continue;
        };
        let router = router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request.map(axum::body::Body::new))
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "an HTTP connection is lost");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection to serve; none if its client was gone already, or the process can take no more just now.
async fn usable(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, SocketAddr)> {
    match accepted.and_then(|(stream, peer)| stream.set_nodelay(true).map(|()| (stream, peer))) {
        Ok(connection) => Some(connection),
        Err(error) => {
            tracing::debug!(%error, "an HTTP connection is not taken");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What is answered to these bytes until the connection is closed.
    async fn answer(address: SocketAddr, said: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = String::new();
        let reading = stream.read_to_string(&mut heard);
        tokio::time::timeout(Duration::from_secs(30), reading)
            .await
            .expect("the connection is closed")
            .unwrap();
        heard
    }

    #[tokio::test]
    async fn who_says_nothing_more_is_not_waited_for() {
        let router = Router::new().route("/echo", post(async |body: String| body));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let short = Duration::from_millis(200);
        let patience = Patience {
            head: short,
            body: short,
        };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, patience, stop.clone()));
        let whole = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
        assert!(answer(address, whole).await.ends_with("\r\n\r\nhi"));
        assert!(!answer(address, "").await.contains("200"));
        assert!(!answer(address, "POST /echo HTTP/1.1\r\nHo").await.contains("200"));
        let half = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nhi";
        assert!(!answer(address, half).await.contains("200"));
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
