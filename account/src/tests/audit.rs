//! The audit log: who did what to whom, from where; also what was refused at the doors; and nobody rewrites it.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::house::House;

/// `who action what from status` of each line.
async fn lines(house: &House, query: &str) -> Vec<String> {
    let page = house
        .get(&house.admin, &format!("/v1/audit{query}"))
        .await
        .is(200);
    let line = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap().to_owned();
        let (who, action, what, from) = (text("who"), text("action"), text("what"), text("from"));
        format!("{who} {action} {what} {from} {}", entry["status"])
    };
    page["items"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let ann = house.user("ann").await;
    let code = house.device("lamp-1").await;
    house
        .post(&house.admin, "/v1/devices", json!({"id": "lamp-1"}))
        .await
        .problem(409);
    let bind = |code: &str| json!({"device": "lamp-1", "code": code});
    house.post(&ann, "/v1/bindings", bind("wrong")).await.problem(403);
    house.post(&ann, "/v1/bindings", bind(&code)).await.is(201);
    house.delete(&house.admin, "/v1/devices/lamp-1").await.is(200);
    house.log_in("ann", "not the password").await.problem(401);
    house
        .log_in("a-password-in-the-wrong-field", "x")
        .await
        .problem(401);
    assert_eq!(
        lines(&house, "").await,
        [
            "srv/account keys.register usr/admin, token.key local 200",
            "usr/admin user.register usr/ann 127.0.0.1 200",
            "usr/ann login usr/ann 127.0.0.1 200",
            "usr/admin device.register dev/lamp-1 127.0.0.1 200",
            "usr/ann binding.register dev/lamp-1 usr/ann 127.0.0.1 403",
            "usr/ann binding.register dev/lamp-1 usr/ann 127.0.0.1 200",
            "usr/admin device.delete dev/lamp-1 127.0.0.1 200",
            "nobody login usr/ann 127.0.0.1 401",
            "nobody login an unknown user 127.0.0.1 401",
        ]
    );
    house.stop().await;
}

#[tokio::test]
async fn lines_are_found_by_who_what_whom_how_and_when() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("ann").await;
    house.log_in("ann", "not the password").await.problem(401);
    let many = json!({"prefix": "x", "count": 3});
    house.post(&house.admin, "/v1/devices/bulk", many).await.is(201);
    house
        .call(&house.admin, Method::POST, "/v1/devices/x2/reset", None)
        .await
        .is(200);
    let all = lines(&house, "").await;
    assert_eq!(all.len(), 6);
    for (query, expected) in [
        ("?who=nobody", &[3][..]),
        ("?who=usr/admin", &[1, 4, 5]),
        ("?who=usr/admin&action=user", &[1]),
        ("?action=device", &[4, 5]),
        ("?action=device.reset", &[5]),
        ("?action=dev", &[]),
        ("?target=dev/x2", &[4, 5]),
        ("?target=dev/x3", &[4]),
        ("?target=usr/ann", &[1, 2, 3]),
        ("?target=dev/x2&action=login", &[]),
        ("?status=401", &[3]),
        ("?from=2000-01-01T00:00:00Z&to=2001-01-01T00:00:00Z", &[]),
        ("?from=2000-01-01T00:00:00Z&limit=2", &[0, 1]),
        ("?limit=2&after=4", &[4, 5]),
        ("?order=desc&limit=2", &[5, 4]),
        ("?order=desc&after=2", &[0]),
        ("?after=18446744073709551615", &[]),
    ] {
        let expected: Vec<&String> = expected.iter().map(|n| &all[*n]).collect();
        let found = lines(&house, query).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in [
        "?after=x",
        "?from=yesterday",
        "?order=random",
        "?status=many",
        "?colour=red",
    ] {
        let path = format!("/v1/audit{query}");
        house.get(&house.admin, &path).await.problem(400);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_flood_of_refused_logins_does_not_fill_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    // Longer than any password, so that refusing it costs nothing.
    let long = "x".repeat(300);
    for n in 0..600 {
        let address = format!("10.0.{}.{}:1", n / 200, n % 200);
        house
            .log_in_from(&address, &format!("n{n}"), &long)
            .await
            .problem(401);
    }
    let refused = |page: &Value| page["items"].as_array().unwrap().len();
    let page = house
        .get(&house.admin, "/v1/audit?status=401&limit=1000")
        .await
        .is(200);
    assert!(refused(&page) < 600, "{}", refused(&page));
    assert!(refused(&page) >= 100, "{}", refused(&page));
    house.stop().await;
}

#[tokio::test]
async fn lines_go_only_when_they_are_old_enough() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    house.stop().await;
    let path = folder.path().join("account.db");
    let sql = rusqlite::Connection::open(&path).unwrap();
    let refused = |statement: &str| {
        let error = sql.execute(statement, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    };
    for statement in [
        "DELETE FROM audit",
        "UPDATE audit SET who = 'usr/nobody'",
        "DELETE FROM audit_target",
        "UPDATE audit_target SET target = 'dev/other'",
        "DELETE FROM audit_retention",
    ] {
        refused(statement);
    }
    let count = |table: &str| -> i64 {
        let question = format!("SELECT count(*) FROM {table}");
        sql.query_row(&question, [], |row| row.get(0)).unwrap()
    };
    let before = (count("audit"), count("audit_target"));
    let line = |age_days: i64| {
        let add = "INSERT INTO audit (time, who, action, what, origin)
            VALUES ((unixepoch() - ?1 * 86400) * 1000, 'usr/ann', 'login', 'usr/ann', 'local')";
        sql.execute(add, [age_days]).unwrap();
        let add = "INSERT INTO audit_target (target, n) VALUES ('usr/ann', ?1)";
        sql.execute(add, [sql.last_insert_rowid()]).unwrap();
    };
    line(366);
    line(364);
    let house = House::start(folder.path()).await;
    // The sweep comes with the start.
    let swept = async {
        while count("audit") > before.0 + 1 {
            house.get(&house.admin, "/v1/audit").await.is(200);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), swept)
        .await
        .unwrap();
    assert_eq!(lines(&house, "?target=usr/ann").await.len(), 1);
    assert_eq!(count("audit_target"), before.1 + 1);
    house.stop().await;
    refused("UPDATE audit_retention SET before = 0");
    refused("DELETE FROM audit");
}
