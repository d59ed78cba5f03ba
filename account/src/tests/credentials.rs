//! What a device proves itself with: codes that overlap, and certificates.

use axum::http::Method;
use irsp_protocol::Server;
use irsp_protocol::change::{Device, Entity};
use irsp_protocol::credential::{Certificate, Fingerprint};
use serde_json::{Value, json};

use super::house::House;

const LATER: &str = "2099-01-01T00:00:00.000Z";
const PRINT: [&str; 2] = [
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
];

/// The device as the message server knows it.
fn told(house: &House) -> Device {
    let changes = house.followers.changes(Server::Message);
    let devices = changes.into_iter().filter_map(|change| match change.entity {
        Some(Entity::Device(device)) => Some(device),
        _ => None,
    });
    devices.last().unwrap()
}

#[tokio::test]
async fn an_old_code_is_valid_beside_the_new_one_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let first = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let bind = |code: &Value| json!({"device": "lamp-1", "code": code});
    house
        .post(&ann, "/v1/bindings", bind(&json!(first)))
        .await
        .is(201);
    let codes = "/v1/devices/lamp-1/codes";

    let second = house
        .post(
            &ann,
            codes,
            json!({"expires": LATER, "others_expire": "2098-01-01T00:00:00Z"}),
        )
        .await
        .is(201);
    assert_eq!(
        (&second["expires"], &second["valid"]),
        (&json!(LATER), &json!(true))
    );
    assert_ne!(second["code"], json!(first));
    let listed = house.get(&ann, codes).await;
    assert!(!listed.text.contains(&first) && !listed.text.contains(second["code"].as_str().unwrap()));
    let listed = listed.is(200)["codes"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["expires"], "2098-01-01T00:00:00.000Z");
    assert_eq!(listed[1]["id"], second["id"]);
    assert_eq!(told(&house).codes.len(), 2);
    for code in [&json!(first), &second["code"]] {
        house.post(&ann, "/v1/bindings", bind(code)).await.is(200);
    }

    let revoke = format!("{codes}/{}", listed[0]["id"].as_str().unwrap());
    house.delete(&ann, &revoke).await.is(200);
    house.delete(&ann, &revoke).await.problem(404);
    house
        .post(&ann, "/v1/bindings", bind(&json!(first)))
        .await
        .problem(403);
    house
        .post(&ann, "/v1/bindings", bind(&second["code"]))
        .await
        .is(200);
    let device = told(&house);
    assert_eq!((device.codes.len(), device.generation), (1, 1));

    // A reset leaves one.
    house.post(&ann, codes, json!({})).await.is(201);
    house
        .call(&ann, Method::POST, "/v1/devices/lamp-1/reset", None)
        .await
        .is(200);
    assert_eq!(told(&house).codes.len(), 1);
    house.stop().await;
}

#[tokio::test]
async fn codes_that_have_ended_open_nothing_and_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let first = house.device("lamp-1").await;
    let ann = house.user("ann").await;
    let codes = "/v1/devices/lamp-1/codes";
    let past = "2020-01-01T00:00:00Z";
    for _ in 0..7 {
        house
            .post(&house.admin, codes, json!({"others_expire": past}))
            .await
            .is(201);
    }
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": first}))
        .await
        .problem(403);
    assert_eq!(told(&house).codes.len(), 8);
    // The ninth finds seven that have expired.
    house.post(&house.admin, codes, json!({})).await.is(201);
    assert_eq!(told(&house).codes.len(), 2);
    for _ in 0..6 {
        house.post(&house.admin, codes, json!({})).await.is(201);
    }
    house.post(&house.admin, codes, json!({})).await.problem(400);
    house
        .post(&house.admin, codes, json!({"expires": past}))
        .await
        .problem(400);
    house.stop().await;
}

#[tokio::test]
async fn only_the_owner_and_operators_see_codes_and_only_the_owner_and_admins_make_them() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let code = house.device("lamp-1").await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    let olga = house.user("olga").await;
    house
        .patch(&house.admin, "/v1/users/olga", json!({"role": "operator"}))
        .await
        .is(200);
    house
        .post(&ann, "/v1/bindings", json!({"device": "lamp-1", "code": code}))
        .await
        .is(201);
    house
        .call(
            &ann,
            Method::PUT,
            "/v1/bindings/lamp-1/bob",
            Some(json!({"rights": ["push"]})),
        )
        .await
        .is(201);
    for device in ["lamp-1", "never-made"] {
        let codes = format!("/v1/devices/{device}/codes");
        house.get(&bob, &codes).await.problem(403);
        house.post(&bob, &codes, json!({})).await.problem(403);
        house
            .delete(&bob, &format!("{codes}/00000000"))
            .await
            .problem(403);
    }
    let codes = "/v1/devices/lamp-1/codes";
    house.get(&olga, codes).await.is(200);
    house.post(&olga, codes, json!({})).await.problem(403);
    house
        .get(&house.admin, "/v1/devices/never-made/codes")
        .await
        .problem(404);
    house.stop().await;
}

#[tokio::test]
async fn a_certificate_stands_for_one_device() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let made = house
        .post(
            &house.admin,
            "/v1/devices",
            json!({"id": "lamp-1", "certificates": [{"fingerprint": PRINT[0].to_uppercase()}]}),
        )
        .await
        .is(201);
    assert_eq!(made["certificates"], json!([{"fingerprint": PRINT[0]}]));
    let fingerprint = |n: usize| PRINT[n].parse::<Fingerprint>().unwrap();
    let exact = Certificate::Exact {
        fingerprint: fingerprint(0),
    };
    assert_eq!(told(&house).certificates, [exact]);

    house.device("lamp-2").await;
    let patch = async |id: &str, certificates: Value| {
        let body = json!({ "certificates": certificates });
        house
            .patch(&house.admin, &format!("/v1/devices/{id}"), body)
            .await
    };
    patch("lamp-2", json!([{"fingerprint": PRINT[0]}]))
        .await
        .problem(409);
    let named = json!([{"ca": PRINT[1], "name": "lamp-2"}]);
    assert_eq!(
        patch("lamp-2", named.clone()).await.is(200)["certificates"],
        named
    );
    let name = Certificate::Named {
        ca: fingerprint(1),
        name: "lamp-2".to_owned(),
    };
    assert_eq!(told(&house).certificates, [name]);
    patch("lamp-1", named).await.problem(409);
    // A patch that does not speak of them leaves them.
    let other = house
        .patch(&house.admin, "/v1/devices/lamp-2", json!({"disabled": true}))
        .await
        .is(200);
    assert_eq!(other["certificates"][0]["name"], "lamp-2");
    patch("lamp-1", json!([])).await.is(200);
    patch("lamp-2", json!([{"fingerprint": PRINT[0]}])).await.is(200);
    house.delete(&house.admin, "/v1/devices/lamp-2").await.is(200);
    patch("lamp-1", json!([{"fingerprint": PRINT[0]}])).await.is(200);
    patch("lamp-1", json!([{"pem": "none"}])).await.problem(400);
    house.stop().await;
}
