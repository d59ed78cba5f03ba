//! Messages between applications (clause 8.4): by HTTP and by MQTT, through the message server to the receiver.

use anyhow::Result;
use irsp_tests::{Api, Platform, Version, eventually};
use serde_json::{Value, json};

/// A domain with the applications `climate`, which may message `billing` and nobody else it names, and `billing`.
struct Office {
    platform: Platform,
    key: String,
    climate: Api,
    billing: Api,
}

async fn office() -> Result<Office> {
    let platform = Platform::start().await?;
    let grant = json!({ "only": ["app/billing", "app/missing"] });
    let key = platform
        .admin
        .register_application_with(json!({ "id": "climate", "messages": grant }))
        .await?;
    let billing = platform.admin.register_application("billing").await?;
    platform.admin.register_application("desk").await?;
    let (climate, billing) = (platform.admin.with(&key), platform.admin.with(&billing));
    Ok(Office {
        platform,
        key,
        climate,
        billing,
    })
}

fn message(to: &str) -> Value {
    json!({ "to": to, "channel": "invoice/new", "data": { "sum": 7.50 }, "id": "inv-1" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_http_is_stored_for_the_receiver_and_its_status_comes_back() -> Result<()> {
    let mut office = office().await?;
    let sent = office.climate.post("/v1/message", message("app/billing")).await?;
    assert_eq!(sent.status, 200, "{sent:?}");
    let id = sent.text("id")?;

    let stored = &office.billing.uploads("billing").await?[0];
    assert_eq!(stored["id"], id.as_str());
    assert_eq!(
        (
            &stored["kind"],
            &stored["from"],
            &stored["channel"],
            &stored["data"]
        ),
        (
            &json!("message"),
            &json!("app/climate"),
            &json!("invoice/new"),
            &json!({ "sum": 7.50 })
        )
    );
    let again = office.climate.post("/v1/message", message("app/billing")).await?;
    assert_eq!((again.status, again.text("id")?), (208, id.clone()));
    let other = json!({ "to": "app/billing", "channel": "invoice/new", "data": 8, "id": "inv-1" });
    assert_eq!(office.climate.post("/v1/message", other).await?.status, 409);
    assert_eq!(office.billing.uploads("billing").await?.len(), 1);

    for of in [&office.climate, &office.billing] {
        let receipt = of.receipt(&id).await?;
        assert_eq!(
            (&receipt["kind"], &receipt["status"]),
            (&json!("message"), &json!(200))
        );
        let reporters: Vec<_> = receipt["stages"].as_array().unwrap().iter().collect();
        for server in ["srv/app@home.example", "srv/message@home.example"] {
            assert!(
                reporters.iter().any(|stage| stage["reporter"] == server),
                "{server}: {receipt}"
            );
        }
    }
    office.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_message_whom_is_granted_and_withdrawn_at_once() -> Result<()> {
    let mut office = office().await?;
    let post = async |to: &str| {
        office
            .climate
            .post("/v1/message", message(to))
            .await
            .unwrap()
            .status
    };
    assert_eq!(post("app/desk").await, 403, "not in the grant");
    assert_eq!(
        post("app/stranger").await,
        403,
        "outside the grant nothing is learnt"
    );
    assert_eq!(post("app/missing").await, 404);
    assert_eq!(post("dev/lamp-1").await, 400);
    assert_eq!(post("app/billing@far.example").await, 421);
    let push = office.climate.post("/v1/push", message("app/billing")).await?;
    assert_eq!(push.status, 400, "{push:?}");
    let admin = &office.platform.admin;
    admin
        .patch("/v1/apps/climate", json!({ "messages": { "only": [] } }))
        .await?
        .in_effect()?;
    assert_eq!(post("app/billing").await, 403);
    let wrong = json!({ "messages": { "only": ["dev/lamp-1"] } });
    assert_eq!(admin.patch("/v1/apps/climate", wrong).await?.status, 400);
    office.platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_mqtt_ends_on_the_senders_status_topic() -> Result<()> {
    for version in [Version::V311, Version::V5] {
        let mut office = office().await?;
        let mut climate = office
            .platform
            .client("app/climate", &office.key)
            .version(version)
            .connect()
            .await?;
        climate.hear("status").await?;
        assert_eq!(
            climate.publish("to/app/billing/invoice", 1, "7").await?,
            "Success"
        );
        let status = climate.message().await?.json();
        assert_eq!(
            (&status["code"], &status["to"], &status["channel"]),
            (&json!(200), &json!("app/billing"), &json!("invoice"))
        );
        let stored = eventually("the stored message", async || {
            office.billing.uploads("billing").await.unwrap().pop()
        })
        .await;
        assert_eq!(
            (&stored["from"], &stored["data"]),
            (&json!("app/climate"), &json!(7))
        );
        assert_eq!(stored["id"], status["message"]);
        if version == Version::V5 {
            assert_eq!(
                climate.publish("to/app/desk/invoice", 1, "7").await?,
                "NotAuthorized"
            );
        }
        office.platform.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_messages_are_read_apart() -> Result<()> {
    let mut office = office().await?;
    let code = office.platform.admin.register_device("lamp-1").await?;
    let mut lamp = office.platform.client("dev/lamp-1", &code).connect().await?;
    assert_eq!(lamp.publish("up/billing/temp", 1, "21.5").await?, "Success");
    assert_eq!(
        office
            .climate
            .post("/v1/message", message("app/billing"))
            .await?
            .status,
        200
    );
    eventually("both", async || {
        (office.billing.uploads("billing").await.unwrap().len() == 2).then_some(())
    })
    .await;
    for (kind, source) in [("upload", "dev/lamp-1"), ("message", "app/climate")] {
        let page = office
            .billing
            .get(&format!("/v1/apps/billing/uploads?kind={kind}"))
            .await?;
        let found = page.body["uploads"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{page:?}");
        assert_eq!(
            (&found[0]["kind"], &found[0]["source"]),
            (&json!(kind), &json!(source))
        );
    }
    let wrong = office.billing.get("/v1/apps/billing/uploads?kind=push").await?;
    assert_eq!(wrong.status, 400);
    office.platform.stop().await
}
