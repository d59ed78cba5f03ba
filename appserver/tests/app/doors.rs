//! Wrong input at every door, and what describes the doors.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::house::{ADMIN, CLIMATE, House};

#[tokio::test]
async fn nobody_enters_without_credentials() {
    let house = House::open().await;
    for (method, path) in [
        ("GET", "/v1/apps/climate/uploads"),
        ("GET", "/v1/apps/climate/uploads/stream"),
        ("GET", "/v1/apps/climate/latest"),
        ("GET", "/v1/presence"),
        ("GET", "/v1/presence/dev/lamp-1"),
        ("GET", "/v1/presence/stream"),
        ("POST", "/v1/push"),
        ("GET", "/v1/messages/0190163d-8694-739b-aea5-966c26f8ad91"),
    ] {
        for authorization in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer x"),
            Some("Basic ?"),
            Some("Digest x"),
        ] {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let (code, headers, _) = house.call(request.body(Body::empty()).unwrap()).await;
            assert_eq!(code, 401, "{method} {path} {authorization:?}");
            assert!(headers.contains_key("www-authenticate"));
        }
    }
    house.stop().await;
}

#[tokio::test]
async fn queries_that_are_not_understood_are_refused() {
    let house = House::open().await;
    for path in [
        "/v1/apps/-climate/uploads",
        "/v1/apps/climate/uploads?limit=0",
        "/v1/apps/climate/uploads?limit=1001",
        "/v1/apps/climate/uploads?limit=-1",
        "/v1/apps/climate/uploads?limit=x",
        "/v1/apps/climate/uploads?after=x",
        "/v1/apps/climate/uploads?from=yesterday",
        "/v1/apps/climate/uploads?order=random",
        "/v1/apps/climate/uploads?device=",
        "/v1/apps/climate/uploads?device=foo/bar",
        "/v1/apps/climate/uploads?channel=",
        "/v1/apps/climate/uploads?chanel=temp",
        "/v1/apps/climate/uploads/stream?after=-1",
        "/v1/apps/climate/uploads/stream?since=1",
        "/v1/apps/climate/latest?limit=0",
        "/v1/presence?after=lamp-1",
        "/v1/presence?limit=0",
        "/v1/presence?kind=dev",
        "/v1/presence/stream?after=x",
        "/v1/messages/17",
        "/v1/messages/0190163D-8694-739B-AEA5-966C26F8AD91",
    ] {
        assert_eq!(house.get(ADMIN, path).await.0, 400, "{path}");
    }
    for last in ["x", "-1", "1.5", ""] {
        let request = Request::get("/v1/apps/climate/uploads/stream")
            .header("authorization", CLIMATE)
            .header("last-event-id", last)
            .body(Body::empty())
            .unwrap();
        assert_eq!(house.call(request).await.0, 400, "{last:?}");
    }
    // Beyond everything there is: empty, not an error.
    let (code, body) = house
        .get(ADMIN, &format!("/v1/apps/climate/uploads?after={}", u64::MAX))
        .await;
    assert_eq!((code.as_u16(), &body["uploads"]), (200, &json!([])));
    house.stop().await;
}

#[tokio::test]
async fn pushes_that_are_not_understood_are_refused() {
    let mut house = House::open().await;
    for body in [
        "",
        "null",
        "[]",
        "{",
        "\u{0}",
        r#"{"to":"dev/lamp-1","channel":"set"}"#,
        r#"{"to":"dev/lamp-1","text":""}"#,
        r#"{"channel":"set","text":""}"#,
        r#"{"to":"lamp-1","channel":"set","text":""}"#,
        r#"{"to":"dev/lamp-1","channel":"a//b","text":""}"#,
        r#"{"to":"dev/lamp-1","channel":"a/#","text":""}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","data":1}"#,
        r#"{"to":"dev/lamp-1","channel":"set","data":tru}"#,
        r#"{"to":"dev/lamp-1","channel":"set","data_base64":"*"}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","prio":1}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","expiry":"soon"}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","expires":"soon"}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","wait":"1h"}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":"","id":""}"#,
        r#"{"to":"dev/lamp-1","channel":"set","text":""} x"#,
    ] {
        assert_eq!(house.push_raw(CLIMATE, body).await.0, 400, "{body}");
    }
    assert_eq!(house.push_raw(CLIMATE, vec![0xff, 0xfe]).await.0, 400);
    let large = json!({"to": "dev/lamp-1", "channel": "set", "text": "x".repeat(1_000_001)});
    assert_eq!(house.push(CLIMATE, large).await.0, 413);
    assert_eq!(house.push_raw(CLIMATE, vec![b' '; 7_000_000]).await.0, 413);
    assert!(house.pushes.try_recv().is_err(), "nothing was sent");
    house.stop().await;
}

#[tokio::test]
async fn every_door_is_described() {
    let house = House::open().await;
    let openapi = serde_json::to_value(irsp_appserver::openapi()).unwrap();
    for (path, method) in [
        ("/v1/apps/{app}/uploads", "get"),
        ("/v1/apps/{app}/uploads/stream", "get"),
        ("/v1/apps/{app}/latest", "get"),
        ("/v1/presence", "get"),
        ("/v1/presence/{kind}/{id}", "get"),
        ("/v1/presence/stream", "get"),
        ("/v1/push", "post"),
        ("/v1/messages/{id}", "get"),
    ] {
        let door = &openapi["paths"][path][method];
        let mut names: Vec<&str> = door["parameters"]
            .as_array()
            .map(|list| {
                list.iter()
                    .map(|parameter| parameter["name"].as_str().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{path}: {names:?}");
        assert!(door["responses"]["401"].is_object(), "{path}");
    }
    assert!(openapi["components"]["schemas"]["PushRequest"].is_object());
    house.stop().await;
}
