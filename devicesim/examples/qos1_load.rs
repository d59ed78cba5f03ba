//! Durable QoS 1 publishes against any MQTT 3.1.1 server, in a closed loop: every connection keeps a window of
//! publishes under way, and one is over when its PUBACK has come *and* it was heard again at QoS 1 (and acknowledged):
//! on the device's status topic of our platform, or by a persistent session elsewhere. One thread and no MQTT library,
//! so that the generator costs a server under test as little as possible.
//!
//! `tests/measure/durable` runs it against us and others. `--pid` adds what the server's process has used meanwhile.
#![allow(clippy::print_stdout, reason = "its figures are its output")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// Bytes read at once.
const READ_MAX: usize = 16 << 10;

#[derive(Clone, Debug, Parser)]
struct Options {
    /// host:port
    #[arg(long, default_value = "127.0.0.1:1883")]
    server: String,
    /// Credentials, one `client_id,username,password` a line; without it clients name themselves and log in without
    #[arg(long)]
    creds: Option<PathBuf>,
    #[arg(long, default_value_t = 200)]
    devices: usize,
    /// Publishes of one device under way
    #[arg(long, default_value_t = 32)]
    window: u16,
    #[arg(long, default_value_t = 200)]
    payload: usize,
    /// Seconds before measuring
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Seconds measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where a publish is heard again
    #[arg(long, value_enum, default_value = "status")]
    hear: Hear,
    /// Persistent sessions that share the devices among them, for `--hear sessions`
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// The server's process; its children count with it
    #[arg(long)]
    pid: Option<u32>,
    /// Part of the client ids, so that a run meets no session of another
    #[arg(long, default_value = "load")]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hear {
    /// The device hears the status of its upload.
    Status,
    /// Each device's own persistent session hears its publishes.
    Own,
    /// Some persistent sessions hear the publishes of all.
    Sessions,
    /// Nobody: PUBACK alone.
    Nobody,
}

struct Books {
    begin: Instant,
    end: Instant,
    acknowledged: u64,
    over: u64,
    /// Over, in the warm-up too.
    over_in_all: u64,
    puback_us: Histogram<u64>,
    heard_us: Histogram<u64>,
}

type Shared = Rc<RefCell<Books>>;

impl Books {
    fn measures(&self, now: Instant) -> bool {
        (self.begin..self.end).contains(&now)
    }
}

/// One device's publishes under way.
struct Flight {
    /// By packet id - 1.
    sent: Vec<Option<Instant>>,
    free: Vec<u16>,
    /// Published and not heard, oldest first.
    unheard: VecDeque<Instant>,
    hears: bool,
    window: usize,
}

impl Flight {
    fn new(window: u16, hears: bool) -> Flight {
        Flight {
            sent: vec![None; usize::from(window)],
            free: (1..=window).rev().collect(),
            unheard: VecDeque::new(),
            hears,
            window: usize::from(window),
        }
    }

    fn next(&mut self, now: Instant) -> Option<u16> {
        if self.hears && self.unheard.len() >= self.window {
            return None;
        }
        let id = self.free.pop()?;
        self.sent[usize::from(id) - 1] = Some(now);
        if self.hears {
            self.unheard.push_back(now);
        }
        Some(id)
    }

    fn acknowledged(&mut self, id: u16, now: Instant, books: &mut Books) -> anyhow::Result<()> {
        let slot = self
            .sent
            .get_mut(usize::from(id).wrapping_sub(1))
            .and_then(Option::take);
        let sent = slot.with_context(|| format!("PUBACK of {id}, which is not under way"))?;
        self.free.push(id);
        books.over_in_all += u64::from(!self.hears);
        if books.measures(now) {
            books.acknowledged += 1;
            books.puback_us.record(micros(now - sent))?;
            if !self.hears {
                books.over += 1;
            }
        }
        Ok(())
    }

