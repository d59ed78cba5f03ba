//! Live streams over a WebSocket: the same events as server-sent ones, with resume and the same rights.

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use irsp_tests::Platform;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(platform: &Platform, path: &str, key: &str) -> Result<Socket, Error> {
    let mut request = format!("ws://{}{path}", platform.doors().app).into_client_request()?;
    let bearer = format!("Bearer {key}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    Ok(connect_async(request).await?.0)
}

async fn next(socket: &mut Socket) -> Result<Value> {
    loop {
        let message = socket.next().await.context("the stream has ended")??;
        if let Message::Text(text) = message {
            return Ok(serde_json::from_str(&text)?);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_tells_what_is_stored_and_resumes() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let stream = "/v1/apps/climate/uploads/stream";
    let mut socket = open(&platform, &format!("{stream}?after=0"), &key).await?;
    for n in 1..=3 {
        assert_eq!(lamp.publish("up/climate/n", 1, &n.to_string()).await?, "Success");
        let event = next(&mut socket).await?;
        assert_eq!(
            (&event["event"], &event["id"], &event["data"]["data"]),
            (&json!("upload"), &json!(n), &json!(n))
        );
    }
    socket.close(None).await?;
    let mut again = open(&platform, &format!("{stream}?after=1"), &key).await?;
    for n in 2..=3 {
        assert_eq!(next(&mut again).await?["id"], n);
    }
    let mut presence = open(&platform, "/v1/presence/stream?after=0", &key).await?;
    let event = next(&mut presence).await?;
    assert_eq!(
        (
            &event["event"],
            &event["data"]["principal"],
            &event["data"]["state"]
        ),
        (&json!("presence"), &json!("dev/lamp-1"), &json!("online"))
    );
    for wrong in ["", "wrong"] {
        match open(&platform, stream, wrong).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
            other => panic!("not refused: {other:?}"),
        }
    }
    platform
        .admin
        .post("/v1/apps/climate/keys/rotate", json!({}))
        .await?;
    loop {
        match again.next().await {
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            Some(Ok(_)) => {}
        }
    }
    platform.stop().await
}
