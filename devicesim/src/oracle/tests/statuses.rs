//! Ends that are wrong, refusals, expiry.

use super::*;

#[test]
fn wrong_status() {
    let code = |of: Number, new: u16, new_answer: Option<u16>| {
        let mut seen = Seen::well();
        seen.change(|seen| {
            if let What::Ended {
                message,
                code,
                answer,
                ..
            } = &mut seen.what
                && *message == of
            {
                (*code, *answer) = (new, new_answer);
            }
        });
        seen
    };
    one(code(upload(0), 404, None), "status", "ended with 404");
    one(code(upload(0), 208, None), "status", "ended with 208");
    one(code(push(0), 503, None), "status", "ended with 503");
    one(code(push(0), 200, Some(299)), "status", "shows the answer 299");
    one(code(push(0), 200, None), "status", "has no answer");
    let mut seen = Seen::well();
    seen.add(
        LAMP,
        1030,
        What::Ended {
            message: upload(0),
            code: 404,
            answer: None,
            mid: None,
        },
    );
    one(seen, "status", "ended with 200, then with 404");
    for of in [upload(1), push(1)] {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Ended { message, .. } if *message == of));
        one(seen, "status", "no status has come");
    }
    let mut seen = Seen::well();
    seen.forget(|what| matches!(what, What::Answering { message, .. } | What::Answered { message } if *message == push(0)));
    one(seen, "status", "shows the answer 201, the device gave []");
}

#[test]
fn the_status_of_a_repeat_comes_before_or_after_the_first_one() {
    for codes in [[208, 200], [200, 208]] {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Ended { message, .. } if *message == upload(0)));
        seen.add(
            LAMP,
            1005,
            What::Sent {
                message: upload(0),
                again: true,
            },
        );
        for (at, code) in (1020..).zip(codes) {
            seen.add(
                LAMP,
                at,
                What::Ended {
                    message: upload(0),
                    code,
                    answer: None,
                    mid: None,
                },
            );
        }
        assert_eq!(seen.found(), [], "{codes:?}");
    }
}

#[test]
fn refused() {
    let refused = |of: Number, code: u16, taken: bool| {
        let mut seen = Seen::well();
        seen.change(|seen| {
            if let What::Acknowledged { message, .. } = seen.what
                && message == of
            {
                seen.what = What::Rejected { message, code };
            }
        });
        if !taken {
            seen.forget(|what| {
                matches!(what, What::Heard { message, .. } | What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message } | What::Ended { message, .. } if *message == of)
            });
            seen.stored.retain(|stored| stored.message != of);
        }
        seen
    };
    one(
        refused(upload(0), 0x97, true),
        "status",
        "refused with 0x97, and in the store",
    );
    one(
        refused(push(0), 0x97, true),
        "status",
        "refused with 0x97, and delivered",
    );
    one(
        refused(push(0), 0x87, false),
        "status",
        "refused with 0x87, for which there is no reason",
    );
    assert_eq!(refused(upload(0), 0x97, false).found(), []);
}

#[test]
fn expired_too_early_and_too_late() {
    let expired = |at_ms: Moment| {
        let mut seen = Seen::well();
        seen.forget(|what| {
            matches!(what, What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message } | What::Ended { message, .. } if *message == push(1))
        });
        seen.add(
            APP,
            at_ms,
            What::Ended {
                message: push(1),
                code: 408,
                answer: None,
                mid: None,
            },
        );
        away(&mut seen, 4_015);
        seen
    };
    assert_eq!(expired(14_100).found(), []);
    one(expired(12_000), "expiry", "too early");
    let late = || {
        let mut seen = expired(14_100);
        seen.forget(|what| {
            matches!(
                what,
                What::Gone(_)
                    | What::Presence {
                        of: LAMP,
                        online: false,
                        ..
                    }
            )
        });
        seen.online[0].1 = Some(true);
        seen.add(LAMP, 16_000, pushed(push(1), mid(11), false));
        seen
    };
    one(late(), "expiry", "too late: delivered 1990.0 ms");
    assert_eq!(Seen { slow: true, ..late() }.found(), []);
    let mut seen = expired(14_100);
    seen.forget(|what| matches!(what, What::Ended { message, .. } if *message == push(1)));
    one(seen, "expiry", "no status has said so");
}

#[test]
fn statuses_of_nothing_of_others_and_twice() {
    let ended = |message| What::Ended {
        message,
        code: 200,
        answer: None,
        mid: None,
    };
    for (what, oracle, words) in [
        (
            What::EndedUnknown { code: 200 },
            "status",
            "a status 200 of what it has not sent",
        ),
        (
            ended(upload(99)),
            "status",
            "a status 200 of what it has not sent",
        ),
        (What::EndedUnreadable, "status", "cannot be read"),
        (ended(upload(0)), "status", "told twice in one connection"),
        (
            What::EndedOther { of: Some(OTHER) },
            "misdelivered",
            "a message of dev/sim-x-lamp-2",
        ),
        (ended(push(0)), "misdelivered", "a message of app/sim-x"),
    ] {
        let mut seen = Seen::well();
        seen.add(LAMP, 5_000, what);
        one(seen, oracle, words);
    }
    // A refusal's own names nothing.
    let mut seen = Seen::well();
    let message = upload(9);
    seen.add(
        LAMP,
        5_000,
        What::Due(message, facts(Kind::Upload, APP, 5_000 * MS, None)),
    );
    seen.add(
        LAMP,
        5_001,
        What::Sent {
            message,
            again: false,
        },
    );
    seen.add(LAMP, 5_010, What::Rejected { message, code: 0x97 });
    seen.add(LAMP, 5_011, What::EndedUnknown { code: 429 });
    assert_eq!(seen.found(), []);
    // It comes again in a new connection.
    let mut seen = Seen::well();
    seen.add(LAMP, 6_000, What::Gone(Ending::Broken));
    seen.add(LAMP, 6_010, What::Connected);
    seen.add(LAMP, 6_020, ended(upload(0)));
    assert_eq!(seen.found(), []);
}