    fn heard(&mut self, now: Instant, books: &mut Books) -> anyhow::Result<()> {
        let sent = self.unheard.pop_front().context("heard what was not published")?;
        books.over_in_all += 1;
        if books.measures(now) {
            books.over += 1;
            books.heard_us.record(micros(now - sent))?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

struct Login {
    client_id: String,
    username: Option<String>,
    password: Option<String>,
}

/// A packet as far as the load needs it.
enum Packet {
    PubAck(u16),
    /// The device's number, if the topic names it; and the packet id at QoS 1.
    Publish {
        device: usize,
        id: Option<u16>,
    },
    Other,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut rest = body.len();
    loop {
        let byte = (rest & 0x7F) as u8;
        rest >>= 7;
        out.push(if rest == 0 { byte } else { byte | 0x80 });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn connect(login: &Login) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    let named = u8::from(login.username.is_some()) * 0x80 + u8::from(login.password.is_some()) * 0x40;
    // 3.1.1, clean session 0: the session is persistent.
    body.extend_from_slice(&[4, named, 0, 60]);
    text(&mut body, &login.client_id);
    for part in [&login.username, &login.password].into_iter().flatten() {
        text(&mut body, part);
    }
    let mut out = Vec::new();
    packet(&mut out, 0x10, &body);
    out
}

/// Takes the next whole packet off the input: its first byte and its body.
fn take(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut len, mut at) = (0usize, 1);
    loop {
        let byte = *input.get(at)?;
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = input.get(at..at + len)?;
    Some((input[0], body, at + len))
}

fn understand(first: u8, body: &[u8]) -> anyhow::Result<Packet> {
    match first >> 4 {
        4 => Ok(Packet::PubAck(u16::from_be_bytes([body[0], body[1]]))),
        3 => {
            let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
            // load/{session}/{device}: ours has one device per connection and needs no number.
            let digits = body[2..2 + len]
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap_or_default();
            let device = digits.iter().fold(0, |n: usize, digit| {
                n.wrapping_mul(10)
                    .wrapping_add(usize::from(digit.wrapping_sub(b'0')))
            });
            let id = (first & 0b110 != 0).then(|| u16::from_be_bytes([body[2 + len], body[3 + len]]));
            Ok(Packet::Publish { device, id })
        }
        14 => bail!("the server disconnects"),
        _ => Ok(Packet::Other),
    }
}

/// A connection after CONNACK and, if it asked, SUBACK.
async fn open(server: &str, login: &Login, filter: Option<&str>) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&connect(login)).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    ensure!(
        connack[0] == 0x20 && connack[3] == 0,
        "CONNACK {connack:?} for {}",
        login.client_id
    );
    if let Some(filter) = filter {
        let mut body = vec![0, 1];
        text(&mut body, filter);
        body.push(1);
        let mut out = Vec::new();
        packet(&mut out, 0x82, &body);
        stream.write_all(&out).await?;
        let mut suback = [0; 5];
        stream.read_exact(&mut suback).await?;
        ensure!(
            suback[0] == 0x90 && suback[4] <= 1,
            "SUBACK {suback:?} for {filter}"
        );
    }
    Ok(stream)
}

/// Reads until the end of the run; `on` is given each packet, `out` is written after each read.
async fn converse(
    stream: &mut TcpStream,
    until: Instant,
    freed: &Notify,
    out: &mut Vec<u8>,
    mut on: impl FnMut(Option<Packet>, &mut Vec<u8>, Instant) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut input, mut chunk) = (Vec::new(), vec![0; READ_MAX]);
    while Instant::now() < until {
        if !out.is_empty() {
            stream.write_all(out).await?;
            out.clear();
        }
        let count = tokio::select! {
            count = stream.read(&mut chunk) => count?,
            () = freed.notified() => {
                on(None, out, Instant::now())?;
                continue;
            }
            () = tokio::time::sleep_until(until.into()) => return Ok(()),
        };
        ensure!(count > 0, "the server has closed");
        input.extend_from_slice(&chunk[..count]);
        let (mut at, now) = (0, Instant::now());
        while let Some((first, body, len)) = take(&input[at..]) {
            let packet = understand(first, body)?;
            if let Packet::Publish { id: Some(id), .. } = packet {
                out.extend_from_slice(&[0x40, 2]);
                out.extend_from_slice(&id.to_be_bytes());
            }
            on(Some(packet), out, now)?;
            at += len;
        }
        input.drain(..at);
        on(None, out, now)?;
    }
    Ok(())
}

struct Device {
    stream: TcpStream,
    topic: String,
    payload: Vec<u8>,
    flight: Rc<RefCell<Flight>>,
    /// Publishes are heard on this connection.
    hears_here: bool,
    /// Another connection has heard a publish.
    freed: Rc<Notify>,
}

impl Device {
    async fn run(mut self, books: Shared, until: Instant) -> anyhow::Result<()> {
        let mut body = Vec::new();
        let mut fill = |out: &mut Vec<u8>, now: Instant| {
            while let Some(id) = self.flight.borrow_mut().next(now) {
                body.clear();
                text(&mut body, &self.topic);
                body.extend_from_slice(&id.to_be_bytes());
                body.extend_from_slice(&self.payload);
                packet(out, 0x32, &body);
            }
        };
        let mut out = Vec::new();
        fill(&mut out, Instant::now());
        converse(
            &mut self.stream,
            until,
            &self.freed,
            &mut out,
            |packet, out, now| {
                match packet {
                    Some(Packet::PubAck(id)) => {
                        self.flight
                            .borrow_mut()
                            .acknowledged(id, now, &mut books.borrow_mut())?;
                    }
                    Some(Packet::Publish { .. }) if self.hears_here => {
                        self.flight.borrow_mut().heard(now, &mut books.borrow_mut())?;
                    }
                    Some(Packet::Publish { .. } | Packet::Other) => {}
                    None => fill(out, now),
                }
                Ok(())
            },
        )
        .await
    }
}

/// What a process and its children have used: CPU seconds, bytes written to the disk, resident bytes.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu_s: f64,
    written: u64,
    resident: u64,
    switches: u64,
}

