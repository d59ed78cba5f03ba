//! An MQTT client that does one thing after the other, as a check uses it: what is heard meanwhile is kept.

use std::collections::VecDeque;
use std::time::Duration;

use devicesim::link::{Broken, Dialer, Link, Login, Welcome};
use devicesim::options::MqttVersion;
use devicesim::wire::{self, Packet, Publish, PublishOut, kind};
use irsp_protocol::Secret;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::trouble::Trouble;

/// Seconds; no check is silent for so long.
const KEEP_ALIVE: u16 = 120;

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct Connecting {
    pub version: MqttVersion,
    pub client_id: String,
    pub username: String,
    pub password: Secret,
    /// How long the session outlives the connection; 0 asks for a clean one.
    pub session_expiry_s: u32,
}

/// What stands beside a message.
#[derive(Clone, Copy, Debug)]
pub struct With<'a> {
    pub qos: u8,
    pub retain: bool,
    pub expiry_s: Option<u32>,
    pub user: &'a [(&'a str, &'a str)],
}

impl Default for With<'_> {
    fn default() -> Self {
        With {
            qos: 1,
            retain: false,
            expiry_s: None,
            user: &[],
        }
    }
}

/// A connected client. Dropped, its socket closes without a goodbye.
pub struct Client {
    link: Link,
    who: String,
    patience: Duration,
    next_id: u16,
    inbox: VecDeque<Publish>,
    /// Packets that are no messages.
    answers: VecDeque<Packet>,
    pub resumed: bool,
}

impl Connecting {
    /// Connects; a refusal is an answer.
    pub async fn try_open(self, dialer: &Dialer, patience: Duration) -> Result<Client, Broken> {
        let login = Login {
            with: wire::Connect {
                version: self.version,
                client_id: &self.client_id,
                username: Some(&self.username),
                password: Some(self.password.expose()),
                keep_alive: KEEP_ALIVE,
                clean: self.session_expiry_s == 0,
                session_expiry: self.session_expiry_s,
                receive_max: 0,
                will: None,
            },
            source: None,
            receive_buffer: None,
        };
        let (link, Welcome { resumed, .. }) = dialer.open(&login).await?;
        Ok(Client {
            link,
            who: self.username,
            patience,
            next_id: 0,
            inbox: VecDeque::new(),
            answers: VecDeque::new(),
            resumed,
        })
    }

    /// Connects and is welcome.
    pub async fn open(self, dialer: &Dialer, patience: Duration) -> Result<Client, Trouble> {
        let what = format!("{} connects", self.username);
        let opened = self.try_open(dialer, patience).await;
        opened.map_err(|reason| Trouble::Connection { what, reason })
    }
}

