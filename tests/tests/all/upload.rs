//! Uploads (clause 8.3.1): device to application server, through the message server.

use anyhow::Result;
use irsp_tests::{Platform, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_stored_once_and_its_status_comes_back() -> Result<()> {
    let mut platform = Platform::start().await?;
    platform.admin.register_application("climate").await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let mut lamp = platform.client("dev/lamp-1", &code).connect().await?;
    lamp.hear("status").await?;
    assert_eq!(lamp.publish("up/climate/temp", 1, "21.5").await?, "Success");
    let status = lamp.message().await?.json();
    assert_eq!((&status["code"], &status["channel"]), (&200.into(), &"temp".into()));
    let stored = eventually("the upload in the store", async || {
        let uploads = platform.admin.uploads("climate").await.unwrap();
        (!uploads.is_empty()).then_some(uploads)
    })
    .await;
    assert_eq!(stored.len(), 1);
    platform.stop().await
}