fn used(pid: u32) -> Used {
    let mut used = Used::default();
    let mut all = vec![pid];
    while let Some(pid) = all.pop() {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let number = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        used.cpu_s += (number(11) + number(12)) / 100.0;
        let field = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(0)
        };
        used.written += field(&read("io"), "write_bytes:");
        used.resident += field(&read("status"), "VmRSS:") * 1024;
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for thread in threads {
            let file = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            used.switches += field(&file("status"), "voluntary_ctxt_switches:");
            all.extend(
                file("children")
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    used
}

fn logins(options: &Options) -> anyhow::Result<Vec<Login>> {
    let Some(path) = &options.creds else {
        let named = |n| Login {
            client_id: format!("{}-{n}", options.name),
            username: None,
            password: None,
        };
        return Ok((0..options.devices).map(named).collect());
    };
    let file = std::fs::read_to_string(path)?;
    let logins: Vec<Login> = file
        .lines()
        .take(options.devices)
        .filter_map(|line| {
            let mut parts = line.split(',').map(str::to_owned);
            Some(Login {
                client_id: parts.next()?,
                username: parts.next(),
                password: parts.next(),
            })
        })
        .collect();
    ensure!(
        logins.len() == options.devices,
        "{} has {} devices",
        path.display(),
        logins.len()
    );
    Ok(logins)
}

async fn run(options: Options) -> anyhow::Result<serde_json::Value> {
    let mut devices = Vec::new();
    for (n, login) in logins(&options)?.into_iter().enumerate() {
        let who = login.username.clone().unwrap_or_default();
        let (topic, filter) = match options.hear {
            Hear::Status => (format!("v1/{who}/up/climate/t"), Some(format!("v1/{who}/status"))),
            Hear::Own => (format!("load/0/{n}"), Some(format!("load/0/{n}"))),
            Hear::Sessions => (format!("load/{}/{n}", n % options.sessions), None),
            Hear::Nobody => (format!("v1/{who}/up/climate/t"), None),
        };
        devices.push((login, topic, filter));
    }
    let mut opened = Vec::new();
    for (login, topic, filter) in devices {
        opened.push(Device {
            stream: open(&options.server, &login, filter.as_deref()).await?,
            topic,
            payload: vec![b'x'; options.payload],
            flight: Rc::new(RefCell::new(Flight::new(
                options.window,
                options.hear != Hear::Nobody,
            ))),
            hears_here: filter.is_some(),
            freed: Rc::default(),
        });
    }
    let begin = Instant::now() + Duration::from_secs(options.warm_up);
    let end = begin + Duration::from_secs(options.seconds);
    let books = Rc::new(RefCell::new(Books {
        begin,
        end,
        acknowledged: 0,
        over: 0,
        over_in_all: 0,
        puback_us: Histogram::new(3)?,
        heard_us: Histogram::new(3)?,
    }));
    let mut tasks = tokio::task::JoinSet::new();
    if options.hear == Hear::Sessions {
        let flights = opened
            .iter()
            .map(|device| (Rc::clone(&device.flight), Rc::clone(&device.freed)));
        let flights: Rc<Vec<_>> = Rc::new(flights.collect());
        for session in 0..options.sessions {
            let login = Login {
                client_id: format!("{}-session-{session}", options.name),
                username: None,
                password: None,
            };
            let mut stream = open(&options.server, &login, Some(&format!("load/{session}/#"))).await?;
            let (books, flights) = (Rc::clone(&books), Rc::clone(&flights));
            tasks.spawn_local(async move {
                converse(
                    &mut stream,
                    end,
                    &Notify::new(),
                    &mut Vec::new(),
                    |packet, _, now| match packet {
                        Some(Packet::Publish { device, .. }) => {
                            let (flight, freed) = flights.get(device).context("a publish of nobody")?;
                            freed.notify_one();
                            flight.borrow_mut().heard(now, &mut books.borrow_mut())
                        }
                        _ => Ok(()),
                    },
                )
                .await
            });
        }
    }
    for device in opened {
        tasks.spawn_local(device.run(Rc::clone(&books), end));
    }
    let sample = || options.pid.map(used).unwrap_or_default();
    tokio::time::sleep_until(begin.into()).await;
    let before = sample();
    tokio::time::sleep_until(end.into()).await;
    let after = sample();
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    let books = books.borrow();
    let per = |used: f64| used / books.over.max(1) as f64;
    let percentiles = |of: &Histogram<u64>| {
        let ms = |q| of.value_at_quantile(q) as f64 / 1000.0;
        json!({ "p50": ms(0.5), "p99": ms(0.99), "max": of.max() as f64 / 1000.0 })
    };
    Ok(json!({
        "per_second": books.over as f64 / options.seconds as f64,
        "over_in_all": books.over_in_all,
        "acknowledged_per_second": books.acknowledged as f64 / options.seconds as f64,
        "puback_ms": percentiles(&books.puback_us),
        "heard_ms": percentiles(&books.heard_us),
        "server_cpu_us_per_message": per((after.cpu_s - before.cpu_s) * 1e6),
        "server_written_bytes_per_message": per((after.written - before.written) as f64),
        "server_waits_per_message": per((after.switches.saturating_sub(before.switches)) as f64),
        "server_resident_mb": after.resident as f64 / 1e6,
        "generator_cpu_us_per_message": per(used(std::process::id()).cpu_s * 1e6),
    }))
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = LocalSet::new().block_on(&runtime, run(options))?;
    println!("{report:#}");
    Ok(())
}
