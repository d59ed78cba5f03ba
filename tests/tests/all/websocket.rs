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

/// Reads until the upload `n` has been accepted; its message's id, and the last mark.
async fn accepted(socket: &mut Socket, ids: &[String]) -> Result<(String, String)> {
    loop {
        let event = next(socket).await?;
        assert_eq!(event["event"], "receipt", "nothing is missing: {event}");
        let (id, mark) = (event["data"]["id"].as_str(), event["id"].as_str());
        let (id, mark) = (
            id.context("an id")?.to_owned(),
            mark.context("a mark")?.to_owned(),
        );
        if event["data"]["stage"] == "accepted" && !ids.contains(&id) {
            return Ok((id, mark));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_receipts_is_told_and_resumes_while_it_is_remembered() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    let stream = "/v1/messages/stream?kind=upload";
    let mut socket = open(&platform, stream, &key).await?;
    lamp.publish("up/climate/n", 1, "1").await?;
    let (first, mark) = accepted(&mut socket, &[]).await?;
    // Somebody listens all the time, so that everything is remembered.
    let mut other = open(&platform, stream, &key).await?;
    socket.close(None).await?;
    let mut ids = vec![first.clone()];
    for n in 2..=3 {
        lamp.publish("up/climate/n", 1, &n.to_string()).await?;
        ids.push(accepted(&mut other, &ids).await?.0);
    }
    let mut again = open(&platform, &format!("{stream}&after={mark}"), &key).await?;
    let mut heard = vec![first];
    for _ in 2..=3 {
        heard.push(accepted(&mut again, &heard).await?.0);
    }
    assert_eq!(heard, ids, "what happened meanwhile, in order");
    match open(&platform, &format!("{stream}&after=17"), &key).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 400),
        other => panic!("not refused: {other:?}"),
    }
    platform.stop().await
}
