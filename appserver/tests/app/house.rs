//! A domain with an application server, and the other servers played by the test.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use irsp_appserver::{AppServer, Retention, Settings};
use irsp_courier::bus::{Incoming, link};
use irsp_directory::HashKey;
use irsp_protocol::change::{
    Answers, Application, Binding, Cause, Change, ChangeBatch, Delivery, Device, DirectoryPage, Entity,
    Rights, Role, Scope, User,
};
use irsp_protocol::frame::{self, Item, Place, Question, Reply};
use irsp_protocol::inquiry::{Finding, Inquiry, Known};
use irsp_protocol::presence::{Connectivity, Presence, Reason};
use irsp_protocol::receipt::{Answer, Ending, Receipt};
use irsp_protocol::{
    Address, Domain, Envelope, Id, MessageId, MessageKind, Principal, PushOptions, Server, Status, Timestamp,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ADMIN: &str = "Bearer admin-token";
pub(crate) const OPERATOR: &str = "Bearer operator-token";
pub(crate) const CLIMATE: &str = "Bearer climate-key";
/// Hears and pushes to lamp-1 only.
pub(crate) const NARROW: &str = "Bearer narrow-key";
/// Owns lamp-1.
pub(crate) const ANN: &str = "Bearer ann-token";
/// Shares lamp-1.
pub(crate) const BOB: &str = "Bearer bob-token";

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(crate) fn domain() -> Domain {
    Domain::new("home.example").unwrap()
}

pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// What the played message server does with a push.
#[derive(Clone, Default)]
pub(crate) enum Custody {
    /// Says 202 and keeps it.
    #[default]
    Taken,
    /// Ends it at once.
    Refused(Status),
    /// Says 202, then tells the end.
    Ended(Status, Option<Answer>),
    /// Does not answer.
    Away,
}

/// What the played servers say.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) custody: Custody,
    pub(crate) receipts: Vec<Receipt>,
    /// `None` does not answer questions about receipts.
    pub(crate) knows_receipts: bool,
    pub(crate) presence: Vec<Presence>,
    pub(crate) directory: Option<DirectoryPage>,
}

pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) script: Arc<Mutex<Script>>,
    server: Option<AppServer>,
    router: Router,
    to_app: mpsc::Sender<Incoming>,
    pub(crate) answers: mpsc::UnboundedReceiver<(MessageId, Status)>,
    pub(crate) pushes: mpsc::UnboundedReceiver<Envelope>,
    neighbours: JoinSet<()>,
    changes: u64,
    settings: Settings,
}

