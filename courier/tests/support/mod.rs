//! Two or three couriers, each with a small server of its own, on a bus that may lose, repeat and reorder frames.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use irsp_courier::bus::{self, Attachment, Incoming};
use irsp_courier::store::{Migration, Store, StoreError, Tx};
use irsp_courier::{
    AcceptSink, Accepted, Courier, Ended, Hop, Ledger, Received, ReplyFuture, Role, Settings,
};
use irsp_protocol::frame::{self, Item, Place, Question, Reply};
use irsp_protocol::receipt::Ending;
use irsp_protocol::{
    Address, Domain, Envelope, MessageId, MessageKind, Principal, PushOptions, Server, Status, Timestamp,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const MINUTE: Duration = Duration::from_secs(60);

pub static TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE effect (n INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL) STRICT;",
}];

/// A server that counts effects, forwards pushes to their destination and records what it hears.
pub struct Shop {
    pub delivered: mpsc::UnboundedSender<(Principal, Arc<Envelope>)>,
    pub ended: mpsc::UnboundedSender<Ended>,
    pub refuse: Mutex<Option<StoreError>>,
    /// What presences say; given out one by one, the last again and again.
    pub epochs: Mutex<Vec<Result<u64, Status>>>,
}

impl Role for Shop {
    fn receive(&self, tx: &mut Tx<'_>, _from: Server, envelope: &Envelope) -> Result<Received, StoreError> {
        if envelope.kind == MessageKind::Push {
            let forward = Received::Forward(Hop::Principal(envelope.destination.principal.clone()));
            return self.refuse.lock().unwrap().take().map_or(Ok(forward), Err);
        }
        tx.sql()
            .prepare_cached("INSERT INTO effect (id, data) VALUES (?1, ?2)")?
            .execute((&envelope.id.as_bytes()[..], &envelope.data[..]))?;
        if let Some(error) = self.refuse.lock().unwrap().take() {
            return Err(error);
        }
        Ok(Received::Ended(Status::DONE))
    }
    fn receive_from_peer(
        &self,
        tx: &mut Tx<'_>,
        _peer: &Domain,
        envelope: &Envelope,
    ) -> Result<Received, StoreError> {
        self.receive(tx, Server::Message, envelope)
    }
    fn received(&self, _envelope: Envelope, _outcome: &Received) {}
    fn deliver(&self, to: &Principal, envelopes: Vec<Arc<Envelope>>) {
        for envelope in envelopes {
            let _ = self.delivered.send((to.clone(), envelope));
        }
    }
    fn epoch(&self, _tx: &Tx<'_>, _of: &Principal) -> Result<Option<u64>, StoreError> {
        let mut epochs = self.epochs.lock().unwrap();
        let next = if epochs.len() > 1 {
            Some(epochs.remove(0))
        } else {
            epochs.first().copied()
        };
        next.transpose()
            .map_err(|status| StoreError::refused(status, "not known just now"))
    }
    fn ended(&self, ended: Ended) {
        let _ = self.ended.send(ended);
    }
    fn answer(&self, _question: Question) -> ReplyFuture<'_> {
        Box::pin(std::future::ready(Reply::Unanswered(Status::NOT_FOUND)))
    }
}

