//! A platform made of mosquitto and this: an application server that hears uploads, stores them, answers with a
//! status, and shows its store over HTTP. It can be told to be faulty.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::broker::Mosquitto;

pub(crate) const TOKEN: &str = "admin-token";

/// What the platform does wrong, by upload number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lose: Vec<u64>,
    pub(crate) repeat: Vec<u64>,
    pub(crate) invent: Vec<u64>,
    pub(crate) refuse: Vec<u64>,
    pub(crate) forget_status: Vec<u64>,
}

/// Ends with the test: dropping the set aborts its tasks.
pub(crate) struct Platform {
    pub(crate) http: String,
    store: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl Platform {
    pub(crate) async fn start(broker: &Mosquitto, faults: Faults) -> Platform {
        let store = Arc::new(Mutex::new(vec![json!({"run": "an earlier one", "n": 0})]));
        let mut tasks = JoinSet::new();
        let mut options = MqttOptions::new("app-server", "127.0.0.1", broker.port());
        options.set_credentials("srv/app", "code-app");
        let (client, mut events) = AsyncClient::new(options, 1000);
        client
            .subscribe("v1/dev/+/up/climate/#", QoS::AtLeastOnce)
            .await
            .unwrap();
        while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        let stored = Arc::clone(&store);
        tasks.spawn(async move {
            loop {
                if let Event::Incoming(Packet::Publish(upload)) = events.poll().await.unwrap() {
                    let data: Value = serde_json::from_slice(&upload.payload).unwrap();
                    let code = faults.store(data.clone(), &mut stored.lock().unwrap());
                    if !faults.forget_status.contains(&data["n"].as_u64().unwrap()) {
                        let device = upload.topic.split('/').nth(2).unwrap();
                        let status = json!({"id": "0190163d-8694-739b-aea5-966c26f8ad91", "channel": "sim", "code": code});
                        let topic = format!("v1/dev/{device}/status");
                        client.try_publish(topic, QoS::AtLeastOnce, false, status.to_string()).unwrap();
                    }
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/apps/climate/uploads", get(uploads))
            .with_state(Arc::clone(&store));
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Platform {
            http,
            store,
            _tasks: tasks,
        }
    }

    /// How many entries the store has, the earlier run's included.
    pub(crate) fn stored(&self) -> usize {
        self.store.lock().unwrap().len()
    }
}

impl Faults {
    fn store(&self, data: Value, store: &mut Vec<Value>) -> u16 {
        let n = data["n"].as_u64().unwrap();
        if self.refuse.contains(&n) {
            return 404;
        }
        if self.invent.contains(&n) {
            let mut other = data.clone();
            other["n"] = json!(n + 1_000_000);
            store.push(other);
        }
        if self.repeat.contains(&n) {
            store.push(data.clone());
        }
        if !self.lose.contains(&n) {
            store.push(data);
        }
        200
    }
}

#[derive(serde::Deserialize)]
struct Page {
    after: Option<u64>,
    limit: usize,
    order: String,
}

async fn uploads(
    State(store): State<Arc<Mutex<Vec<Value>>>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    if headers.get("authorization").and_then(|v| v.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
        let problem = json!({"status": 401, "title": "not-authenticated", "detail": "no such token"});
        return Err((StatusCode::UNAUTHORIZED, Json(problem)));
    }
    let store = store.lock().unwrap();
    let entries = (1u64..)
        .zip(store.iter())
        .map(|(seq, data)| json!({"seq": seq, "data": data}));
    let uploads: Vec<Value> = match page.order.as_str() {
        "desc" => entries
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .take(page.limit)
            .collect(),
        // Small pages, so that a short run has many.
        _ => entries
            .skip(page.after.unwrap_or(0) as usize)
            .take(page.limit.min(30))
            .collect(),
    };
    let next = uploads.last().map(|upload| upload["seq"].clone());
    Ok(Json(json!({"uploads": uploads, "next": next})))
}
