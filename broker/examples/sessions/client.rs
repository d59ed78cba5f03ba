//! The clients: pairs of a device that publishes and a user that hears it, on bare streams, MQTT 3.1.1.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc::UnboundedSender;

use crate::gauge;
use crate::house::Arrival;
use crate::pair::{device, secret, user};

/// Most bytes a stream holds in one direction.
const STREAM_MAX: usize = 4_096;
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// Pairs that are at it together.
const TOGETHER: usize = 256;
/// Streams that are measured alone.
const MEASURED: usize = 20_000;
/// From one sender to the next: some 0.618 of all, so that neighbours in time are none in place.
const JUMP: (usize, usize) = (618_033, 1_000_000);

/// What one stream takes by itself once it has carried as much as a session's.
pub(crate) async fn bytes_of_streams() -> Result<u64, Box<dyn Error>> {
    let before = gauge::resident_bytes()?;
    let mut streams = Vec::with_capacity(MEASURED);
    for pair in 0..MEASURED {
        let (mut near, mut far) = tokio::io::duplex(STREAM_MAX);
        let carried = publish(pair);
        let mut taken = vec![0; carried.len()];
        near.write_all(&carried).await?;
        far.read_exact(&mut taken).await?;
        far.write_all(&carried).await?;
        near.read_exact(&mut taken).await?;
        streams.push((near, far));
    }
    Ok(gauge::resident_bytes()?.saturating_sub(before) / MEASURED as u64)
}

/// All that are connected.
pub(crate) struct Clients {
    door: UnboundedSender<Arrival>,
    pairs: Vec<Pair>,
    /// Whose turn it is.
    turn: usize,
}

struct Pair {
    device: DuplexStream,
    user: DuplexStream,
}

impl Clients {
    pub(crate) fn new(door: UnboundedSender<Arrival>) -> Clients {
        Clients {
            door,
            pairs: Vec::new(),
            turn: 0,
        }
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Connects further pairs until there are so many.
    pub(crate) async fn connect_up_to(&mut self, pairs: usize) -> Result<(), Box<dyn Error>> {
        while self.pairs.len() < pairs {
            let from = self.pairs.len();
            let to = pairs.min(from + TOGETHER);
            for pair in from..to {
                let device = self.connect(pair, &format!("dev/{}", device(pair))).await?;
                let user = self.connect(pair, &format!("usr/{}", user(pair))).await?;
                self.pairs.push(Pair { device, user });
            }
            for (pair, clients) in (from..to).zip(&mut self.pairs[from..to]) {
                expect(&mut clients.device, &[0x20, 2, 0, 0]).await?;
                expect(&mut clients.user, &[0x20, 2, 0, 0]).await?;
                let filter = format!("v1/dev/{}/live/#", device(pair));
                let body = [&[0, 1], &*text(&filter), &[1]].concat();
                clients.user.write_all(&packet(0x82, &body)).await?;
            }
            for clients in &mut self.pairs[from..to] {
                expect(&mut clients.user, &[0x90, 3, 0, 1, 1]).await?;
            }
        }
        Ok(())
    }

    async fn connect(&self, pair: usize, username: &str) -> Result<DuplexStream, Box<dyn Error>> {
        let (mut near, far) = tokio::io::duplex(STREAM_MAX);
        // Some addresses, as many clients have.
        let host = u32::try_from(pair % 60_000)?;
        let peer = SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + host), 40_000));
        self.door.send((far, peer))?;
        // Clean session, user name, password; no keep-alive.
        let body = [
            &*text("MQTT"),
            &[4, 0b1100_0010, 0, 0],
            &text("c"),
            &text(username),
            &text(&secret(pair)),
        ];
        near.write_all(&packet(0x10, &body.concat())).await?;
        Ok(near)
    }

    /// So many messages, each from a device to its user, with both acknowledgements.
    pub(crate) async fn exchange(&mut self, messages: usize) -> Result<(), Box<dyn Error>> {
        let jump = jump(self.pairs.len());
        let mut left = messages;
        while left > 0 {
            let together = left.min(TOGETHER).min(self.pairs.len());
            let turns: Vec<usize> = (0..together)
                .map(|n| (self.turn + n * jump) % self.pairs.len())
                .collect();
            for &pair in &turns {
                self.pairs[pair].device.write_all(&publish(pair)).await?;
            }
            for &pair in &turns {
                let clients = &mut self.pairs[pair];
                // A session numbers its deliveries itself.
                let sent = publish(pair);
                let mut heard = vec![0; sent.len()];
                clients.user.read_exact(&mut heard).await?;
                let at = sent.len() - PAYLOAD.len() - 2;
                if heard[..at] != sent[..at] || heard[at + 2..] != PAYLOAD {
                    return Err(format!("pair {pair} heard something else").into());
                }
                clients
                    .user
                    .write_all(&[0x40, 2, heard[at], heard[at + 1]])
                    .await?;
                expect(&mut clients.device, &[0x40, 2, 0, 1]).await?;
            }
            self.turn = (self.turn + together * jump) % self.pairs.len();
            left -= together;
        }
        Ok(())
    }
}

/// A step that visits every pair before it comes to one again.
fn jump(pairs: usize) -> usize {
    let mut jump = (pairs * JUMP.0 / JUMP.1).max(1);
    while common_divisor(jump, pairs) != 1 {
        jump += 1;
    }
    jump
}

fn common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        b => common_divisor(b, a % b),
    }
}

async fn expect(stream: &mut DuplexStream, wanted: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut found = vec![0; wanted.len()];
    stream.read_exact(&mut found).await?;
    match found == wanted {
        true => Ok(()),
        false => Err(format!("the server says {found:02x?} instead of {wanted:02x?}").into()),
    }
}

/// A `live` publish at QoS 1 with packet identifier 1.
fn publish(pair: usize) -> Vec<u8> {
    let topic = text(&format!("v1/dev/{}/live/t", device(pair)));
    packet(0x32, &[&*topic, &[0, 1], &PAYLOAD].concat())
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, text.as_bytes()].concat()
}

/// First byte, length [MQTT-2.2.3], body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap_or_default();
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}