impl House {
    /// A domain with an admin, an operator, two users, two devices and two applications.
    pub(crate) async fn open() -> House {
        let mut house = House::empty(|_| {});
        house.furnish().await;
        house
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Settings)) -> House {
        let mut house = House::empty(change);
        house.furnish().await;
        house
    }

    /// Nobody is known yet.
    pub(crate) fn empty(change: impl FnOnce(&mut Settings)) -> House {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path().to_owned(), domain());
        settings.catch_up_retry = Duration::from_millis(50);
        settings.push.custody_wait = Duration::from_secs(2);
        change(&mut settings);
        let script = Arc::new(Mutex::new(Script {
            knows_receipts: true,
            ..Script::default()
        }));
        let (to_app, answers, pushes, neighbours, server) = start(&settings, &script);
        House {
            folder,
            script,
            router: server.router(),
            server: Some(server),
            to_app,
            answers,
            pushes,
            neighbours,
            changes: 0,
            settings,
        }
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.restart_into(|_| {}).await;
    }

    /// The same, with neighbours that have changed while the server was stopped.
    pub(crate) async fn restart_into(&mut self, change: impl FnOnce(&mut Script)) {
        self.server.take().unwrap().stop().await;
        self.neighbours.shutdown().await;
        self.script(change);
        let (to_app, answers, pushes, neighbours, server) = start(&self.settings, &self.script);
        self.router = server.router();
        self.server = Some(server);
        self.to_app = to_app;
        self.answers = answers;
        self.pushes = pushes;
        self.neighbours = neighbours;
    }

    pub(crate) async fn stop(mut self) {
        timeout(PATIENCE, self.server.take().unwrap().stop())
            .await
            .unwrap();
    }

    /// Changes the retention that the next start is given.
    pub(crate) fn keep(&mut self, change: impl FnOnce(&mut Retention)) {
        change(&mut self.settings.uploads);
    }

    /// Waits for what comes about in its own time.
    pub(crate) async fn until(&self, come: impl AsyncFn(&House) -> bool) {
        let waiting = async {
            while !come(self).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it comes about");
    }

    pub(crate) fn server(&self) -> &AppServer {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn key(&self) -> HashKey {
        HashKey::read_or_make(&self.folder.path().join("hash.key")).unwrap()
    }

    pub(crate) fn furniture(&self) -> Vec<Entity> {
        let key = self.key();
        let user = |name: &str, role| {
            Entity::User(User {
                id: id(name),
                role,
                disabled: false,
                tokens_from: Timestamp::default(),
                tokens: vec![key.hash(format!("{name}-token").as_bytes())],
                ended_logins: Vec::new(),
            })
        };
        let device = |name: &str| {
            Entity::Device(Device {
                id: id(name),
                codes: Vec::new(),
                certificates: Vec::new(),
                answers: Answers::Ack,
                disabled: false,
                generation: 1,
            })
        };
        let app = |name: &str, scope: Scope| {
            Entity::Application(Application {
                id: id(name),
                keys: vec![key.hash(format!("{name}-key").as_bytes())],
                hears: scope.clone(),
                pushes: scope.clone(),
                messages: scope,
                delivery: Delivery::Hosted,
                answers: Answers::Ack,
                retention: irsp_protocol::change::Retention::default(),
                disabled: false,
                generation: 1,
            })
        };
        let binding = |user: &str, owner| {
            Entity::Binding(Binding {
                device: id("lamp-1"),
                user: id(user),
                owner,
                rights: Rights::default(),
            })
        };
        vec![
            user("admin", Role::Admin),
            user("operator", Role::Operator),
            user("ann", Role::User),
            user("bob", Role::User),
            device("lamp-1"),
            device("lamp-2"),
            app("climate", Scope::Everyone),
            app(
                "narrow",
                Scope::Only(vec![Principal::device(id("lamp-1")).into()]),
            ),
            binding("ann", true),
            binding("bob", false),
        ]
    }

    async fn furnish(&mut self) {
        for entity in self.furniture() {
            self.change(Cause::Register, entity.key(), Some(entity)).await;
        }
    }

    /// An account change, in force when this returns.
    pub(crate) async fn change(
        &mut self,
        cause: Cause,
        key: irsp_protocol::change::EntityKey,
        entity: Option<Entity>,
    ) {
        self.changes += 1;
        let change = Change {
            n: self.changes,
            cause,
            key,
            entity,
        };
        let batch = serde_json::to_vec(&ChangeBatch {
            changes: vec![change],
        })
        .unwrap();
        let envelope = from_server(Server::Account, MessageKind::Directory, batch);
        assert_eq!(self.deliver(Server::Account, envelope).await, Status::DONE);
    }

    /// Delivers an envelope over the bus and waits for its status.
    pub(crate) async fn deliver(&mut self, from: Server, envelope: Envelope) -> Status {
        let id = envelope.id;
        self.send(from, envelope).await;
        self.answer_to(id).await
    }

    pub(crate) async fn send(&self, from: Server, envelope: Envelope) {
        let place = Place::default();
        self.say(Item::Deliver {
            from,
            place,
            envelope,
        })
        .await;
    }

    pub(crate) async fn answer_to(&mut self, id: MessageId) -> Status {
        loop {
            let (answered, status) = timeout(PATIENCE, self.answers.recv()).await.unwrap().unwrap();
            if answered == id {
                return status;
            }
        }
    }

    async fn say(&self, item: Item) {
        say(&self.to_app, &item).await;
    }

    pub(crate) async fn upload(&mut self, channel: &str, data: &[u8]) -> Status {
        let envelope = upload("dev/lamp-1", "app/climate", channel, data);
        self.deliver(Server::Message, envelope).await
    }

    pub(crate) async fn presence(
        &mut self,
        principal: &str,
        epoch: u64,
        seq: u64,
        state: Connectivity,
    ) -> Status {
        let data = serde_json::to_vec(&presence(principal, epoch, seq, state)).unwrap();
        let envelope = from_server(Server::Message, MessageKind::Presence, data);
        self.deliver(Server::Message, envelope).await
    }

    pub(crate) async fn get(&self, caller: &str, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path)
            .header("authorization", caller)
            .body(Body::empty())
            .unwrap();
        let (code, _, body) = self.call(request).await;
        (code, body)
    }

    /// The body as it is, and its media type.
    pub(crate) async fn text(&self, caller: &str, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path)
            .header("authorization", caller)
            .body(Body::empty())
            .unwrap();
        let response = self.server().router().oneshot(request).await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let code = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, kind, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(crate) async fn push(&self, caller: &str, json: Value) -> (StatusCode, HeaderMap, Value) {
        self.push_raw(caller, json.to_string()).await
    }

    pub(crate) async fn push_raw(
        &self,
        caller: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, HeaderMap, Value) {
        let request = Request::post("/v1/push")
            .header("authorization", caller)
            .body(body.into())
            .unwrap();
        self.call(request).await
    }

    /// A whole answer. Whatever is refused is refused as a problem document with the same code.
    pub(crate) async fn call(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = timeout(PATIENCE, body.collect())
            .await
            .unwrap()
            .unwrap()
            .to_bytes();
        let body: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{} with {:?}", parts.status, String::from_utf8_lossy(&bytes)));
        if parts.status.as_u16() >= 400 {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], parts.status.as_u16(), "{body}");
            assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        }
        (parts.status, parts.headers, body)
    }

    pub(crate) async fn listen(&self, caller: &str, path: &str, last_event_id: Option<&str>) -> Stream {
        let mut request = Request::get(path).header("authorization", caller);
        if let Some(last) = last_event_id {
            request = request.header("last-event-id", last);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Stream {
            body: response.into_body(),
            text: String::new(),
        };
        assert_eq!(stream.block().await.unwrap(), ": open");
        stream
    }
}

