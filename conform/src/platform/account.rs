//! 7.1: the account server is the system of record.

use reqwest::Method;
use serde_json::json;

use crate::trouble::{Trouble, holds, same};

use super::Stage;

pub(crate) async fn secrets_are_shown_once(stage: &Stage) -> Result<(), Trouble> {
    let (admin, device) = (&stage.cast.admin, stage.cast.device().await?);
    let path = format!("/v1/devices/{}", device.id);
    let shown = admin.get(&path).await?.is(&[200])?;
    holds(
        "a device that is looked at",
        "no verification code",
        &shown.body,
        !shown.body.to_string().contains(device.secret.expose()),
    )?;
    same("its id", Some(device.id.as_str()), shown.body["id"].as_str())?;
    admin
        .post("/v1/devices", json!({"id": device.id}))
        .await?
        .is(&[409])?;
    let nobody = stage.cast.fresh();
    admin.get(&format!("/v1/devices/{nobody}")).await?.is(&[404])?;
    admin
        .post("/v1/devices", json!({"id": "not/an id"}))
        .await?
        .is(&[400])?;
    Ok(())
}

pub(crate) async fn nobody_without_a_credential(stage: &Stage) -> Result<(), Trouble> {
    let anybody = stage.cast.admin.anybody();
    for path in ["/v1/users", "/v1/devices", "/v1/apps", "/v1/audit"] {
        anybody.get(path).await?.is(&[401])?;
    }
    let wrong = stage
        .cast
        .admin
        .with(&irsp_protocol::Secret::new(stage.cast.password()));
    wrong.get("/v1/users").await?.is(&[401])?;
    let user = stage.cast.user().await?;
    user.http.get("/v1/users").await?.is(&[403])?;
    Ok(())
}

pub(crate) async fn a_user_binds_by_the_code(stage: &Stage) -> Result<(), Trouble> {
    let (user, device) = (stage.cast.user().await?, stage.cast.device().await?);
    let me = user.http.get("/v1/me").await?.is(&[200])?;
    holds(
        "/v1/me",
        &user.name,
        &me.body,
        me.body.to_string().contains(&user.id),
    )?;
    let wrong = json!({"device": device.id, "code": stage.cast.password()});
    user.http.post("/v1/bindings", wrong).await?.is(&[403])?;
    stage.cast.bind(&user, &device).await?;
    let listed = user.http.get("/v1/devices").await?.is(&[200])?;
    let ids: Vec<_> = listed
        .list("items")?
        .iter()
        .filter_map(|item| item["id"].as_str())
        .collect();
    same("the user's devices", vec![device.id.as_str()], ids)?;
    let stranger = stage.cast.user().await?;
    let foreign = stranger.http.get(&format!("/v1/devices/{}", device.id)).await?;
    foreign.is(&[403, 404])?;
    Ok(())
}

pub(crate) async fn a_repeat_is_carried_out_once(stage: &Stage) -> Result<(), Trouble> {
    let device = stage.cast.device().await?;
    let (key, path) = (stage.cast.fresh(), format!("/v1/devices/{}/reset", device.id));
    let reset = async |body| {
        let headers = [("idempotency-key", key.as_str())];
        let admin = &stage.cast.admin;
        admin.call(Method::POST, &path, Some(body), &headers).await
    };
    let first = reset(json!({})).await?.is(&[200, 202])?;
    let again = reset(json!({})).await?.is(&[first.status])?;
    same("the repeat's code", first.text("code")?, again.text("code")?)?;
    same(
        "Idempotent-Replayed",
        Some("true"),
        again.header("idempotent-replayed"),
    )?;
    reset(json!({"unbind": true})).await?.is(&[409])?;
    Ok(())
}

pub(crate) async fn a_version_guards_a_change(stage: &Stage) -> Result<(), Trouble> {
    let device = stage.cast.device().await?;
    let path = format!("/v1/devices/{}", device.id);
    let admin = &stage.cast.admin;
    let shown = admin.get(&path).await?.is(&[200])?;
    let version = shown.header("etag").unwrap_or_default().to_owned();
    holds("its ETag", "a version", &version, !version.is_empty())?;
    let change = |n: u8| Some(json!({"attributes": {"conform": n.to_string()}}));
    let matching = [("if-match", version.as_str())];
    let first = admin
        .call(Method::PATCH, &path, change(1), &matching)
        .await?
        .is(&[200, 202])?;
    stage.cast.in_effect(first).await?;
    let late = admin.call(Method::PATCH, &path, change(2), &matching).await?;
    late.is(&[412])?;
    Ok(())
}
