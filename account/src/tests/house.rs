//! An account server with a bus that ends in two followers of the test's own.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::BytesMut;
use http_body_util::BodyExt;
use irsp_courier::bus::{self, Attachment, Incoming};
use irsp_protocol::change::{Cause, Change, ChangeBatch, DirectoryPage, EntityKey};
use irsp_protocol::frame::{self, Item, Place, Question, Reply};
use irsp_protocol::{Domain, Envelope, MessageId, MessageKind, Server, Status, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::{AccountServer, Settings};

pub(super) struct House {
    pub(super) server: AccountServer,
    pub(super) followers: Arc<Followers>,
    pub(super) admin: String,
    to_server: mpsc::Sender<Incoming>,
    tasks: JoinSet<()>,
}

/// What the followers have heard, and whether they answer.
#[derive(Default)]
pub(super) struct Followers {
    heard: Mutex<Vec<(Server, Change)>>,
    longest: AtomicUsize,
    seen: Mutex<HashSet<MessageId>>,
    silent: Mutex<HashSet<Server>>,
    answer: Mutex<Option<Status>>,
    asking: Mutex<Option<oneshot::Sender<Reply>>>,
    /// What was told to other domains: from, to, data.
    abroad: Mutex<Vec<(String, String, Value)>>,
    /// What the server under test answered.
    answers: Mutex<HashMap<MessageId, Status>>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn is(self, code: u16) -> Value {
        assert_eq!(self.status.as_u16(), code, "{}", self.text);
        self.body
    }

    /// A refusal, and as a problem.
    #[track_caller]
    pub(super) fn problem(self, code: u16) -> String {
        assert_eq!(self.status.as_u16(), code, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(self.body["status"], code);
        assert!(self.body["title"].is_string());
        self.body["detail"].as_str().unwrap().to_owned()
    }
}

impl House {
    pub(super) async fn start(folder: &Path) -> House {
        House::start_with(folder, Duration::from_secs(20), Followers::default()).await
    }

    pub(super) async fn start_with(folder: &Path, effect_wait: Duration, followers: Followers) -> House {
        House::start_as(folder, followers, |settings| settings.effect_wait = effect_wait).await
    }

    pub(super) async fn start_as(
        folder: &Path,
        followers: Followers,
        set: impl FnOnce(&mut Settings),
    ) -> House {
        let (link, attachment) = bus::link();
        let to_server = attachment.incoming.clone();
        let followers = Arc::new(followers);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(attachment, followers.clone()));
        let mut settings = Settings::new(folder.to_owned(), Domain::new("home.example").unwrap());
        settings.effect_wait = Duration::from_secs(20);
        set(&mut settings);
        settings.courier.retry_min = Duration::from_millis(20);
        settings.courier.retry_max = Duration::from_millis(100);
        let server = AccountServer::start(settings, link).await.unwrap();
        let admin = House::admin_token(folder);
        House {
            server,
            followers,
            admin,
            to_server,
            tasks,
        }
    }

    pub(super) fn admin_token(folder: &Path) -> String {
        let text = std::fs::read_to_string(folder.join("admin.token")).unwrap();
        text.trim().to_owned()
    }

    pub(super) async fn stop(mut self) {
        self.server.stop().await;
        self.tasks.shutdown().await;
    }

    /// A call with any credentials, body and address.
    pub(super) async fn send(&self, request: Request<Body>, address: &str) -> Answer {
        send(&self.server, request, address).await
    }

    pub(super) async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_with(token, method, path, body, &[]).await
    }

    /// The same with further headers.
    pub(super) async fn call_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = asked(token, method, path, body, headers);
        self.send(request, "127.0.0.1:40000").await
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::GET, path, None).await
    }

    pub(super) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, Method::POST, path, Some(body)).await
    }

    pub(super) async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, Method::PATCH, path, Some(body)).await
    }

    pub(super) async fn delete(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::DELETE, path, None).await
    }

    /// Makes a user and logs in; the token.
    pub(super) async fn user(&self, id: &str) -> String {
        let new = json!({"id": id, "password": format!("password of {id}")});
        self.post(&self.admin, "/v1/users", new).await.is(201);
        self.log_in(id, &format!("password of {id}")).await.is(200)["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(super) async fn log_in(&self, id: &str, password: &str) -> Answer {
        self.post("", "/v1/login", json!({"id": id, "password": password}))
            .await
    }

    /// Tries a password from an address of its own.
    pub(super) async fn log_in_from(&self, address: &str, id: &str, password: &str) -> Answer {
        let body = json!({"id": id, "password": password});
        self.send(asked("", Method::POST, "/v1/login", Some(body), &[]), address)
            .await
    }

    /// Makes a device; its code.
    pub(super) async fn device(&self, id: &str) -> String {
        let made = self
            .post(&self.admin, "/v1/devices", json!({"id": id}))
            .await
            .is(201);
        made["code"].as_str().unwrap().to_owned()
    }

    /// Asks for a page of the directory, as a follower does.
    pub(super) async fn page(&self, after: Option<String>) -> DirectoryPage {
        let (tell, replied) = oneshot::channel();
        *self.followers.asking.lock().unwrap() = Some(tell);
        let ask = Item::Ask {
            from: Server::Message,
            token: 9,
            question: Question::Directory { after },
        };
        self.to_server.send(Incoming::Frame(framed(&ask))).await.unwrap();
        let reply = replied.await.unwrap();
        let Reply::Directory(page) = reply else {
            panic!("{reply:?}");
        };
        page
    }
}

impl House {
    /// Registers a peer.
    pub(super) async fn peer(&self, domain: &str) {
        let peer = json!({"domain": domain, "fingerprint": "b9".repeat(32)});
        self.post(&self.admin, "/v1/peers", peer).await.is(201);
    }

