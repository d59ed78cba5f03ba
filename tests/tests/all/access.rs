//! Who may hear what (design, section 4), asked over real connections: a filter is granted only if everything it
//! could match is.

use anyhow::Result;
use irsp_tests::{Platform, Version};
use serde_json::json;

/// What each filter is answered for `[lamp-1, ann (bound to lamp-1), bob, climate (hears all), garden (hears pump)]`.
const GRANTS: &[(&str, [bool; 5])] = &[
    ("v1/dev/lamp-1/status", [true, false, false, false, false]),
    ("v1/dev/lamp-1/down/#", [true, false, false, false, false]),
    ("v1/dev/lamp-1/live/#", [true, true, false, true, false]),
    ("v1/dev/lamp-1/presence", [true, true, false, true, false]),
    ("v1/dev/lamp-1/up/climate/#", [false, true, false, true, false]),
    ("v1/dev/lamp-1/up/#", [false, true, false, false, false]),
    ("v1/dev/pump/up/garden/#", [false, false, false, false, true]),
    ("v1/dev/pump/presence", [false, false, false, true, true]),
    ("v1/dev/+/up/climate/#", [false, false, false, true, false]),
    ("v1/dev/+/up/garden/#", [false, false, false, false, false]),
    ("v1/dev/+/presence", [false, false, false, true, false]),
    ("v1/usr/ann/down/#", [false, true, false, false, false]),
    ("v1/usr/ann/status", [false, true, false, false, false]),
    ("v1/app/climate/status", [false, false, false, true, false]),
    ("v1/app/climate/live/#", [false, false, false, true, false]),
    ("v1/app/garden/live/#", [false, false, false, false, true]),
    ("v1/dev/lamp-1/#", [false; 5]),
    ("v1/dev/lamp-1/+", [false; 5]),
    ("v1/+/lamp-1/presence", [false; 5]),
    ("v1/dev/+/status", [false; 5]),
    ("v1/dev/+/down/#", [false; 5]),
    ("v1/#", [false; 5]),
    ("+/#", [false; 5]),
    ("#", [false; 5]),
    ("$SYS/#", [false; 5]),
    ("bus/#", [false; 5]),
    ("bus/message", [false; 5]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_granted_only_to_whom_it_belongs() -> Result<()> {
    let mut platform = Platform::start().await?;
    let lamp = platform.admin.register_device("lamp-1").await?;
    platform.admin.register_device("pump").await?;
    let climate = platform.admin.register_application("climate").await?;
    let hears_pump = json!({ "id": "garden", "hears": { "only": ["dev/pump"] } });
    let garden = platform.admin.register_application_with(hears_pump).await?;
    let ann = platform.admin.register_user("ann").await?;
    let bob = platform.admin.register_user("bob").await?;
    platform.admin.with(&ann).bind("lamp-1", &lamp).await?;
    let everybody = [
        ("dev/lamp-1", lamp),
        ("usr/ann", ann),
        ("usr/bob", bob),
        ("app/climate", climate),
        ("app/garden", garden),
    ];
    for (version, no) in [(Version::V311, "Failure"), (Version::V5, "NotAuthorized")] {
        for (n, (who, secret)) in everybody.iter().enumerate() {
            let mut client = platform.client(who, secret).version(version).connect().await?;
            for (filter, granted) in GRANTS {
                for filter in [(*filter).to_owned(), format!("$share/group/{filter}")] {
                    let answer = client.subscribe(&filter, 1).await?;
                    let expected = if granted[n] { "Success(AtLeastOnce)" } else { no };
                    assert_eq!(answer, expected, "{who} to {filter}, {version:?}");
                }
            }
        }
    }
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_their_own_secret() -> Result<()> {
    let mut platform = Platform::start().await?;
    let code = platform.admin.register_device("lamp-1").await?;
    let key = platform.admin.register_application("climate").await?;
    let token = platform.admin.register_user("ann").await?;
    for (who, secret) in [
        ("dev/lamp-1", "wrong"),
        ("dev/lamp-1", ""),
        ("dev/lamp-1", key.as_str()),
        ("dev/lamp-2", code.as_str()),
        ("app/climate", code.as_str()),
        ("usr/bob", token.as_str()),
        ("usr/ann", "ann's long password"),
        ("srv/app", code.as_str()),
        ("srv/message", ""),
        ("as/far.example", code.as_str()),
        ("ext/shop", key.as_str()),
        ("lamp-1", code.as_str()),
    ] {
        let v5 = platform.client(who, secret).refused().await?;
        assert_eq!(v5, "BadUserNamePassword", "{who}");
        let v311 = platform
            .client(who, secret)
            .version(Version::V311)
            .refused()
            .await?;
        assert_eq!(v311, "BadUserNamePassword", "{who}");
    }
    let away = platform.client("dev/lamp-1@far.example", &code).refused().await?;
    assert_eq!(away, "NotAuthorized");
    platform
        .client("dev/lamp-1@home.example", &code)
        .connect()
        .await?;
    platform.stop().await
}
