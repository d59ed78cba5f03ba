//! The order against a stand-in for the account server: the real one is met in the whole-platform tests.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;

/// What the stand-in was asked, and how many devices it takes before it says that they exist.
#[derive(Default)]
struct Asked {
    bodies: Mutex<Vec<Value>>,
    devices_max: u32,
}

async fn devices(State(asked): State<Arc<Asked>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers["authorization"] != "Bearer sesame" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    asked.bodies.lock().unwrap().push(body.clone());
    let (first, count) = (body["first"].as_u64().unwrap(), body["count"].as_u64().unwrap());
    if first + count - 1 > u64::from(asked.devices_max) {
        let problem = json!({"status": 409, "title": "conflict", "detail": "sim-1001 exists"});
        return (StatusCode::CONFLICT, Json(problem)).into_response();
    }
    let prefix = body["prefix"].as_str().unwrap();
    let made: Vec<Value> = (first..first + count)
        .map(|n| json!({"id": format!("{prefix}{n}"), "code": format!("code{n}")}))
        .collect();
    Json(json!({"devices": made, "in_effect": true})).into_response()
}

async fn apps(headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers["authorization"] != "Bearer sesame" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let view = json!({"id": body["id"], "key": "k3y", "hears": "everyone", "pushes": "everyone",
        "messages": "everyone", "delivery": "hosted", "answers": "ack", "disabled": false,
        "generation": 1, "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z", "in_effect": true});
    (StatusCode::CREATED, Json(view)).into_response()
}

/// Runs the stand-in; it lives as long as the set.
async fn stand_in(devices_max: u32) -> (String, Arc<Asked>, JoinSet<()>) {
    let asked = Arc::new(Asked {
        devices_max,
        ..Asked::default()
    });
    let router = Router::new()
        .route("/v1/devices/bulk", post(devices))
        .route("/v1/apps", post(apps));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let router = router.with_state(Arc::clone(&asked));
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, asked, tasks)
}

fn order(dir: &Path, url: &str, devices: u32) -> Order {
    Order {
        devices,
        prefix: "sim-".into(),
        app: "climate".parse().unwrap(),
        out: dir.join("creds.csv"),
        app_key_out: Some(dir.join("app.key")),
        url: url.into(),
        admin_token: None,
    }
}

fn sesame() -> Secret {
    Secret::new("sesame")
}

#[tokio::test]
async fn devices_are_made_in_batches_and_their_lines_are_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (url, asked, _tasks) = stand_in(2_500).await;
    let order = order(dir.path(), &url, 2_500);
    provision(&order, sesame()).await.unwrap();
    let counts: Vec<u64> = asked
        .bodies
        .lock()
        .unwrap()
        .iter()
        .map(|body| body["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1_000, 1_000, 500]);
    let lines = fs::read_to_string(&order.out).unwrap();
    assert_eq!(lines.lines().count(), 2_500);
    assert_eq!(lines.lines().next(), Some("sim-1,dev/sim-1,code1"));
    assert_eq!(lines.lines().last(), Some("sim-2500,dev/sim-2500,code2500"));
    let key_out = order.app_key_out.as_ref().unwrap();
    assert_eq!(fs::read_to_string(key_out).unwrap(), "k3y\n");
    for path in [&order.out, key_out] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn devices_that_exist_are_told_with_the_remedy_and_what_was_made_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _asked, _tasks) = stand_in(1_000).await;
    let order = order(dir.path(), &url, 1_500);
    let message = provision(&order, sesame()).await.unwrap_err().to_string();
    let remedy = "give another --prefix, or delete them (sim-1001 exists)";
    assert_eq!(
        message,
        format!("some of the devices sim-1001 to sim-1500 exist already: {remedy}")
    );
    assert_eq!(fs::read_to_string(&order.out).unwrap().lines().count(), 1_000);
}

#[tokio::test]
async fn files_with_secrets_are_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (url, asked, _tasks) = stand_in(10).await;
    let order = order(dir.path(), &url, 10);
    fs::write(&order.out, "precious").unwrap();
    let message = provision(&order, sesame()).await.unwrap_err().to_string();
    assert!(
        message.ends_with("cannot be shown again: remove it or give another --out"),
        "{message}"
    );
    assert!(asked.bodies.lock().unwrap().is_empty());
    assert_eq!(fs::read_to_string(&order.out).unwrap(), "precious");
}

#[tokio::test]
async fn a_wrong_token_a_silent_platform_and_a_bad_prefix_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _asked, _tasks) = stand_in(10).await;
    let wrong = provision(&order(dir.path(), &url, 1), Secret::new("open"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        wrong.starts_with("the admin token is not taken by http://127.0.0.1:"),
        "{wrong}"
    );
    let silent = provision(&order(dir.path(), "http://127.0.0.1:9", 1), sesame())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        silent.starts_with("--url http://127.0.0.1:9: cannot be reached ("),
        "{silent}"
    );
    let bad = Order {
        prefix: "a b".into(),
        ..order(dir.path(), &url, 1)
    };
    let bad = provision(&bad, sesame()).await.unwrap_err().to_string();
    assert!(
        bad.starts_with("--prefix a b: an id has 1 to 64 characters"),
        "{bad}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_token_file_that_is_missing_or_empty_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.token");
    let missing = read_token(&path).unwrap_err().to_string();
    assert!(
        missing.ends_with("give --data or --admin-token of the account server"),
        "{missing}"
    );
    fs::write(&path, "\n").unwrap();
    let empty = read_token(&path).unwrap_err().to_string();
    assert!(
        empty.starts_with(&format!("{}: holds no token: ", path.display())),
        "{empty}"
    );
}