/// One courier at work.
pub struct House {
    pub courier: Courier,
    pub shop: Arc<Shop>,
    pub delivered: mpsc::UnboundedReceiver<(Principal, Arc<Envelope>)>,
    pub ended: mpsc::UnboundedReceiver<Ended>,
    pub path: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl House {
    pub fn open(server: Server, folder: &Path, settings: Settings) -> (House, Attachment) {
        House::of("home.example", server, folder, settings)
    }

    pub fn of(domain: &str, server: Server, folder: &Path, settings: Settings) -> (House, Attachment) {
        let path = folder.join(format!("{server}.db"));
        let store = Store::open(&path, TABLES).unwrap();
        let (link, attachment) = bus::link();
        let (delivered_in, delivered) = mpsc::unbounded_channel();
        let (ended_in, ended) = mpsc::unbounded_channel();
        let shop = Arc::new(Shop {
            delivered: delivered_in,
            ended: ended_in,
            refuse: Mutex::new(None),
            epochs: Mutex::default(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let courier = Courier::start(
            server,
            Domain::new(domain).unwrap(),
            store,
            link,
            Arc::clone(&shop) as Arc<dyn Role>,
            settings,
            stop.clone(),
            &tasks,
        )
        .unwrap();
        let house = House {
            courier,
            shop,
            delivered,
            ended,
            path,
            stop,
            tasks,
        };
        (house, attachment)
    }

    /// Takes everything away without a goodbye.
    pub async fn crash(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub async fn effects(&self) -> Vec<Bytes> {
        let read = self.courier.store().read(|sql| {
            let mut rows = sql.prepare("SELECT data FROM effect ORDER BY n")?;
            let data = rows.query_map([], |row| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?)))?;
            Ok(data.collect::<Result<Vec<_>, _>>()?)
        });
        read.await.unwrap()
    }

    pub async fn accept(&self, envelope: Envelope, hop: Hop) -> Result<Accepted, Status> {
        accept(&self.courier, envelope, hop).await
    }

    pub async fn ledger(&self) -> Ledger {
        self.courier.ledger().await.unwrap()
    }

    pub fn envelope(&self, kind: MessageKind, to: &str, data: &[u8]) -> Envelope {
        Envelope {
            id: self.courier.new_id(),
            kind,
            source: "dev/lamp-1".parse().unwrap(),
            destination: to.parse().unwrap(),
            channel: None,
            time: self.courier.now(),
            expires: self.courier.now().plus(10 * MINUTE),
            sender_id: None,
            content_type: None,
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::copy_from_slice(data),
        }
    }
}

/// A sink for one.
#[derive(Default)]
pub struct Once(Mutex<Option<oneshot::Sender<Result<Accepted, Status>>>>);

impl Once {
    pub fn new() -> (Arc<Once>, oneshot::Receiver<Result<Accepted, Status>>) {
        let (tell, told) = oneshot::channel();
        (Arc::new(Once(Mutex::new(Some(tell)))), told)
    }
}

impl AcceptSink for Once {
    fn settled(&self, _token: u64, result: Result<Accepted, Status>) {
        let _ = self.0.lock().unwrap().take().unwrap().send(result);
    }
}

pub async fn accept(courier: &Courier, envelope: Envelope, hop: Hop) -> Result<Accepted, Status> {
    let (sink, told) = Once::new();
    courier.accept(envelope, hop, sink, 0);
    told.await.unwrap()
}

/// How the bus treats frames, in percent.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub seed: u64,
    pub lost: u64,
    pub repeated: u64,
    pub late: u64,
}

/// Joins attachments; frames that come late are given out after later ones.
pub fn join(attachments: Vec<(Server, Attachment)>, faults: Faults, tasks: &TaskTracker) {
    let (frames, mut sent) = mpsc::channel(64);
    let mut inlets = BTreeMap::new();
    for (server, mut attachment) in attachments {
        inlets.insert(server, attachment.incoming);
        let frames = frames.clone();
        tasks.spawn(async move {
            while let Some(frame) = attachment.outgoing.recv().await {
                if frames.send(frame).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(frames);
    tasks.spawn(async move {
        let mut random = faults.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut chance = move |percent: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 100 < percent
        };
        let mut late: Vec<(Server, Bytes)> = Vec::new();
        while let Some((to, frame)) = sent.recv().await {
            if chance(faults.lost) {
                continue;
            }
            if chance(faults.late) {
                late.push((to, frame));
                continue;
            }
            let copies = 1 + usize::from(chance(faults.repeated));
            let mut out = vec![(to, frame); copies];
            if chance(50) {
                out.append(&mut late);
            }
            for (to, frame) in out {
                if let Some(inlet) = inlets.get(&to) {
                    // A house that has crashed hears nothing.
                    let _ = inlet.send(Incoming::Frame(frame)).await;
                }
            }
        }
    });
}

/// The next envelope a courier sends, where the test itself is its bus.
pub async fn delivered(bus: &mut Attachment) -> MessageId {
    loop {
        let (_, mut frame) = tokio::time::timeout(MINUTE, bus.outgoing.recv())
            .await
            .unwrap()
            .unwrap();
        while let Some(item) = frame::read(&mut frame).unwrap() {
            if let Item::Deliver { envelope, .. } = item {
                return envelope.id;
            }
        }
    }
}

/// Answers an envelope, where the test itself is the other server.
pub async fn answer(bus: &Attachment, from: Server, id: MessageId, status: Status) {
    let mut frame = BytesMut::new();
    let item = Item::Answer {
        from,
        id,
        status,
        answer: None,
        cause: None,
    };
    frame::write(&item, &mut frame);
    bus.incoming.send(Incoming::Frame(frame.freeze())).await.unwrap();
}

/// Tells the end of a message in custody, where the test itself is the server that has it.
pub async fn tell_end(to: &House, bus: &Attachment, from: Server, id: MessageId, status: Status) {
    let ending = Ending {
        message: id,
        status,
        at: to.courier.now(),
        answer: None,
        cause: None,
    };
    let mut envelope = to.envelope(
        MessageKind::Status,
        "srv/app",
        &serde_json::to_vec(&ending).unwrap(),
    );
    envelope.source = Address::local(Principal::server(from));
    let item = Item::Deliver {
        from,
        place: Place { seq: 1, after: 0 },
        envelope,
    };
    let mut frame = BytesMut::new();
    frame::write(&item, &mut frame);
    bus.incoming.send(Incoming::Frame(frame.freeze())).await.unwrap();
}

/// Quick retries, so that tests with faults end soon.
pub fn quick() -> Settings {
    Settings {
        retry_min: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        ..Settings::default()
    }
}

pub async fn next<T>(inlet: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(MINUTE, inlet.recv()).await.unwrap().unwrap()
}

pub fn id_of(accepted: Result<Accepted, Status>) -> MessageId {
    accepted.unwrap().id
}

pub fn soon(courier: &Courier, ms: u64) -> Timestamp {
    courier.now().plus(Duration::from_millis(ms))
}
