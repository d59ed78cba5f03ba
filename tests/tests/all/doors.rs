//! The doors of the edge: TCP, TLS and WebSocket.

use anyhow::{Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use irsp_tests::{Platform, Version};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_come_in_over_tcp_and_tls() -> Result<()> {
    let mut platform = Platform::start().await?;
    platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    for version in [Version::V311, Version::V5] {
        let door = || platform.client("dev/lamp-1", &code).version(version);
        for (name, door) in [("tcp", door()), ("tls", door().tls())] {
            let mut lamp = door.connect().await?;
            let answer = lamp.publish("up/climate/temp", 1, "1").await?;
            assert_eq!(answer, "Success", "{version:?} over {name}");
            lamp.leave().await?;
        }
    }
    platform.stop().await
}

fn websocket(platform: &Platform, path: &str, protocol: Option<&'static str>) -> Result<Request<()>> {
    let mut request = format!("ws://{}{path}", platform.doors().ws).into_client_request()?;
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_static(protocol);
        request.headers_mut().insert("sec-websocket-protocol", value);
    }
    Ok(request)
}

/// CONNECT of MQTT 3.1.1 with a clean session.
fn connect_packet(username: &str, password: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\xc2\x00\x3c".to_vec();
    for text in ["web", username, password] {
        body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend_from_slice(&body);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_speaks_mqtt_in_binary_frames_cut_anywhere() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let (mut socket, response) = connect_async(websocket(&platform, "/mqtt", Some("mqtt"))?).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    for byte in connect_packet("dev/lamp-1", &code) {
        socket.send(Message::binary(vec![byte])).await?;
    }
    // Two packets in one frame: two PINGREQ.
    socket.send(Message::binary(vec![0xc0, 0, 0xc0, 0])).await?;
    let expected = [0x20, 2, 0, 0, 0xd0, 0, 0xd0, 0];
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => heard.extend_from_slice(&bytes),
            other => bail!("{other:?} after {heard:?}"),
        }
    }
    assert_eq!(heard, expected);
    drop(socket);
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_elsewhere_or_for_something_else_is_refused() -> Result<()> {
    let mut platform = Platform::start().await?;
    for (path, protocol, code) in [
        ("/", Some("mqtt"), 404),
        ("/mqtt/x", Some("mqtt"), 404),
        ("/mqtt", Some("mqttv3.1"), 400),
        ("/mqtt", None, 400),
    ] {
        match connect_async(websocket(&platform, path, protocol)?).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), code, "{path} {protocol:?}"),
            other => bail!("{path} {protocol:?}: {other:?}"),
        }
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_http_request_at_the_websocket_door_is_answered() -> Result<()> {
    let mut platform = Platform::start().await?;
    let door = platform.doors().ws;
    let response = reqwest::get(format!("http://{door}/mqtt")).await?;
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert!(response.text().await?.contains("/mqtt"));
    let posted = reqwest::Client::new()
        .post(format!("http://{door}/"))
        .send()
        .await?;
    assert_eq!(posted.status(), 400);
    platform.stop().await
}

/// [MQTT-6.0.0-1]
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_sends_text_is_closed() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let (mut socket, _) = connect_async(websocket(&platform, "/mqtt", Some("mqtt"))?).await?;
    socket
        .send(Message::binary(connect_packet("dev/lamp-1", &code)))
        .await?;
    let Some(Ok(Message::Binary(connack))) = socket.next().await else {
        bail!("no CONNACK")
    };
    assert_eq!(&*connack, [0x20, 2, 0, 0]);
    socket.send(Message::text("\u{0}")).await?;
    // whatever it says first, it ends
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close() || message.is_empty(), "{message:?}");
    }
    platform.stop().await
}
