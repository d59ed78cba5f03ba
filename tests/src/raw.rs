//! An MQTT client made of bytes, for what no well-behaved client does: not reading, not acknowledging, saying
//! nothing.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
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
        let mut raw = Raw {
            socket: Raw::open(door).await?,
            version,
        };
        let mut body = b"\x00\x04MQTT".to_vec();
        body.push(if version == Version::V5 { 5 } else { 4 });
        body.extend_from_slice(&[0xC2, 0, 0]);
        raw.no_properties(&mut body);
        for text in ["raw", username, password] {
            string(text, &mut body)?;
        }
        raw.send(0x10, &body).await?;
        let connack = raw.packet().await?;
        ensure!(
            connack.kind() == 2 && connack.body.get(1) == Some(&0),
            "{connack:?}"
        );
        Ok(raw)
    }

    /// Subscribes to one filter; the server grants it.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let mut body = vec![0, 1];
        self.no_properties(&mut body);
        string(filter, &mut body)?;
        body.push(qos);
        self.send(0x82, &body).await?;
        let suback = self.packet().await?;
        ensure!(
            suback.kind() == 9 && suback.body.last() == Some(&qos),
            "{suback:?}"
        );
        Ok(())
    }

    /// Sends a PUBLISH and does not wait for the answer.
    pub async fn publish(&mut self, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Result<()> {
        let mut body = Vec::new();
        string(topic, &mut body)?;
        if qos > 0 {
            body.extend_from_slice(&packet_id.to_be_bytes());
        }
        self.no_properties(&mut body);
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

    fn no_properties(&self, body: &mut Vec<u8>) {
        if self.version == Version::V5 {
            body.push(0);
        }
    }
}

fn string(text: &str, body: &mut Vec<u8>) -> Result<()> {
    body.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    Ok(())
}
