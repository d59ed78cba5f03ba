//! Presence and revocation.

use super::*;

#[test]
fn presence_that_disagrees() {
    let tolerated = 4_000;
    for (told_after, found) in [(tolerated, false), (9_000, true)] {
        let mut seen = Seen::well();
        seen.add(OTHER, 20_000, What::Gone(Ending::Broken));
        seen.add(OTHER, 40_000, What::Connected);
        for observer in [APP, USER] {
            let late = if observer == USER { told_after } else { 10 };
            seen.add(
                observer,
                20_000 + late,
                What::Presence {
                    of: OTHER,
                    epoch: 1,
                    seq: 2,
                    since: None,
                    online: false,
                    reason: Reason::ConnectionLost,
                },
            );
            seen.add(
                observer,
                40_010,
                What::Presence {
                    of: OTHER,
                    epoch: 2,
                    seq: 1,
                    since: None,
                    online: true,
                    reason: Reason::Connected,
                },
            );
        }
        if found {
            one(
                seen,
                "presence",
                "usr/sim-x-user-1 took it for online for 9000.0 ms",
            );
        } else {
            assert_eq!(seen.found(), []);
        }
    }
    let mut seen = Seen::well();
    seen.online[1].1 = Some(false);
    one(seen, "presence", "GET /v1/presence");
}

#[test]
fn presence_with_another_reason_than_the_devices() {
    let until = 30_000 * MS;
    for (ending, reason, right) in [
        (Ending::Goodbye, Reason::Disconnected, true),
        (Ending::Goodbye, Reason::ConnectionLost, false),
        (Ending::Broken, Reason::ConnectionLost, true),
        (Ending::Broken, Reason::Disconnected, false),
        (Ending::Broken, Reason::Revoked, false),
        (Ending::Silent { until }, Reason::KeepAliveTimeout, true),
        (Ending::Silent { until }, Reason::Disconnected, false),
        (Ending::ByServer(0x97), Reason::ProtocolError, true),
        (Ending::Broken, Reason::ServerStopped, true),
    ] {
        let mut seen = Seen::well();
        seen.add(OTHER, 29_999, What::Gone(ending));
        seen.online[1].1 = Some(false);
        for observer in [APP, USER] {
            let told = What::Presence {
                of: OTHER,
                epoch: 1,
                seq: 2,
                since: None,
                online: false,
                reason: if observer == USER {
                    reason
                } else {
                    Reason::ServerStopped
                },
            };
            seen.add(observer, 30_010, told);
        }
        if right {
            // That the server does not let it in again is another matter.
            let mut found = seen.found();
            found.retain(|(oracle, _)| *oracle != "connection");
            assert_eq!(found, [], "{ending:?} {reason:?}");
        } else {
            one(seen, "presence", "which is not what it did");
        }
    }
}

#[test]
fn presence_that_contradicts_itself() {
    let mut seen = Seen::well();
    seen.add(
        USER,
        58_000,
        What::Presence {
            of: LAMP,
            epoch: 1,
            seq: 1,
            since: None,
            online: false,
            reason: Reason::ConnectionLost,
        },
    );
    one(seen, "presence", "told as online and as offline");
    let mut seen = Seen::well();
    seen.add(
        USER,
        5_000,
        What::Presence {
            of: LAMP,
            epoch: 2,
            seq: 1,
            since: None,
            online: true,
            reason: Reason::Connected,
        },
    );
    seen.add(
        USER,
        6_000,
        What::Presence {
            of: LAMP,
            epoch: 1,
            seq: 1,
            since: None,
            online: true,
            reason: Reason::Connected,
        },
    );
    one(seen, "presence", "was told (1, 1) after (2, 1)");
}

