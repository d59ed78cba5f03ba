//! What passes between the account servers of two domains: what is granted, and who is deleted (clause 8.7).

use serde_json::{Value, json};

use super::house::House;

async fn told(house: &House, count: usize) -> Vec<(String, String, Value)> {
    loop {
        let told = house.followers.told_abroad();
        if told.len() >= count {
            return told;
        }
        tokio::task::yield_now().await;
    }
}

fn rights(told: &(String, String, Value)) -> (&str, bool, bool) {
    let (_, to, data) = told;
    assert_eq!(to, "srv/app@b.example");
    let right = |name: &str| data[name].as_bool().unwrap();
    (data["granted"].as_str().unwrap(), right("hears"), right("pushes"))
}

#[tokio::test]
async fn a_domain_is_told_what_it_is_granted_and_what_not_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    let grant = |pushes| json!({"principal": "dev/lamp-1", "to": "usr/bob@b.example", "hears": true, "pushes": pushes});
    for pushes in [false, false, true] {
        house
            .post(&house.admin, "/v1/grants", grant(pushes))
            .await
            .is(201);
    }
    house.delete(&house.admin, "/v1/devices/lamp-1").await.is(200);
    let told = told(&house, 4).await;
    assert!(told.iter().all(|(from, ..)| from == "dev/lamp-1"));
    assert_eq!(rights(&told[0]), ("usr/bob", true, false));
    assert_eq!(
        rights(&told[1]),
        ("usr/bob", true, true),
        "what is as it was is not told"
    );
    assert_eq!(rights(&told[2]), ("usr/bob", false, false));
    assert_eq!(
        (told[3].1.as_str(), &told[3].2),
        ("srv/app@b.example", &json!({"deleted": "dev/lamp-1"})),
        "then that it is no more"
    );
    let n = |at: usize| told[at].2["n"].as_u64().unwrap();
    assert!(n(0) < n(1) && n(1) < n(2));
    house.stop().await;
}

#[tokio::test]
async fn a_new_peer_is_told_what_is_granted_now_and_that_it_is_all() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.device("lamp-1").await;
    for to in ["usr/bob@b.example", "usr/eve@b.example", "app/x@c.example"] {
        let grant = json!({"principal": "dev/lamp-1", "to": to, "pushes": true});
        house.post(&house.admin, "/v1/grants", grant).await.is(201);
    }
    let withdrawn = "/v1/grants?principal=dev/lamp-1&to=usr/eve@b.example";
    house.delete(&house.admin, withdrawn).await.is(200);
    let first = told(&house, 4).await;
    house.peer("b.example").await;
    let again = told(&house, 6).await;
    let (from, to, data) = &again[4];
    assert_eq!((from.as_str(), to.as_str()), ("usr/admin", "srv/app@b.example"));
    let nothing = json!({"granted": "usr/admin", "hears": false, "pushes": false, "n": 0, "anew": true});
    assert_eq!(*data, nothing, "to who does not know the word it says nothing");
    assert_eq!(again[5], first[0], "once more, and nothing else");
    house.delete(&house.admin, "/v1/peers/b.example").await.is(200);
    house.peer("b.example").await;
    assert_eq!(
        told(&house, 8).await[6..],
        again[4..],
        "and each time it is added"
    );
    house.stop().await;
}

#[tokio::test]
async fn what_a_domain_grants_is_shown_while_it_is_a_peer_and_told_anew_it_is_all() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    house.user("bob").await;
    let tell = async |source: &str, news: Value| {
        assert_eq!(house.hears_from_abroad(source, news.clone()).await, 200, "{news}");
    };
    let news = |n: u32| json!({"granted": "usr/bob", "hears": true, "pushes": false, "n": n});
    let listed = async || {
        let page = house.get(&house.admin, "/v1/grants/received").await.is(200);
        let given = |one: &Value| one["principal"].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap().iter();
        items.map(given).collect::<Vec<_>>()
    };
    for domain in ["b.example", "c.example"] {
        house.peer(domain).await;
    }
    for source in ["dev/x@b.example", "dev/y@b.example", "dev/x@c.example"] {
        tell(source, news(700)).await;
    }
    house.delete(&house.admin, "/v1/peers/b.example").await.is(200);
    assert_eq!(listed().await, ["dev/x@c.example"]);
    house.peer("b.example").await;
    let all = ["dev/x@b.example", "dev/y@b.example", "dev/x@c.example"];
    assert_eq!(
        listed().await,
        all,
        "it is what it was until the peer tells otherwise"
    );
    let anew = json!({"granted": "usr/admin", "hears": false, "pushes": false, "n": 0, "anew": true});
    tell("usr/admin@b.example", anew.clone()).await;
    assert_eq!(listed().await, ["dev/x@c.example"]);
    // A domain that was set up anew counts from the beginning.
    tell("dev/y@b.example", news(3)).await;
    tell("dev/x@b.example", news(4)).await;
    assert_eq!(listed().await, all);
    tell("usr/admin@b.example", anew).await;
    tell("dev/x@b.example", news(4)).await;
    assert_eq!(listed().await, ["dev/x@b.example", "dev/x@c.example"]);
    house.stop().await;
}