    /// Brings news of another domain's principal, as the message server does; the status it is answered with.
    pub(super) async fn hears_from_abroad(&self, source: &str, data: Value) -> u16 {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = MessageId::from_bytes((n as u128).to_be_bytes());
        let ends = (Server::Message, Server::Account);
        let now = Timestamp::from(std::time::SystemTime::now());
        let data = data.to_string().into_bytes().into();
        let envelope = Envelope {
            source: source.parse().unwrap(),
            ..Envelope::between_servers(id, MessageKind::Directory, ends, now, data)
        };
        let item = Item::Deliver {
            from: Server::Message,
            place: Place::default(),
            envelope,
        };
        self.to_server.send(Incoming::Frame(framed(&item))).await.unwrap();
        loop {
            if let Some(status) = self.followers.answers.lock().unwrap().get(&id) {
                return status.code();
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Followers {
    /// What was told to other domains so far: from whom, to which server, and what.
    pub(super) fn told_abroad(&self) -> Vec<(String, String, Value)> {
        self.abroad.lock().unwrap().clone()
    }

    pub(super) fn silent() -> Followers {
        let followers = Followers::default();
        followers
            .silent
            .lock()
            .unwrap()
            .extend([Server::Message, Server::App]);
        followers
    }

    pub(super) fn fall_silent(&self, server: Server) {
        self.silent.lock().unwrap().insert(server);
    }

    pub(super) fn speak(&self) {
        self.silent.lock().unwrap().clear();
    }

    pub(super) fn answer_with(&self, status: Status) {
        *self.answer.lock().unwrap() = Some(status);
    }

    /// The changes one server heard, in order of their numbers: cause and entity.
    pub(super) fn story(&self, server: Server) -> Vec<(Cause, String)> {
        let changes = self.changes(server);
        changes
            .into_iter()
            .map(|change| (change.cause, named(&change.key)))
            .collect()
    }

    pub(super) fn changes(&self, server: Server) -> Vec<Change> {
        let heard = self.heard.lock().unwrap();
        let mut changes: Vec<Change> = heard
            .iter()
            .filter(|(to, _)| *to == server)
            .map(|(_, change)| change.clone())
            .collect();
        changes.sort_by_key(|change| change.n);
        changes
    }

    /// The longest frame that any of them was sent.
    pub(super) fn longest_frame(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    fn hear(&self, to: Server, item: Item) -> Option<Item> {
        match item {
            Item::Deliver { from, envelope, .. } => {
                assert_eq!(from, Server::Account);
                if self.silent.lock().unwrap().contains(&to) {
                    return None;
                }
                let is_change = envelope.destination.domain.is_none();
                let is_new = self.seen.lock().unwrap().insert(envelope.id);
                if is_new && !is_change {
                    let (from, to) = (envelope.source.to_string(), envelope.destination.to_string());
                    let data = serde_json::from_slice(&envelope.data).unwrap();
                    self.abroad.lock().unwrap().push((from, to, data));
                }
                if is_new && is_change {
                    let batch: ChangeBatch = serde_json::from_slice(&envelope.data).unwrap();
                    self.heard
                        .lock()
                        .unwrap()
                        .extend(batch.changes.into_iter().map(|change| (to, change)));
                }
                let status = self.answer.lock().unwrap().unwrap_or(Status::DONE);
                Some(Item::Answer {
                    from: to,
                    id: envelope.id,
                    status,
                    answer: None,
                    cause: None,
                })
            }
            Item::Reply { reply, .. } => {
                if let Some(tell) = self.asking.lock().unwrap().take() {
                    tell.send(reply).unwrap();
                }
                None
            }
            // Presence and links: this one knows of none.
            Item::Ask { token, .. } => Some(Item::Reply {
                token,
                reply: Reply::Unanswered(Status::NOT_FOUND),
            }),
            Item::Answer { id, status, .. } => {
                self.answers.lock().unwrap().insert(id, status);
                None
            }
            Item::Hello { .. } => None,
        }
    }
}

/// A call of a server with any followers.
pub(super) async fn request(
    server: &AccountServer,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    send(server, asked(token, method, path, body, &[]), "127.0.0.1:40000").await
}

/// An import of NDJSON by any server.
pub(super) async fn import(server: &AccountServer, token: &str, path: &str, text: &str) -> Answer {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from(text.to_owned()))
        .unwrap();
    send(server, request, "127.0.0.1:40000").await
}

fn asked(
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&str, &str)],
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    request.body(body).unwrap()
}

async fn send(server: &AccountServer, mut request: Request<Body>, address: &str) -> Answer {
    let address: SocketAddr = address.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(address));
    let response = server.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

async fn follow(mut bus: Attachment, followers: Arc<Followers>) {
    while let Some((to, mut bytes)) = bus.outgoing.recv().await {
        followers.longest.fetch_max(bytes.len(), Ordering::Relaxed);
        while let Some(item) = frame::read(&mut bytes).unwrap() {
            if let Some(answer) = followers.hear(to, item)
                && bus.incoming.send(Incoming::Frame(framed(&answer))).await.is_err()
            {
                return;
            }
        }
    }
}

fn framed(item: &Item) -> bytes::Bytes {
    let mut bytes = BytesMut::new();
    frame::write(item, &mut bytes);
    bytes.freeze()
}

fn named(key: &EntityKey) -> String {
    match key {
        EntityKey::Principal(principal) => principal.to_string(),
        EntityKey::Binding { device, user } => format!("bind/{device}/{user}"),
        EntityKey::TokenKey(_) => "token key".to_owned(),
        EntityKey::Peer(_) | EntityKey::Grant { .. } => key.to_string(),
    }
}
