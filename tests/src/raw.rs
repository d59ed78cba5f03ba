//! An MQTT client made of bytes, for what no well-behaved client does: not reading, not acknowledging, saying
//! nothing.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::client::Version;

/// A packet as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The first byte: type and flags.
    pub first: u8,
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet's type, 1 (CONNECT) to 15 (AUTH).
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The topic of a PUBLISH.
    pub fn topic(&self) -> String {
        let len = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        String::from_utf8_lossy(&self.body[2..2 + len]).into_owned()
    }
}

/// A PUBLISH as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub topic: String,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// Without their length.
    pub properties: Vec<u8>,
    pub payload: String,
}

/// What CONNECT says beside who it is.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    pub client_id: &'a str,
    pub clean: bool,
    /// Of MQTT 5, below 128 bytes and without their length.
    pub properties: &'a [u8],
    pub will: Option<LastWill<'a>>,
}

impl Default for Hello<'_> {
    fn default() -> Self {
        Self {
            client_id: "raw",
            clean: true,
            properties: &[],
            will: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LastWill<'a> {
    pub topic: &'a str,
    pub payload: &'a str,
    pub qos: u8,
    pub retain: bool,
    /// Of MQTT 5, below 128 bytes and without their length.
    pub properties: &'a [u8],
}

/// A socket at the plain MQTT listener.
pub struct Raw {
    socket: TcpStream,
    version: Version,
}

impl Raw {
    /// Opens a socket and says nothing.
    pub async fn open(door: SocketAddr) -> Result<TcpStream> {
        Ok(TcpStream::connect(door).await?)
    }

    /// Connects with a clean session and keep-alive 0; the server lets it in.
    pub async fn connect(door: SocketAddr, version: Version, username: &str, password: &str) -> Result<Raw> {
        let (raw, connack) = Raw::greet(door, version, (username, password), Hello::default()).await?;
        ensure!(connack.body.get(1) == Some(&0), "{connack:?}");
        Ok(raw)
    }

    /// Sends CONNECT with keep-alive 0, and waits for CONNACK, whatever it says.
    pub async fn greet(
        door: SocketAddr,
        version: Version,
        (username, password): (&str, &str),
        hello: Hello<'_>,
    ) -> Result<(Raw, Packet)> {
        let mut raw = Raw {
            socket: Raw::open(door).await?,
            version,
        };
        let mut body = b"\x00\x04MQTT".to_vec();
        body.push(if version == Version::V5 { 5 } else { 4 });
        let will = hello
            .will
            .map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
        body.extend_from_slice(&[0xC0 | u8::from(hello.clean) << 1 | will, 0, 0]);
        raw.properties(hello.properties, &mut body)?;
        string(hello.client_id, &mut body)?;
        if let Some(will) = hello.will {
            raw.properties(will.properties, &mut body)?;
            string(will.topic, &mut body)?;
            string(will.payload, &mut body)?;
        }
        for text in [username, password] {
            string(text, &mut body)?;
        }
        raw.send(0x10, &body).await?;
        let connack = raw.packet().await?;
        ensure!(connack.kind() == 2, "{connack:?}");
        Ok((raw, connack))
    }

    /// Subscribes to one filter; the server grants it.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let granted = self.subscribe_with(filter, qos, &[]).await?;
        ensure!(granted == qos, "{filter} is granted {granted:02x}");
        Ok(())
    }

    /// Subscribes to one filter with options and properties; returns what is granted.
    pub async fn subscribe_with(&mut self, filter: &str, options: u8, properties: &[u8]) -> Result<u8> {
        let mut body = vec![0, 1];
        self.properties(properties, &mut body)?;
        string(filter, &mut body)?;
        body.push(options);
        self.send(0x82, &body).await?;
        let suback = self.packet().await?;
        ensure!(
            suback.kind() == 9 && suback.body.starts_with(&[0, 1]),
            "{suback:?}"
        );
        suback.body.last().copied().context("an empty SUBACK")
    }

    /// Unsubscribes from one filter; returns the code, 0 where the version has none.
    pub async fn unsubscribe(&mut self, filter: &str) -> Result<u8> {
        let mut body = vec![0, 2];
        self.properties(&[], &mut body)?;
        string(filter, &mut body)?;
        self.send(0xA2, &body).await?;
        let unsuback = self.packet().await?;
        ensure!(
            unsuback.kind() == 11 && unsuback.body.starts_with(&[0, 2]),
            "{unsuback:?}"
        );
        Ok(unsuback.body.get(3).copied().unwrap_or_default())
    }

    /// Publishes at QoS 1 with properties; returns the code of PUBACK.
    pub async fn publish_with(
        &mut self,
        topic: &str,
        retain: bool,
        properties: &[u8],
        payload: &str,
    ) -> Result<u8> {
        let mut body = Vec::new();
        string(topic, &mut body)?;
        body.extend_from_slice(&[0, 9]);
        self.properties(properties, &mut body)?;
        body.extend_from_slice(payload.as_bytes());
        self.send(0x32 | u8::from(retain), &body).await?;
        let puback = self.packet_of(4).await?;
        ensure!(puback.body.starts_with(&[0, 9]), "{puback:?}");
        Ok(puback.body.get(2).copied().unwrap_or_default())
    }

    /// The next packet is a PUBLISH.
    pub async fn heard(&mut self) -> Result<Heard> {
        let packet = self.packet().await?;
        ensure!(packet.kind() == 3, "{packet:?}");
        let (topic, qos) = (packet.topic(), packet.first >> 1 & 3);
        let mut rest = &packet.body[2 + topic.len()..];
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if self.version == Version::V5 {
            let (length, behind) = match *rest {
                [length @ 0..=127, ref behind @ ..] => (usize::from(length), behind),
                [low, high @ 0..=127, ref behind @ ..] => {
                    (usize::from(low) - 128 + (usize::from(high) << 7), behind)
                }
                _ => bail!("more properties than a story needs"),
            };
            properties = behind[..length].to_vec();
            rest = &behind[length..];
        }
        Ok(Heard {
            topic,
            qos,
            dup: packet.first & 8 != 0,
            retain: packet.first & 1 != 0,
            packet_id,
            properties,
            payload: String::from_utf8_lossy(rest).into_owned(),
        })
    }

    /// Waits until the server closes the connection; what it still sends is passed over.
    pub async fn closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match timeout(PATIENCE, self.socket.read_to_end(&mut rest)).await {
            // a reset is an end as well
            Ok(_) => Ok(()),
            Err(_) => bail!("still open"),
        }
    }

    /// Sends a PUBLISH and does not wait for the answer.
    pub async fn publish(&mut self, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Result<()> {
        let mut body = Vec::new();
        string(topic, &mut body)?;
        if qos > 0 {
            body.extend_from_slice(&packet_id.to_be_bytes());
        }
        self.properties(&[], &mut body)?;
        body.extend_from_slice(payload);
        self.send(0x30 | qos << 1, &body).await
    }

    /// Sends any packet.
    pub async fn send(&mut self, first: u8, body: &[u8]) -> Result<()> {
        let mut packet = vec![first];
        let mut length = body.len();
        while length > 0x7F {
            packet.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend_from_slice(body);
        timeout(PATIENCE, self.socket.write_all(&packet))
            .await
            .context("the server reads nothing")??;
        Ok(())
    }

    /// The next packet.
    pub async fn packet(&mut self) -> Result<Packet> {
        timeout(PATIENCE, self.read()).await.context("no packet")?
    }

    /// The next packet of this type; others are passed over.
    pub async fn packet_of(&mut self, kind: u8) -> Result<Packet> {
        loop {
            let packet = self.packet().await?;
            if packet.kind() == kind {
                return Ok(packet);
            }
        }
    }

    async fn read(&mut self) -> Result<Packet> {
        let first = self.socket.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.socket.read_u8().await?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await?;
        Ok(Packet { first, body })
    }

    fn properties(&self, properties: &[u8], body: &mut Vec<u8>) -> Result<()> {
        if self.version == Version::V5 {
            ensure!(properties.len() < 128, "more properties than a story needs");
            body.push(u8::try_from(properties.len())?);
            body.extend_from_slice(properties);
        }
        Ok(())
    }
}

fn string(text: &str, body: &mut Vec<u8>) -> Result<()> {
    body.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    Ok(())
}
