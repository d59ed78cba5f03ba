//! The doors of the edge: TCP, TLS and WebSocket.

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use irsp_tests::{PATIENCE, Platform, Raw, Setup, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

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

/// A PROXY header of version 2 for a client with this address.
fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C".to_vec();
    header.extend_from_slice(&client);
    header.extend_from_slice(&[127, 0, 0, 1, 0x30, 0x39, 0x07, 0x5B]);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_load_balancer_everybody_has_its_own_address() -> Result<()> {
    let setup = Setup {
        proxies: Some("127.0.0.0/8"),
        connections_per_address_max: 1,
        ..Setup::default()
    };
    let mut platform = Platform::start_with(setup).await?;
    let key = platform.admin.register_application("desk").await?;
    let door = platform.doors().tcp;
    let connect = connect_packet("app/desk", &key);
    let comes = async |client, header: Vec<u8>| -> Result<(TcpStream, Vec<u8>)> {
        let mut socket = Raw::open(door).await?;
        // an id of its own, so that nobody is taken over
        let mut connect = connect.clone();
        let at = connect.windows(3).position(|bytes| bytes == b"web");
        connect[at.expect("the client id") + 2] = client;
        socket.write_all(&[header, connect].concat()).await?;
        let mut connack = vec![0; 4];
        timeout(PATIENCE, socket.read_exact(&mut connack)).await??;
        Ok((socket, connack))
    };
    let (_ann, connack) = comes(b'1', proxy_header([203, 0, 113, 1])).await?;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let (_bob, connack) = comes(b'2', proxy_header([203, 0, 113, 2])).await?;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let (_twin, connack) = comes(b'3', proxy_header([203, 0, 113, 1])).await?;
    assert_eq!(connack, [0x20, 2, 0, 3], "one connection for each address");
    // whoever comes through it without a header, or with another, does not come in
    for header in [
        Vec::new(),
        b"PROXY TCP4 203.0.113.3 127.0.0.1 12345 1883\r\n".to_vec(),
    ] {
        assert!(comes(b'4', header).await.is_err());
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_load_balancer_does_not_choose_its_address() -> Result<()> {
    let mut platform = Platform::start().await?;
    let key = platform.admin.register_application("desk").await?;
    let mut socket = Raw::open(platform.doors().tcp).await?;
    let bytes = [proxy_header([203, 0, 113, 1]), connect_packet("app/desk", &key)].concat();
    socket.write_all(&bytes).await?;
    let mut answer = Vec::new();
    // closed, or reset because not all was read
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await?;
    assert_eq!(answer, b"");
    platform.stop().await
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A WebSocket on which a device has its CONNACK.
async fn connected(platform: &Platform, code: &str) -> Result<Socket> {
    let (mut socket, _) = connect_async(websocket(platform, "/mqtt", Some("mqtt"))?).await?;
    socket
        .send(Message::binary(connect_packet("dev/lamp-1", code)))
        .await?;
    let Some(Ok(Message::Binary(connack))) = socket.next().await else {
        bail!("no CONNACK")
    };
    assert_eq!(&*connack, [0x20, 2, 0, 0]);
    Ok(socket)
}

/// The code of the close frame, whatever comes before it.
async fn close_code(socket: &mut Socket) -> Result<u16> {
    while let Some(message) = socket.next().await {
        if let Message::Close(frame) = message? {
            return Ok(frame.context("a close frame without a code")?.code.into());
        }
    }
    bail!("no close frame")
}

/// [MQTT-6.0.0-1], before CONNECT and after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_sends_text_is_closed() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let stranger = connect_async(websocket(&platform, "/mqtt", Some("mqtt"))?)
        .await?
        .0;
    for mut socket in [stranger, connected(&platform, &code).await?] {
        socket.send(Message::text("\u{0}")).await?;
        assert_eq!(close_code(&mut socket).await?, 1003);
    }
    platform.stop().await
}

/// RFC 6455, 7.4.1
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_told_why_it_is_closed() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    for (sent, told) in [
        (&b"\xE0\0"[..], 1000),
        (b"\x80\0", 1002),
        (b"\x30\xFF\xFF\xFF\x7F", 1009),
    ] {
        let mut socket = connected(&platform, &code).await?;
        socket.send(Message::binary(sent)).await?;
        assert_eq!(close_code(&mut socket).await?, told, "{sent:02x?}");
    }
    let (mut guesser, _) = connect_async(websocket(&platform, "/mqtt", Some("mqtt"))?).await?;
    let wrong = connect_packet("dev/lamp-1", "wrong");
    guesser.send(Message::binary(wrong)).await?;
    assert_eq!(close_code(&mut guesser).await?, 1008);
    let mut first = connected(&platform, &code).await?;
    let mut second = connected(&platform, &code).await?;
    assert_eq!(close_code(&mut first).await?, 1008, "taken over");
    platform.stop().await?;
    assert_eq!(close_code(&mut second).await?, 1001);
    Ok(())
}
