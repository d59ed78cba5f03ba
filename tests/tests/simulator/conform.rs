//! `irsp conform platform` finds nothing wrong with our own platform, and what is wrong with a faulty one.

use std::net::SocketAddr;
use std::time::Duration;

use irsp_conform::Report;
use irsp_conform::platform::{Options, examine};
use irsp_protocol::Secret;
use irsp_tests::Platform;

use crate::proxy::{Fault, Proxy};

/// A check that fails waits so long; one that passes does not.
const PATIENCE: Duration = Duration::from_secs(15);

async fn report(platform: &Platform, tcp: SocketAddr, only: &[&str]) -> Report {
    let token = std::fs::read_to_string(platform.data().join("admin.token")).unwrap();
    let options = Options {
        url: format!("http://{}", platform.doors().account),
        app_url: Some(format!("http://{}", platform.doors().app)),
        mqtt: format!("mqtt://{tcp}").parse().unwrap(),
        ca: None,
        admin: Secret::new(token.trim()),
        patience: PATIENCE,
        hook: None,
        other: None,
        only: only.iter().map(|&clause| clause.to_owned()).collect(),
    };
    examine(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_platform_conforms_and_is_left_as_it_was() {
    let mut platform = Platform::start().await.unwrap();
    let report = report(&platform, platform.doors().tcp, &[]).await;
    assert!(report.pass, "{report}");
    assert_eq!(report.notes, [] as [&str; 0], "everybody is deleted");
    let not_tried: Vec<&str> = report.clauses.iter().map(|clause| clause.number).collect();
    let not_tried = not_tried
        .into_iter()
        .filter(|number| report.clause(number) == "-");
    assert_eq!(not_tried.collect::<Vec<_>>(), ["8.7", "8.8.2"], "{report}");
    for list in ["/v1/users", "/v1/devices", "/v1/apps"] {
        let left = platform.admin.get(list).await.unwrap().body;
        assert!(!left.to_string().contains("conform-"), "{left}");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_platform_fails_the_clauses_it_breaks() {
    let platform = Platform::start().await.unwrap();
    for (fault, only, failing) in [
        (Fault::LoseUpload, &["7.1", "8.3"][..], &["8.3.1", "8.3.4"][..]),
        (Fault::RepeatPush, &["8.3.3", "8.3.4"], &["8.3.3"]),
        (Fault::ChangeStatus, &["8.3.1", "8.3.2"], &["8.3.1"]),
        (Fault::LieAboutPresence, &["8.3.2", "8.3.4"], &["8.3.2"]),
        (
            Fault::KeepTheRevoked,
            &["7.1", "8.2"],
            &["8.2.2", "8.2.3", "8.2.4"],
        ),
    ] {
        let proxy = Proxy::always(platform.doors().tcp, fault).await;
        let report = report(&platform, proxy.address(), only).await;
        assert!(proxy.done() > 0, "{fault:?} was not done");
        assert_eq!(report.failing(), failing, "{fault:?}: {report}");
    }
}