/// An open server-sent event stream.
pub(crate) struct Stream {
    body: Body,
    text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Stream {
    /// The next event; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                    .unwrap_or_default()
            };
            return Some(Event {
                id: field("id").parse().unwrap(),
                name: field("event").to_owned(),
                data: serde_json::from_str(field("data")).unwrap(),
            });
        }
    }

    /// The next event or comment.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("the stream says something")?
                .unwrap();
            self.text
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

type Started = (
    mpsc::Sender<Incoming>,
    mpsc::UnboundedReceiver<(MessageId, Status)>,
    mpsc::UnboundedReceiver<Envelope>,
    JoinSet<()>,
    AppServer,
);

fn start(settings: &Settings, script: &Arc<Mutex<Script>>) -> Started {
    let (link, attachment) = link();
    let server = AppServer::start(settings.clone(), link).unwrap();
    let (answers, heard_answers) = mpsc::unbounded_channel();
    let (pushes, heard_pushes) = mpsc::unbounded_channel();
    let to_app = attachment.incoming.clone();
    let mut from_app = attachment.outgoing;
    let mut neighbours = JoinSet::new();
    let (script, to) = (script.clone(), to_app.clone());
    neighbours.spawn(async move {
        while let Some((server, mut frame)) = from_app.recv().await {
            while let Some(item) = frame::read(&mut frame).unwrap() {
                if let Item::Answer { id, status, .. } = &item {
                    let _ = answers.send((*id, *status));
                }
                if let Item::Deliver { envelope, .. } = &item {
                    let _ = pushes.send(envelope.clone());
                }
                for reply in play(server, item, &script) {
                    say(&to, &reply).await;
                }
            }
        }
    });
    (to_app, heard_answers, heard_pushes, neighbours, server)
}

