//! MQTT over WebSocket [MQTT-6.0.0]: binary frames of one byte stream, subprotocol `mqtt`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{Sink, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::farewell::{Farewell, Why};

/// Bytes held for reading and for writing per connection.
const BUFFER_BYTES: usize = 4 << 10;

/// Upgrades an HTTP connection on `path` to a stream of MQTT bytes. A message that is larger than any packet may be is an
/// error of its own kind, [`io::ErrorKind::FileTooLarge`]. When the stream is shut down, `farewell` tells the client why.
pub(crate) async fn accept<S>(
    mut stream: S,
    path: &str,
    packet_size_max: u32,
    farewell: Farewell,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = BUFFER_BYTES;
    config.write_buffer_size = 0;
    // A frame may hold several packets, but never needs to hold more than one of the largest.
    config.max_message_size = Some(packet_size_max as usize + BUFFER_BYTES);
    config.max_frame_size = config.max_message_size;
    #[expect(clippy::result_large_err, reason = "the library's signature of the callback")]
    let upgrade = |request: &Request, response: Response| check(request, response, path);
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(&mut stream, upgrade, Some(config)).await;
    if let Err(error) = accepted {
        if let Some(answer) = answer(&error, path) {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
        }
        return Err(io_error(error));
    }
    // The library refuses bytes behind the request, so none were read that belong to a frame.
    let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    Ok(byte_stream(stream, farewell))
}

/// What an HTTP client hears that asks for no WebSocket, or not in the right way. `None` where it has heard already, or
/// there was no request.
fn answer(error: &Error, path: &str) -> Option<String> {
    let status = match error {
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        Error::Protocol(ProtocolError::HandshakeIncomplete) => return None,
        Error::Protocol(_) | Error::HttpFormat(_) | Error::Capacity(_) => StatusCode::BAD_REQUEST,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_) => return None,
    };
    let body = format!("MQTT over WebSocket is at {path}, with the subprotocol mqtt.\n");
    // 426 has to name the protocol, other answers may (RFC 9110, 7.8 and 15.5.22).
    Some(format!(
        "HTTP/1.1 {status}\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[expect(clippy::result_large_err, reason = "the library's signature of the callback")]
fn check(request: &Request, mut response: Response, path: &str) -> Result<Response, ErrorResponse> {
    if request.uri().path() != path {
        return Err(refusal(
            StatusCode::NOT_FOUND,
            format!("MQTT over WebSocket is at {path}"),
        ));
    }
    let offered = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim() == "mqtt");
    if !offered {
        // [MQTT-6.0.0-3]
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "the WebSocket subprotocol mqtt is needed".to_owned(),
        ));
    }
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    Ok(response)
}

fn refusal(status: StatusCode, text: String) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text));
    *response.status_mut() = status;
    response
}

fn byte_stream<S>(
    stream: WebSocketStream<S>,
    farewell: Farewell,
) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, frames) = stream.split();
    let faults = farewell.clone();
    let reader = StreamReader::new(frames.filter_map(move |message| {
        std::future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            // [MQTT-6.0.0-1]
            Ok(Message::Text(_)) => {
                faults.say(Why::NotBinary);
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a text frame")))
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => None,
            Err(error) => {
                if let Some(why) = why(&error) {
                    faults.say(why);
                }
                Some(Err(io_error(error)))
            }
        })
    }));
    let writer = Frames {
        sink,
        farewell,
        closing: false,
    };
    tokio::io::join(reader, SinkWriter::new(CopyToBytes::new(writer)))
}

/// Bytes out as binary frames; behind them, why there are no more.
struct Frames<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
    farewell: Farewell,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for Frames<S> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_ready_unpin(cx).map_err(io_error)
    }

    fn start_send(mut self: Pin<&mut Self>, bytes: Bytes) -> io::Result<()> {
        self.sink
            .start_send_unpin(Message::Binary(bytes))
            .map_err(io_error)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sink.poll_flush_unpin(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(self.as_mut().poll_ready(cx))?;
            self.closing = true;
            let frame = CloseFrame {
                code: CloseCode::from(self.farewell.why() as u16),
                reason: Utf8Bytes::default(),
            };
            self.sink
                .start_send_unpin(Message::Close(Some(frame)))
                .map_err(io_error)?;
        }
        self.sink.poll_close_unpin(cx).map_err(io_error)
    }
}

/// What a client that broke the WebSocket protocol is told.
fn why(error: &Error) -> Option<Why> {
    match error {
        Error::Capacity(_) => Some(Why::TooLarge),
        Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt => Some(Why::Broken),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => None,
    }
}

fn io_error(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    if matches!(error, Error::ConnectionClosed | Error::AlreadyClosed) {
        return io::ErrorKind::UnexpectedEof.into();
    }
    let kind = match matches!(error, Error::Capacity(_)) {
        true => io::ErrorKind::FileTooLarge,
        false => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
