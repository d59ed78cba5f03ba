//! A platform made faulty by a proxy before it: what is lost, repeated, held back, turned around, sent to the wrong one,
//! lied about, changed or kept alive is found by the oracle of that name.

use devicesim::scenario::{Scenario, Span, Via};
use irsp_tests::Platform;

use crate::play;
use crate::proxy::{Fault, Proxy};

/// Some 800 uploads and 640 pushes in four seconds; the proxy strikes the 201st of a kind and each thousandth after it.
const SCENARIO: &str = r#"
about = "many small messages for faults to hide in"
duration = "4s"
settle = "20s"
connect_rate = 200.0
[[devices]]
kind = "lamp"
count = 12
uploads = [{ channel = "state", every = "60ms", jitter = 0.5 }]
[users]
count = 2
binds = 4
[app]
pushes = [{ to = "lamp", rate = 160.0, expiry = "20s" }]
[[events]]
event = "power-cut"
at = "1s"
share = 0.3
lasts = "500ms"
[tolerance]
presence = "4s"
revocation = "3s"
"#;

/// Only where a revocation is looked at: it would take pushes with it that other faults hide in.
const RESETS: &str = r#"
[[events]]
event = "reset"
at = "2s"
count = 2
every = "200ms"
"#;

/// Lamps that say some 800 things in four seconds and break their connections, plugs that say goodbye; all leave wills.
const WORDS: &str = r#"
about = "live messages and wills for faults to hide in"
duration = "4s"
settle = "10s"
connect_rate = 200.0
[[devices]]
kind = "lamp"
count = 12
uploads = [{ channel = "state", every = "1s" }]
live = { every = "60ms", retain = true }
will = true
flap = { every = "1s", away = "300ms" }
[[devices]]
kind = "plug"
count = 4
will = true
flap = { every = "1s", away = "300ms", how = "goodbye" }
[users]
count = 2
binds = 8
[tolerance]
presence = "1s"
"#;

fn scenario() -> Scenario {
    toml::from_str(SCENARIO).unwrap()
}