/// What the other server says to this.
fn play(server: Server, item: Item, script: &Mutex<Script>) -> Vec<Item> {
    let script = script.lock().unwrap_or_else(PoisonError::into_inner);
    match item {
        Item::Deliver { envelope, .. } => {
            let answer = |status| Item::Answer {
                from: server,
                id: envelope.id,
                status,
                answer: None,
                cause: None,
            };
            match &script.custody {
                Custody::Taken => vec![answer(Status::QUEUED)],
                Custody::Refused(status) => vec![answer(*status)],
                Custody::Ended(status, given) => {
                    let ending = Ending {
                        message: envelope.id,
                        status: *status,
                        at: now(),
                        answer: given.clone(),
                        cause: None,
                    };
                    let data = serde_json::to_vec(&ending).unwrap();
                    let told = from_server(server, MessageKind::Status, data);
                    vec![
                        answer(Status::QUEUED),
                        Item::Deliver {
                            from: server,
                            place: Place::default(),
                            envelope: told,
                        },
                    ]
                }
                Custody::Away => Vec::new(),
            }
        }
        Item::Ask { token, question, .. } => {
            let reply = match question {
                Question::Courier(_) if !script.knows_receipts => return Vec::new(),
                Question::Courier(inquiry) => Reply::Courier(look_up(server, inquiry, &script)),
                Question::Directory { .. } => match &script.directory {
                    Some(page) => Reply::Directory(page.clone()),
                    None => return Vec::new(),
                },
                Question::Peers => return Vec::new(),
                Question::Presence { .. } => Reply::Presence {
                    page: script.presence.clone(),
                    next: None,
                },
            };
            vec![Item::Reply { token, reply }]
        }
        Item::Hello { .. } | Item::Answer { .. } | Item::Reply { .. } => Vec::new(),
    }
}

/// What the courier of a played server says.
fn look_up(server: Server, inquiry: Inquiry, script: &Script) -> Finding {
    let receipts: &[Receipt] = match server {
        Server::Message => &script.receipts,
        Server::Account | Server::App => &[],
    };
    let Inquiry::Messages { ids } = inquiry else {
        panic!("the played {server} server does not answer {inquiry:?}");
    };
    let known = ids.into_iter().map(|id| Known {
        id,
        receipt: receipts.iter().find(|receipt| receipt.id == id).cloned(),
        received: None,
    });
    Finding::Messages(known.collect())
}

async fn say(to: &mpsc::Sender<Incoming>, item: &Item) {
    let mut frame = BytesMut::new();
    frame::write(item, &mut frame);
    // The server may have stopped: then nobody hears it, as on a real bus.
    let _ = to.send(Incoming::Frame(frame.freeze())).await;
}

pub(crate) fn new_id() -> MessageId {
    MessageId::from_uuid(uuid::Uuid::now_v7())
}

pub(crate) fn upload(from: &str, to: &str, channel: &str, data: &[u8]) -> Envelope {
    let now = now();
    Envelope {
        id: new_id(),
        kind: MessageKind::Upload,
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        channel: Some(channel.to_owned().try_into().unwrap()),
        time: now,
        expires: now.plus(Duration::from_secs(3600)),
        sender_id: None,
        content_type: None,
        options: PushOptions::default(),
        attributes: Vec::new(),
        data: Bytes::copy_from_slice(data),
    }
}

pub(crate) fn from_server(server: Server, kind: MessageKind, data: Vec<u8>) -> Envelope {
    let mut envelope = upload("dev/lamp-1", "app/climate", "x", b"");
    envelope.kind = kind;
    envelope.source = Address::local(Principal::server(server));
    envelope.destination = Address::local(Principal::server(Server::App));
    envelope.channel = None;
    envelope.data = data.into();
    envelope
}

pub(crate) fn presence(principal: &str, epoch: u64, seq: u64, state: Connectivity) -> Presence {
    let reason = if state == Connectivity::Online {
        Reason::Connected
    } else {
        Reason::ConnectionLost
    };
    Presence {
        principal: principal.parse().unwrap(),
        epoch,
        seq,
        state,
        since: now(),
        reason,
    }
}