impl Client {
    /// Subscribes to one filter; the reason code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<u8, Trouble> {
        let id = self.id();
        wire::subscribe(&mut self.link.out, self.link.version, id, &[(filter, qos)]);
        let what = format!("SUBACK for {filter}");
        let codes = self
            .answer(&what, |packet| {
                if let Packet::SubAck { id: of, codes } = packet
                    && *of == id
                {
                    Some(codes.clone())
                } else {
                    None
                }
            })
            .await?;
        Ok(codes.first().copied().unwrap_or(0x80))
    }

    /// Subscribes at QoS 1 and is granted it.
    pub async fn hears(&mut self, filter: &str) -> Result<(), Trouble> {
        match self.subscribe(filter, 1).await? {
            1 => Ok(()),
            code => Err(Trouble::Unlike {
                what: format!("{} subscribes to {filter}", self.who),
                expected: "granted QoS 1".to_owned(),
                found: format!("0x{code:02X}"),
            }),
        }
    }

    /// Publishes at QoS 1; the reason code of the answer.
    pub async fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<u8, Trouble> {
        self.publish_with(topic, payload, With::default()).await
    }

    /// Publishes; the reason code of the answer, 0 at QoS 0.
    pub async fn publish_with(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        with: With<'_>,
    ) -> Result<u8, Trouble> {
        let id = self.id();
        let out = PublishOut {
            topic,
            payload: payload.as_ref(),
            qos: with.qos,
            id,
            dup: false,
            retain: with.retain,
            expiry_s: with.expiry_s,
            user: with.user,
        };
        wire::publish(&mut self.link.out, self.link.version, &out);
        let what = format!("the acknowledgement of {topic}");
        if with.qos == 0 {
            self.flush(&what).await?;
            return Ok(0);
        }
        let acked = |packet: &Packet| {
            if let Packet::PubAck { id: of, code } | Packet::PubRec { id: of, code } = *packet {
                (of == id).then_some(code)
            } else {
                None
            }
        };
        let code = self.answer(&what, acked).await?;
        if with.qos == 1 || code >= 0x80 {
            return Ok(code);
        }
        wire::ack(&mut self.link.out, kind::PUBREL, id);
        let completed = |packet: &Packet| {
            if let Packet::PubComp { id: of, code } = *packet {
                (of == id).then_some(code)
            } else {
                None
            }
        };
        self.answer(&what, completed).await
    }

    /// The next message whose topic contains `part`; earlier others stay.
    pub async fn message(&mut self, part: &str) -> Result<Publish, Trouble> {
        let what = format!("{} hears a message on ...{part}...", self.who);
        let deadline = Instant::now() + self.patience;
        loop {
            let found = self.inbox.iter().position(|message| message.topic.contains(part));
            if let Some(message) = found.and_then(|at| self.inbox.remove(at)) {
                return Ok(message);
            }
            self.step(&what, deadline).await?;
        }
    }

    /// The same as JSON.
    pub async fn json(&mut self, part: &str) -> Result<Value, Trouble> {
        let message = self.message(part).await?;
        Ok(serde_json::from_slice(&message.payload).unwrap_or(Value::Null))
    }

    /// What has come so far beside what was asked for; a ping's answer marks the end.
    pub async fn rest(&mut self) -> Result<Vec<Publish>, Trouble> {
        wire::ping(&mut self.link.out);
        self.answer("the answer to a ping", |packet| {
            matches!(packet, Packet::Pong).then_some(())
        })
        .await?;
        Ok(self.inbox.drain(..).collect())
    }

    /// Waits until the server ends the connection; its reason code, if it gave one.
    pub async fn ended(&mut self) -> Result<Option<u8>, Trouble> {
        let what = format!("the server ends the connection of {}", self.who);
        let deadline = Instant::now() + self.patience;
        loop {
            match self.step(&what, deadline).await {
                Ok(()) => {}
                Err(Trouble::Connection { reason, .. }) => {
                    return Ok(match reason {
                        Broken::Disconnected(code) => Some(code),
                        Broken::Refused(_) | Broken::NotNow(_) | Broken::Lost(_) => None,
                    });
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Says DISCONNECT.
    pub async fn leave(self) -> Result<(), Trouble> {
        let what = format!("{} says goodbye", self.who);
        let left = self.link.goodbye().await;
        left.map_err(|reason| Trouble::Connection { what, reason })
    }

    async fn answer<T>(
        &mut self,
        what: &str,
        mut is: impl FnMut(&Packet) -> Option<T>,
    ) -> Result<T, Trouble> {
        self.flush(what).await?;
        let deadline = Instant::now() + self.patience;
        loop {
            while let Some(packet) = self.answers.pop_front() {
                if let Some(found) = is(&packet) {
                    return Ok(found);
                }
            }
            self.step(what, deadline).await?;
        }
    }

    /// Takes one packet, and acknowledges it if it is a message.
    async fn step(&mut self, what: &str, deadline: Instant) -> Result<(), Trouble> {
        let late = || Trouble::Late {
            what: what.to_owned(),
            within: self.patience,
        };
        let packet = timeout_at(deadline, self.link.recv()).await.map_err(|_| late())?;
        let packet = packet.map_err(|reason| Trouble::Connection {
            what: what.to_owned(),
            reason,
        })?;
        if let Packet::Publish(message) = packet {
            match message.qos {
                0 => {}
                1 => wire::ack(&mut self.link.out, kind::PUBACK, message.id),
                _ => wire::ack(&mut self.link.out, kind::PUBREC, message.id),
            }
            self.inbox.push_back(message);
        } else if let Packet::PubRel { id } = packet {
            wire::ack(&mut self.link.out, kind::PUBCOMP, id);
        } else {
            self.answers.push_back(packet);
        }
        self.flush(what).await
    }

    async fn flush(&mut self, what: &str) -> Result<(), Trouble> {
        let flushed = self.link.flush().await;
        flushed.map_err(|reason| Trouble::Connection {
            what: what.to_owned(),
            reason,
        })
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}
