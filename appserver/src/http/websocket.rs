//! The same live streams over a WebSocket (RFC 6455), for whoever asks for one with `Upgrade: websocket`. Each event is one
//! text message: `{"event":"upload","id":17,"data":{...}}`; `after` resumes behind the last `id`.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::BoxStream;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use irsp_protocol::Status;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::refusal::Refusal;
use super::state::Api;
use super::told::Ready;

/// A listener that takes nothing for so long is cut.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest message a listener sends; it has nothing to say.
const INCOMING_BYTES_MAX: usize = 4096;

/// That the caller asks for a WebSocket; `None` if it does not.
pub(super) struct Asked(pub(super) Option<Upgrade>);

/// A connection that becomes a WebSocket.
pub(super) struct Upgrade {
    on: OnUpgrade,
    accept: HeaderValue,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Asked, Refusal> {
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        if !text(UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
            return Ok(Asked(None));
        }
        let malformed =
            |what: &str| Refusal::new(Status::MALFORMED, format!("not a WebSocket handshake: {what}"));
        if text(SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(malformed("Sec-WebSocket-Version is 13"));
        }
        let key = text(SEC_WEBSOCKET_KEY).ok_or_else(|| malformed("no Sec-WebSocket-Key"))?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
            .map_err(|_| malformed("Sec-WebSocket-Key"))?;
        let on = parts
            .extensions
            .remove::<OnUpgrade>()
            .ok_or_else(|| malformed("this connection cannot be upgraded"))?;
        Ok(Asked(Some(Upgrade { on, accept })))
    }
}

impl Upgrade {
    /// Answers 101; the stream begins on the connection then.
    pub(super) fn respond(self, api: &Api, told: BoxStream<'static, Ready>) -> Response {
        let Upgrade { on, accept } = self;
        api.tasks.spawn(async move {
            match on.await {
                Ok(connection) => tell(connection, told).await,
                Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
            }
        });
        let headers = [
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// Tells the stream until either side ends it.
async fn tell(connection: Upgraded, mut told: BoxStream<'static, Ready>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(INCOMING_BYTES_MAX))
        .max_frame_size(Some(INCOMING_BYTES_MAX));
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
    loop {
        let message = tokio::select! {
            ready = told.next() => match ready {
                Some(ready) => message(ready),
                None => return,
            },
            heard = socket.next() => match heard {
                // Pings are answered by the library; a listener has nothing else to say.
                Some(Ok(Message::Close(_)) | Err(Error::Capacity(_) | Error::Protocol(_))) => {
                    // The library has the closing frame ready; whether the listener takes it is its own affair.
                    let _ = timeout(WRITE_TIMEOUT, socket.close(None)).await;
                    return;
                }
                Some(Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let Some(message) = message else { continue };
        match timeout(WRITE_TIMEOUT, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::ConnectionClosed)) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a WebSocket is lost"),
            Err(_) => return tracing::debug!("a WebSocket takes nothing and is cut"),
        }
    }
}

fn message(ready: Ready) -> Option<Message> {
    match ready {
        Ready::Open => None,
        Ready::Beat => Some(Message::Ping(Bytes::new())),
        Ready::Closed(why) => Some(Message::Close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: why.into(),
        }))),
        Ready::Told(told) => {
            // A number or a text is always JSON.
            let id = serde_json::to_string(&told.mark).ok()?;
            let (event, data) = (told.name, told.data);
            Some(Message::text(format!(
                r#"{{"event":"{event}","id":{id},"data":{data}}}"#
            )))
        }
    }
}