fn with_resets() -> Scenario {
    toml::from_str(&format!("{SCENARIO}{RESETS}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_platform_passes_through_the_proxy() {
    let platform = Platform::start().await.unwrap();
    let proxy = Proxy::start(platform.doors().tcp, None).await;
    let outcome = play(&platform, proxy.address(), "clean", with_resets()).await;
    assert!(outcome.verdict.pass, "{}", outcome.table());
    assert!(
        outcome.counts.uploads_done > 500 && outcome.counts.pushes_done > 400,
        "{}",
        outcome.table()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_by_its_own_oracle() {
    let platform = Platform::start().await.unwrap();
    for (fault, oracle) in [
        (Fault::LoseUpload, "lost"),
        (Fault::LosePush, "lost"),
        (Fault::RepeatPush, "duplicated"),
        (Fault::SwapPushes, "reordered"),
        (Fault::MisroutePush, "misdelivered"),
        (Fault::ChangeStatus, "status"),
        (Fault::SwallowStatus, "status"),
        (Fault::ExpireEarly, "expiry"),
        (Fault::DeliverLate, "expiry"),
        (Fault::LieAboutPresence, "presence"),
        (Fault::KeepTheRevoked, "revocation"),
    ] {
        found_out(&platform, fault, oracle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_each_fault_in_what_observers_hear_and_senders_are_told() {
    let platform = Platform::start().await.unwrap();
    for (fault, oracle) in [
        (Fault::LoseCopy, "lost"),
        (Fault::RepeatCopy, "duplicated"),
        (Fault::SwapCopies, "reordered"),
        (Fault::CutCopy, "corrupted"),
        (Fault::ChangeUpload, "corrupted"),
        (Fault::RenamePusher, "misdelivered"),
        (Fault::MovePush, "misdelivered"),
        (Fault::MisrouteStatus, "misdelivered"),
        (Fault::RepeatStatus, "status"),
        (Fault::RefuseTheTaken, "status"),
        (Fault::RefuseTheStored, "status"),
        (Fault::LieAboutTheReason, "presence"),
    ] {
        found_out(&platform, fault, oracle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_messages_and_wills_of_a_clean_platform_pass() {
    let platform = Platform::start().await.unwrap();
    let proxy = Proxy::start(platform.doors().tcp, None).await;
    let words = toml::from_str(WORDS).unwrap();
    let outcome = play(&platform, proxy.address(), "words", words).await;
    assert!(outcome.verdict.pass, "{}", outcome.table());
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_each_fault_in_live_messages_and_wills() {
    let platform = Platform::start().await.unwrap();
    for (fault, oracle) in [
        (Fault::LoseLive, "live"),
        (Fault::RepeatLive, "live"),
        (Fault::MisrouteLive, "live"),
        (Fault::LoseWill, "will"),
        (Fault::SwallowGoodbye, "will"),
        (Fault::SwallowGoodbye, "presence"),
    ] {
        found_out(&platform, fault, oracle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_a_platform_that_says_nothing() {
    let platform = Platform::start().await.unwrap();
    for (fault, oracle) in [
        (Fault::SwallowPublish, "lost"),
        (Fault::SwallowAcknowledgement, "lost"),
        (Fault::SwallowSubscription, "connection"),
        (Fault::EndConnection, "connection"),
    ] {
        found_out(&platform, fault, oracle).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_an_answer_that_was_acknowledged_and_not_used() {
    let platform = Platform::start().await.unwrap();
    found_out(&platform, Fault::LoseAnswer, "status").await;
    let proxy = Proxy::start(platform.doors().tcp, Some(Fault::LoseAnswer)).await;
    let mut by_http = scenario();
    by_http.settle = Span::from_millis(4_000);
    for pushes in &mut by_http.app.pushes {
        (pushes.via, pushes.expiry) = (Via::Http, None);
    }
    let outcome = play(&platform, proxy.address(), "by-http", by_http).await;
    assert!(proxy.done() > 0 && !outcome.verdict.pass, "{}", outcome.table());
    let finding = outcome
        .findings
        .iter()
        .find(|finding| finding.oracle == "status")
        .unwrap();
    assert!(finding.what.contains("receipt has not ended"), "{finding:?}");
}

/// Plays against a platform with this fault.
async fn found_out(platform: &Platform, fault: Fault, oracle: &str) {
    let proxy = Proxy::start(platform.doors().tcp, Some(fault)).await;
    let mut scenario = if fault == Fault::KeepTheRevoked {
        with_resets()
    } else if matches!(oracle, "live" | "will") || fault == Fault::SwallowGoodbye {
        toml::from_str(WORDS).unwrap()
    } else {
        scenario()
    };
    if matches!(fault, Fault::DeliverLate | Fault::LoseAnswer) {
        for pushes in &mut scenario.app.pushes {
            pushes.expiry = Some(Span::from_millis(2_000));
        }
    }
    if matches!(oracle, "connection")
        || matches!(fault, Fault::SwallowPublish | Fault::SwallowAcknowledgement)
    {
        // Long enough to know that no answer comes.
        scenario.settle = Span::from_millis(4_000);
    }
    if fault == Fault::LosePush {
        for pushes in &mut scenario.app.pushes {
            pushes.expiry = None;
        }
        // The platform waits for an answer that never comes.
        scenario.settle = Span::from_millis(8_000);
    }
    let outcome = play(
        platform,
        proxy.address(),
        &format!("{fault:?}-{oracle}").to_lowercase(),
        scenario,
    )
    .await;
    assert!(proxy.done() > 0, "{fault:?} was not done");
    assert!(
        !outcome.verdict.pass && outcome.found.contains_key(oracle),
        "{fault:?}: {}",
        outcome.table()
    );
    let finding = outcome
        .findings
        .iter()
        .find(|finding| finding.oracle == oracle)
        .unwrap();
    assert!(finding.device.starts_with("dev/"), "{finding:?}");
    for (told, words) in [
        (Fault::RefuseTheStored, "in the store all the same"),
        (Fault::LieAboutTheReason, "with the reason disconnected"),
        (Fault::LoseLive, "who was there"),
        (Fault::RepeatLive, "heard twice"),
        (Fault::MisrouteLive, "who may not"),
        (Fault::LoseWill, "did not hear its will"),
        (Fault::LoseAnswer, "answer was acknowledged"),
        (Fault::SwallowPublish, "never acknowledged"),
        (Fault::SwallowAcknowledgement, "never acknowledged"),
        (Fault::SwallowSubscription, "never answered"),
        (Fault::EndConnection, "ended its connections"),
    ] {
        assert!(fault != told || finding.what.contains(words), "{finding:?}");
    }
    if matches!(
        fault,
        Fault::LosePush | Fault::RepeatPush | Fault::SwapPushes | Fault::ChangeStatus
    ) {
        let told = finding.receipt.is_some() || finding.no_receipt.is_some();
        assert!(told && finding.message.is_some(), "{finding:?}");
    }
}
