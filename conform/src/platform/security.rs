//! 9: credentials, access rules, limits, audit.

use serde_json::json;

use crate::trouble::{Trouble, holds, same};

use super::Stage;

/// Wrong logins that have no consequence, and some more.
const GUESSES: usize = 8;

pub(crate) async fn foreign_topics_are_refused(stage: &Stage) -> Result<(), Trouble> {
    let (device, other, app) = (
        stage.cast.device().await?,
        stage.cast.device().await?,
        stage.cast.application().await?,
    );
    let mut client = stage.cast.connect(&device).await?;
    for filter in [
        other.topic("down/#"),
        other.topic("live/#"),
        app.topic("in/#"),
        "#".to_owned(),
        "v1/dev/+/status".to_owned(),
        "$SYS/#".to_owned(),
    ] {
        let code = client.subscribe(&filter, 1).await?;
        holds(&format!("SUBACK for {filter}"), "a refusal", &code, code >= 0x80)?;
    }
    client.hears(&device.topic("down/#")).await
}

pub(crate) async fn credentials_open_their_own_door_only(stage: &Stage) -> Result<(), Trouble> {
    let (device, one, two) = (
        stage.cast.device().await?,
        stage.cast.application().await?,
        stage.cast.application().await?,
    );
    let by_code = stage.cast.admin.with(&device.secret);
    by_code.get("/v1/me").await?.is(&[401])?;
    two.http
        .get(&format!("/v1/apps/{}/uploads", one.id))
        .await?
        .is(&[403])?;
    one.http
        .post("/v1/devices", json!({"id": stage.cast.fresh()}))
        .await?
        .is(&[403])?;
    let user = stage.cast.user().await?;
    user.http
        .get(&format!("/v1/apps/{}/uploads", one.id))
        .await?
        .is(&[403])?;
    user.http.get("/v1/audit").await?.is(&[403])?;
    Ok(())
}

pub(crate) async fn guesses_are_slowed(stage: &Stage) -> Result<(), Trouble> {
    let user = stage.cast.user().await?;
    let mut codes = Vec::new();
    for _ in 0..GUESSES {
        let wrong = json!({"id": user.id, "password": stage.cast.password()});
        let answer = stage
            .cast
            .admin
            .anybody()
            .post("/v1/login", wrong)
            .await?
            .is(&[401, 429])?;
        if answer.status == 429 {
            let after = answer
                .header("retry-after")
                .and_then(|text| text.parse::<u64>().ok());
            holds("its Retry-After", "a number of seconds", &after, after.is_some())?;
        }
        codes.push(answer.status);
    }
    holds(
        "wrong logins",
        "429 after some 401",
        &codes,
        codes[0] == 401 && codes.contains(&429),
    )
}

pub(crate) async fn the_audit_log_knows(stage: &Stage) -> Result<(), Trouble> {
    let user = stage.cast.user().await?;
    let wrong = json!({"id": user.id, "password": stage.cast.password()});
    stage
        .cast
        .admin
        .anybody()
        .post("/v1/login", wrong)
        .await?
        .is(&[401, 429])?;
    let path = format!("/v1/audit?target=usr/{}", user.id);
    stage
        .until(
            "the registration and the refused login stand in the audit log",
            async || {
                let found = stage.cast.admin.get(&path).await?.is(&[200])?;
                let codes: Vec<u64> = found
                    .list("items")?
                    .iter()
                    .filter_map(|line| line["status"].as_u64())
                    .collect();
                let good = codes.iter().any(|code| (200..300).contains(code)) && codes.contains(&401);
                Ok(good.then_some(()))
            },
        )
        .await
}

pub(crate) async fn secrets_are_long(stage: &Stage) -> Result<(), Trouble> {
    let (device, app) = (stage.cast.device().await?, stage.cast.application().await?);
    for member in [&device, &app] {
        // 128 bits are 22 characters of base64 or 26 of base32.
        let len = member.secret.expose().len();
        holds("a secret's length", "22 characters or more", &len, len >= 22)?;
    }
    let again = stage.cast.device().await?;
    holds(
        "two codes",
        "different",
        &"the same",
        again.secret.expose() != device.secret.expose(),
    )?;
    same("a password of one letter", 400, {
        let body = json!({"id": stage.cast.fresh(), "password": "x"});
        stage.cast.admin.post("/v1/users", body).await?.status
    })
}