#[test]
fn nobody_knows_of_a_device_that_fell_silent_before_its_keep_alive_is_over() {
    let mut seen = Seen::well();
    seen.add(OTHER, 20_000, What::Gone(Ending::Silent { until: 35_000 * MS }));
    for observer in [APP, USER] {
        seen.add(
            observer,
            36_000,
            What::Presence {
                of: OTHER,
                epoch: 1,
                seq: 2,
                since: None,
                online: false,
                reason: Reason::ConnectionLost,
            },
        );
    }
    seen.online[1].1 = Some(false);
    assert_eq!(seen.found(), []);
}

#[test]
fn revocation_too_late() {
    let reset = |gone_ms: Moment| {
        let mut seen = Seen::well();
        seen.add(
            APP,
            20_000,
            What::Revoking {
                of: OTHER,
                how: Revocation::Reset,
            },
        );
        seen.add(APP, 20_100, What::Revoked { of: OTHER });
        seen.add(OTHER, gone_ms, What::Gone(Ending::ByServer(0x87)));
        seen.add(APP, 25_000, What::Restored { of: OTHER });
        seen.add(OTHER, 25_050, What::Connected);
        for observer in [APP, USER] {
            seen.add(
                observer,
                gone_ms + 10,
                What::Presence {
                    of: OTHER,
                    epoch: 1,
                    seq: 2,
                    since: None,
                    online: false,
                    reason: Reason::ConnectionLost,
                },
            );
            seen.add(
                observer,
                25_060,
                What::Presence {
                    of: OTHER,
                    epoch: 2,
                    seq: 1,
                    since: None,
                    online: true,
                    reason: Reason::Connected,
                },
            );
        }
        seen
    };
    assert_eq!(reset(20_050).found(), []);
    one(
        reset(23_000),
        "revocation",
        "still stood 2900.0 ms after the reset",
    );
    let mut seen = reset(20_050);
    let message = Number::of(OTHER, 0);
    seen.add(
        OTHER,
        22_500,
        What::Due(message, facts(Kind::Upload, APP, 22_500 * MS, None)),
    );
    seen.add(
        OTHER,
        22_500,
        What::Sent {
            message,
            again: false,
        },
    );
    seen.add(OTHER, 22_600, What::Acknowledged { message, mid: None });
    seen.stored.push(Stored {
        seq: 9,
        message,
        source: Some(OTHER),
        mid: None,
        print: PRINT,
    });
    one(seen, "revocation", "its upload was acknowledged 2500.0 ms");
    let mut seen = reset(20_050);
    seen.forget(|what| matches!(what, What::Revoked { .. }));
    one(seen, "revocation", "did not come into effect");
}

/// The application and the user are told that the other device went at 30 s; the platform says when and under which epoch.
fn went(news: [(u64, i64); 2]) -> Seen {
    let mut seen = Seen::well();
    seen.add(OTHER, 29_999, What::Gone(Ending::Goodbye));
    seen.online[1].1 = Some(false);
    for (observer, (epoch, since)) in [APP, USER].into_iter().zip(news) {
        let told = What::Presence {
            of: OTHER,
            epoch,
            seq: 2,
            since: Some(since),
            online: false,
            reason: Reason::Disconnected,
        };
        seen.add(observer, 30_010, told);
    }
    seen
}

#[test]
fn news_of_one_change_have_one_epoch_and_its_time() {
    assert_eq!(went([(1, 30_000), (1, 30_000)]).found(), []);
    one(
        went([(1, 30_000), (1, 30_400)]),
        "presence",
        "epoch 1, seq 2 has two times",
    );
    one(
        went([(1, 30_000), (2, 30_000)]),
        "presence",
        "has the epochs 1 and 2",
    );
    let found = went([(1, 9_000), (1, 9_000)]).found();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0]
            .1
            .contains("offline since a time at which it did not become so"),
        "{found:?}"
    );
    let mut seen = went([(1, 30_000), (1, 30_000)]);
    let asked = What::PresenceAsked {
        of: OTHER,
        epoch: 3,
        seq: 2,
        since: Some(30_000),
        online: false,
    };
    seen.add(APP, 60_100, asked);
    one(seen, "presence", "the second by GET /v1/presence");
}
