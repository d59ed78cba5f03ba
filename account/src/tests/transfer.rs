//! Import and export: all of a text or nothing, every wrong line named, and an export imports elsewhere.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::house::{Answer, House};

async fn import(house: &House, records: &str, media_type: &str, text: &str) -> Answer {
    let request = Request::post(format!("/v1/import/{records}"))
        .header("authorization", format!("Bearer {}", house.admin))
        .header("content-type", media_type)
        .body(Body::from(text.to_owned()))
        .unwrap();
    house.send(request, "127.0.0.1:1").await
}

async fn export(house: &House, path: &str) -> String {
    let answer = house.get(&house.admin, &format!("/v1/export/{path}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let devices =
        "id,answers,disabled,attributes\nlamp-1,mqtt,true,\"{\"\"room\"\":\"\"a,b\"\"}\"\nlamp-2,,,\n";
    let made = import(&house, "devices", "text/csv; charset=utf-8", devices)
        .await
        .is(201);
    assert_eq!((&made["imported"], &made["in_effect"]), (&json!(2), &json!(true)));
    let code = made["devices"][1]["code"].as_str().unwrap().to_owned();
    let users = "{\"id\":\"ann\"}\n{\"id\":\"olga\",\"role\":\"operator\",\"disabled\":true}\n";
    import(&house, "users", "application/x-ndjson", users)
        .await
        .is(201);
    let apps = "id,hears,pushes\nclimate,everyone,\"{\"\"only\"\":[\"\"dev/lamp-1\"\"]}\"\n";
    let made = import(&house, "apps", "text/csv", apps).await.is(201);
    let key = made["apps"][0]["key"].as_str().unwrap();
    house.get(key, "/v1/apps/climate").await.is(200);
    let bindings = "device,user,owner\nlamp-1,ann,true\n";
    import(&house, "bindings", "text/csv", bindings).await.is(201);
    // The code of an imported device is as good as any.
    let bob = house.user("bob").await;
    house
        .post(&bob, "/v1/bindings", json!({"device": "lamp-2", "code": code}))
        .await
        .is(201);

    let elsewhere_folder = tempfile::tempdir().unwrap();
    let elsewhere = House::start(elsewhere_folder.path()).await;
    for (records, format, media_type) in [
        ("users", "csv", "text/csv"),
        ("devices", "ndjson", "application/x-ndjson"),
        ("apps", "csv", "text/csv"),
        ("bindings", "csv", "text/csv"),
    ] {
        let path = format!("{records}?format={format}");
        let mut text = export(&house, &path).await;
        if records == "users" {
            // Every domain has its own administrator.
            text = text
                .lines()
                .filter(|line| !line.starts_with("admin,"))
                .map(|line| format!("{line}\n"))
                .collect();
        }
        import(&elsewhere, records, media_type, &text).await.is(201);
    }
    for path in ["/v1/devices", "/v1/users", "/v1/apps", "/v1/bindings"] {
        let told = async |house: &House| {
            let mut page = house.get(&house.admin, path).await.is(200);
            for item in page["items"].as_array_mut().unwrap() {
                for field in ["created", "modified", "since", "version", "generation"] {
                    item.as_object_mut().unwrap().remove(field);
                }
            }
            page
        };
        assert_eq!(told(&elsewhere).await, told(&house).await, "{path}");
    }
    house.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn peers_and_grants_are_exported_and_imported_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    // Two lines and more in one cell.
    let authority = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
    let authority = authority.cert.pem();
    let peers = [
        json!({"domain": "a.example", "fingerprint": "b9".repeat(32), "urls": ["irsp://a.example:7443"],
            "in": {"kinds": ["upload"], "applications": ["climate"]}, "rate_max": 7, "out_rate_max": 9}),
        json!({"domain": "b.example", "ca": authority, "out": {"kinds": ["push", "message"]}}),
    ];
    for peer in peers {
        house.post(&house.admin, "/v1/peers", peer).await.is(201);
    }
    let paused = json!({"state": "paused"});
    house
        .patch(&house.admin, "/v1/peers/b.example", paused)
        .await
        .is(200);
    house.device("lamp-1").await;
    house.user("ann").await;
    for principal in ["dev/lamp-1", "usr/ann"] {
        let grant = json!({"principal": principal, "to": "app/climate@a.example", "hears": true});
        house.post(&house.admin, "/v1/grants", grant).await.is(201);
    }
    let told = async |house: &House, path: &str| {
        let mut page = house.get(&house.admin, path).await.is(200);
        for item in page["items"].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("version");
        }
        page
    };
    for (format, media_type) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = House::start(folder.path()).await;
        let grants = export(&house, &format!("grants?format={format}")).await;
        let early = import(&elsewhere, "grants", media_type, &grants).await;
        assert!(early.problem(404).contains("there is no dev/lamp-1"), "{grants}");
        elsewhere.device("lamp-1").await;
        elsewhere.user("ann").await;
        import(&elsewhere, "grants", media_type, &grants).await.is(201);
        let peers = export(&house, &format!("peers?format={format}")).await;
        import(&elsewhere, "peers", media_type, &peers).await.is(201);
        for path in ["/v1/peers", "/v1/grants"] {
            assert_eq!(told(&elsewhere, path).await, told(&house, path).await, "{path}");
        }
        let again = import(&elsewhere, "peers", media_type, &peers).await;
        assert!(again.problem(409).contains("2 lines"));
        elsewhere.stop().await;
    }
    // Each wrong line is named, and nothing of the others is made.
    let wrong = [
        json!({"domain": "home.example", "trust": {"fingerprint": "b9".repeat(32)}}),
        json!({"domain": "c.example"}),
        json!({"domain": "c.example", "trust": {"authority": "no certificate"}}),
        json!({"domain": "c.example", "trust": {"authority": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}),
        json!({"domain": "c.example", "trust": {"fingerprint": "b9".repeat(32)}, "rate_max": 0}),
    ];
    for peer in wrong {
        let right = json!({"domain": "d.example", "trust": {"fingerprint": "b9".repeat(32)}});
        let text = format!("{right}\n{peer}\n");
        let refused = import(&house, "peers", "application/x-ndjson", &text).await;
        assert!(refused.problem(400).contains("line 2"), "{peer}");
    }
    house.get(&house.admin, "/v1/peers/d.example").await.problem(404);
    house.stop().await;
}

#[tokio::test]
async fn one_wrong_line_and_nothing_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-2").await;
    house.device("gone").await;
    house.delete(&house.admin, "/v1/devices/gone").await.is(200);
    let lines = |answer: Answer, code: u16| -> Vec<u64> {
        assert_eq!(answer.status.as_u16(), code, "{}", answer.text);
        let errors = answer.body["errors"].as_array().unwrap().clone();
        answer.problem(code);
        errors
            .iter()
            .map(|error| error["line"].as_u64().unwrap())
            .collect()
    };
    let (csv, ndjson) = ("text/csv", "application/x-ndjson");
    let answer = import(&house, "devices", csv, "id\nlamp-1\nno way\n\"\"\n").await;
    assert_eq!(lines(answer, 400), [3, 4]);
    let answer = import(&house, "devices", csv, "id\nlamp-1\nlamp-2\nlamp-1\ngone\n").await;
    assert_eq!(lines(answer, 409), [3, 4, 5]);
    let long = "x".repeat(2_000);
    let text = format!("{{\"id\":\"lamp-1\",\"attributes\":{{\"a\":\"{long}\"}}}}\n");
    assert_eq!(lines(import(&house, "devices", ndjson, &text).await, 400), [1]);
    let answer = import(
        &house,
        "bindings",
        csv,
        "device,user,owner\nlamp-2,admin,true\nlamp-9,admin,true\n",
    )
    .await;
    assert_eq!(lines(answer, 404), [3]);
    let apps = "{\"id\":\"climate\"}\n{\"id\":\"other\",\"colour\":1}\n";
    assert_eq!(lines(import(&house, "apps", ndjson, apps).await, 400), [2]);
    for (media_type, text, code) in [
        (csv, "", 400),
        (csv, "id\n", 400),
        ("application/json", "{\"id\":\"lamp-1\"}", 400),
        ("", "id\nlamp-1\n", 400),
    ] {
        import(&house, "devices", media_type, text).await.problem(code);
    }
    import(&house, "secrets", csv, "id\nlamp-1\n").await.problem(404);
    house.get(&house.admin, "/v1/export/secrets").await.problem(404);
    house
        .get(&house.admin, "/v1/export/devices?format=xml")
        .await
        .problem(400);

    house.get(&house.admin, "/v1/devices/lamp-1").await.problem(404);
    house.get(&house.admin, "/v1/apps/climate").await.problem(404);
    let bindings = house.get(&house.admin, "/v1/bindings").await.is(200);
    assert_eq!(bindings["items"], json!([]));
    let user = house.user("ann").await;
    house.get(&user, "/v1/export/devices").await.problem(403);
    house.stop().await;
}

#[tokio::test]
async fn an_export_of_many_pages_names_each_record_once_and_a_repeated_import_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let text: String = (0..1_203).map(|n| format!("{{\"id\":\"d{n:05}\"}}\n")).collect();
    let order = async || {
        let request = Request::post("/v1/import/devices")
            .header("authorization", format!("Bearer {}", house.admin))
            .header("content-type", "application/x-ndjson")
            .header("idempotency-key", "import 1")
            .body(Body::from(text.clone()))
            .unwrap();
        house.send(request, "127.0.0.1:1").await
    };
    let first = order().await.is(201);
    assert_eq!(order().await.is(201)["devices"], first["devices"]);
    let exported = export(&house, "devices").await;
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ids: Vec<String> = exported.lines().map(id).collect();
    assert!(ids.is_sorted() && ids.len() == 1_203, "{}", ids.len());
    assert_eq!(export(&house, "devices?format=csv").await.lines().count(), 1_204);
    house.stop().await;
}