#[tokio::test]
async fn what_is_granted_from_abroad_is_shown_to_whom_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    let (ann, bob) = (house.user("ann").await, house.user("bob").await);
    for domain in ["b.example", "c.example"] {
        house.peer(domain).await;
    }
    let news =
        |to: &str, hears: bool, n: u32| json!({"granted": to, "hears": hears, "pushes": false, "n": n});
    for (source, data, code) in [
        ("dev/lamp-1@b.example", news("usr/bob", true, 7), 200),
        ("dev/lamp-1@b.example", news("usr/bob", false, 6), 200),
        ("dev/lamp-2@b.example", news("usr/bob", true, 8), 200),
        ("dev/lamp-2@b.example", news("usr/bob", false, 9), 200),
        ("dev/lamp-2@c.example", news("usr/bob", true, 1), 200),
        ("dev/lamp-1@b.example", news("usr/nobody", true, 10), 403),
        ("dev/lamp-1@b.example", news("usr/nobody", false, 11), 200),
        ("dev/lamp-1@b.example", news("dev/lamp-1", true, 12), 400),
        ("dev/lamp-1@b.example", json!({"granted": "usr/bob"}), 400),
        ("app/climate@b.example", news("usr/bob", true, 13), 400),
    ] {
        let words = format!("{source} {data}");
        assert_eq!(house.hears_from_abroad(source, data).await, code, "{words}");
    }
    let path = "/v1/grants/received";
    let mine = house.get(&bob, path).await.is(200);
    assert_eq!(
        mine["items"],
        json!([
            {"principal": "dev/lamp-1@b.example", "to": "usr/bob", "hears": true, "pushes": false},
            {"principal": "dev/lamp-2@c.example", "to": "usr/bob", "hears": true, "pushes": false},
        ]),
        "the newest of each, and only what stands"
    );
    assert_eq!(house.get(&ann, path).await.is(200)["items"], json!([]));
    house
        .get(&ann, "/v1/grants/received?to=usr/bob")
        .await
        .problem(403);
    let page = house
        .get(&house.admin, "/v1/grants/received?limit=1")
        .await
        .is(200);
    assert_eq!(page["next"], "usr/bob/dev/lamp-1@b.example");
    let rest = format!("{path}?after={}", page["next"].as_str().unwrap());
    assert_eq!(
        house.get(&house.admin, &rest).await.is(200)["items"][0]["principal"],
        "dev/lamp-2@c.example"
    );

    house.delete(&house.admin, "/v1/users/bob").await.is(200);
    let told = &told(&house, 4).await[2..];
    let domains: Vec<&str> = told.iter().map(|(_, to, _)| to.as_str()).collect();
    assert_eq!(
        domains,
        ["srv/app@b.example", "srv/app@c.example"],
        "all that ever granted it something hear that it is no more"
    );
    assert_eq!(told[0].2, json!({"deleted": "usr/bob"}));
    let left = house.get(&house.admin, path).await.is(200);
    assert_eq!(left["items"], json!([]));
    house.stop().await;
}

#[tokio::test]
async fn an_applications_deletion_is_told_to_who_granted_it_something() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for app in ["climate", "shop"] {
        house
            .post(&house.admin, "/v1/apps", json!({"id": app}))
            .await
            .is(201);
    }
    let news = json!({"granted": "app/climate", "hears": true, "pushes": true, "n": 3});
    assert_eq!(house.hears_from_abroad("dev/x@b.example", news).await, 200);
    for app in ["shop", "climate"] {
        house
            .delete(&house.admin, &format!("/v1/apps/{app}"))
            .await
            .is(200);
    }
    let told = told(&house, 1).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].2, json!({"deleted": "app/climate"}));
    let word = house
        .get(&house.admin, "/v1/deletions?principal=app/climate")
        .await
        .is(200);
    assert_eq!(word["items"][0]["domain"], "b.example");
    house.stop().await;
}

#[tokio::test]
async fn what_was_granted_to_somebody_ends_when_the_other_domain_says_they_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::start(folder.path()).await;
    for device in ["lamp-1", "lamp-2"] {
        house.device(device).await;
        for to in ["usr/bob@b.example", "usr/bob@c.example"] {
            let grant = json!({"principal": format!("dev/{device}"), "to": to, "pushes": true});
            house.post(&house.admin, "/v1/grants", grant).await.is(201);
        }
    }
    let another = json!({"deleted": "usr/bob"});
    assert_eq!(
        house
            .hears_from_abroad("usr/eve@b.example", another.clone())
            .await,
        400
    );
    assert_eq!(
        house
            .hears_from_abroad("usr/bob@b.example", another.clone())
            .await,
        200
    );
    assert_eq!(house.hears_from_abroad("usr/bob@b.example", another).await, 200);
    let left = house.get(&house.admin, "/v1/grants").await.is(200);
    let left: Vec<&Value> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["to"])
        .collect();
    assert_eq!(left, ["usr/bob@c.example", "usr/bob@c.example"]);
    let audit = house
        .get(&house.admin, "/v1/audit?action=grant.delete")
        .await
        .is(200);
    let lines = audit["items"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{audit}");
    assert_eq!(lines[0]["what"], "usr/bob@b.example is deleted");
    // The followers hear it as every change.
    let which = "/v1/grants?principal=dev/lamp-1&to=usr/bob@b.example";
    house.delete(&house.admin, which).await.problem(410);
    house.stop().await;
}
