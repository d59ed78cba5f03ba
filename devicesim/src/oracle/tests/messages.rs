//! Messages that are lost, doubled, out of order or with the wrong one.

use super::*;

#[test]
fn lost() {
    let mut seen = Seen::well();
    seen.stored.pop();
    one(seen, "lost", "not in the store");
    let mut seen = Seen::well();
    // Without an expiry, and without anything that came after its acceptance.
    seen.change(|seen| {
        if let What::Due(number, facts) = &mut seen.what
            && *number == push(1)
        {
            facts.expiry = None;
        }
    });
    seen.forget(|what| {
        matches!(what, What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message } | What::Ended { message, .. } if *message == push(1))
    });
    one(seen, "lost", "never delivered");
}

#[test]
fn a_push_that_expires_before_a_device_that_was_there_is_lost() {
    let expired = |gone_ms: Option<Moment>| {
        let mut seen = Seen::well();
        seen.forget(|what| {
            matches!(what, What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message } | What::Ended { message, .. } if *message == push(1))
        });
        seen.add(
            APP,
            14_100,
            What::Ended {
                message: push(1),
                code: 408,
                answer: None,
                mid: None,
            },
        );
        if let Some(gone_ms) = gone_ms {
            away(&mut seen, gone_ms);
        }
        seen
    };
    one(expired(None), "lost", "expired before a device that was there");
    one(expired(Some(9_000)), "lost", "expired before");
    assert_eq!(
        expired(Some(5_000)).found(),
        [],
        "there for less than two seconds"
    );
    assert_eq!(
        Seen {
            slow: true,
            ..expired(None)
        }
        .found(),
        []
    );
}

#[test]
fn a_push_to_a_device_that_is_away_is_not_lost() {
    let mut seen = Seen::well();
    seen.change(|seen| {
        if let What::Due(number, facts) = &mut seen.what
            && *number == push(1)
        {
            facts.expiry = None;
        }
    });
    seen.forget(|what| {
        matches!(what, What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message } | What::Ended { message, .. } if *message == push(1))
    });
    away(&mut seen, 3500);
    assert_eq!(seen.found(), []);
}

#[test]
fn duplicated() {
    let mut seen = Seen::well();
    seen.stored.push(Stored {
        seq: 9,
        ..seen.stored[1]
    });
    one(seen, "duplicated", "2 times in the store");
    let mut seen = Seen::well();
    seen.add(LAMP, 4025, pushed(push(1), mid(11), false));
    one(seen, "duplicated", "in one connection");
}

#[test]
fn a_push_comes_again_in_a_new_session_until_it_is_answered() {
    let again = |answered_first: bool| {
        let mut seen = Seen::well();
        if !answered_first {
            seen.forget(|what| matches!(what, What::Answered { message } if *message == push(1)));
            seen.add(LAMP, 6000, What::Answered { message: push(1) });
        }
        seen.add(LAMP, 5000, What::Gone(Ending::Broken));
        seen.add(LAMP, 5100, What::Connected);
        seen.add(LAMP, 5200, pushed(push(1), mid(11), false));
        seen
    };
    assert_eq!(again(false).found(), []);
    one(again(true), "duplicated", "after its answer was taken");
    // What the session brings along with DUP is the one that comes in this connection.
    for dup in [true, false] {
        let mut seen = again(false);
        seen.add(LAMP, 5300, pushed(push(1), mid(11), dup));
        one(seen, "duplicated", &format!("DUP false, then {dup}"));
    }
}

#[test]
fn an_upload_sent_twice_without_an_id_may_be_stored_twice() {
    let twice = |named: bool| {
        let mut seen = Seen::well();
        seen.change(|seen| {
            if let What::Due(_, facts) = &mut seen.what {
                facts.named = named;
            }
        });
        seen.add(
            LAMP,
            2005,
            What::Sent {
                message: upload(1),
                again: true,
            },
        );
        seen.stored.push(Stored {
            seq: 9,
            ..seen.stored[1]
        });
        seen
    };
    assert_eq!(twice(false).found(), []);
    one(twice(true), "duplicated", "sent 2 times");
}

#[test]
fn reordered() {
    let mut seen = Seen::well();
    seen.stored[0].seq = 7;
    one(seen, "reordered", "stored");
    let mut seen = Seen::well();
    seen.change(|seen| {
        if matches!(seen.what, What::Pushed { message, .. } if message == push(0)) {
            seen.at = 4500 * MS;
        }
    });
    one(seen, "reordered", "delivered");
}

#[test]
fn misdelivered() {
    let mut seen = Seen::well();
    seen.add(OTHER, 4020, What::Overheard { message: push(1) });
    one(seen, "misdelivered", "-lamp-2, who may not");
    let mut seen = Seen::well();
    seen.add(OTHER, 4020, pushed(push(1), mid(11), false));
    one(seen, "misdelivered", "delivered to dev/sim-x-lamp-2");
    let mut seen = Seen::well();
    seen.stored[0].source = Some(OTHER);
    one(seen, "misdelivered", "stored as from dev/sim-x-lamp-2");
    let mut seen = Seen::well();
    seen.stored.push(Stored {
        seq: 9,
        message: Number::of(LAMP, 77),
        source: Some(LAMP),
        mid: None,
        print: PRINT,
    });
    one(seen, "misdelivered", "nobody has sent it");
}
