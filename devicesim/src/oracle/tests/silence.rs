//! What nobody answers: messages, answers, subscriptions, connections.

use super::*;

#[test]
fn what_is_never_acknowledged_is_lost() {
    for of in [upload(1), push(1)] {
        let mut seen = Seen::well();
        seen.forget(|what| {
            matches!(what, What::Acknowledged { message, .. } | What::Ended { message, .. }
                | What::Pushed { message, .. } | What::Answering { message, .. } | What::Answered { message }
                | What::Heard { message, .. } if *message == of)
        });
        seen.stored.retain(|stored| stored.message != of);
        one(seen, "lost", "never acknowledged");
    }
    let mut seen = Seen::well();
    seen.forget(|what| matches!(what, What::Acknowledged { message, .. } if *message == upload(1)));
    one(seen, "lost", "never acknowledged");
}

#[test]
fn what_its_run_has_cut_is_acknowledged_when_it_is_sent_again() {
    let cut = || {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Acknowledged { message, .. } | What::Ended { message, .. } if *message == upload(1)));
        seen.add(LAMP, 2_100, What::Gone(Ending::Broken));
        seen.add(LAMP, 2_200, What::Connected);
        seen
    };
    // Nothing is promised of it.
    assert_eq!(cut().found(), []);
    let again = What::Sent {
        message: upload(1),
        again: true,
    };
    let mut seen = cut();
    seen.add(LAMP, 2_201, again);
    one(seen, "lost", "never acknowledged");
    let mut seen = cut();
    seen.add(LAMP, 59_500, again);
    assert_eq!(seen.found(), []);
}

#[test]
fn so_is_an_answer_that_is_never_acknowledged() {
    let mut seen = Seen::well();
    seen.forget(|what| matches!(what, What::Answered { message } if *message == push(1)));
    one(seen, "lost", "answer was never acknowledged");
}

#[test]
fn subscriptions_are_answered() {
    let mut seen = Seen::well();
    seen.add(OTHER, 11, What::Subscribing);
    one(seen, "connection", "never answered");
    let mut seen = Seen::well();
    seen.add(OTHER, 11, What::Subscribing);
    seen.add(OTHER, 12, What::Subscribed);
    assert_eq!(seen.found(), []);
}

/// The connection of a device is ended so often, a tenth of a second each, and stands afterwards unless it is refused.
fn ended(times: u64, stays: bool) -> Seen {
    let mut seen = Seen::well();
    for n in 0..times {
        let at = 5_000 + n * 200;
        seen.add(OTHER, at, What::Gone(Ending::ByServer(0)));
        if n + 1 < times || stays {
            seen.add(OTHER, at + 100, What::Connected);
        }
    }
    seen
}

#[test]
fn a_member_keeps_its_connection() {
    assert_eq!(ended(2, true).found(), []);
    one(ended(3, true), "connection", "ended its connections 3 times");
    let found = ended(1, false).found();
    assert!(
        found
            .iter()
            .any(|(oracle, what)| *oracle == "connection" && what.contains("not let in again")),
        "{found:?}"
    );
}

/// The second push over HTTP, with this receipt.
fn by_http(open: bool, source: Party, to: Party) -> Seen {
    let mut seen = Seen::well();
    seen.change(|seen| {
        if let What::Due(number, facts) = &mut seen.what
            && *number == push(1)
        {
            facts.door = Door::Http;
        }
    });
    if open {
        seen.forget(|what| matches!(what, What::Ended { message, .. } if *message == push(1)));
    }
    let message = push(1);
    let receipt = What::Receipt {
        message,
        open,
        source: Some(source),
        to: Some(to),
    };
    seen.add(APP, 60_500, receipt);
    seen
}

#[test]
fn a_receipt_ends_and_names_whom_it_is_of() {
    assert_eq!(by_http(false, APP, LAMP).found(), []);
    one(
        by_http(true, APP, LAMP),
        "status",
        "answer was acknowledged, and its receipt has not ended",
    );
    one(by_http(false, APP, OTHER), "misdelivered", "as its destination");
    one(by_http(false, USER, LAMP), "misdelivered", "as its source");
    let mut seen = by_http(true, APP, LAMP);
    seen.forget(|what| matches!(what, What::Answered { message } | What::Answering { message, .. } if *message == push(1)));
    one(seen, "status", "expired, and its receipt has not ended");
}

#[test]
fn what_was_answered_in_time_does_not_expire() {
    let expired = |at: Moment| {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Ended { message, .. } | What::Answered { message } if *message == push(1)));
        seen.add(LAMP, at, What::Answered { message: push(1) });
        let ended = What::Ended {
            message: push(1),
            code: 408,
            answer: None,
            mid: None,
        };
        seen.add(APP, 14_100, ended);
        seen
    };
    one(
        expired(4_030),
        "status",
        "answer was acknowledged 9971.0 ms before the expiry",
    );
    assert_eq!(expired(13_900).found(), []);
}

#[test]
fn an_answer_is_not_refused_without_a_reason() {
    let refused = |code: u8| {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Answered { message } | What::Ended { message, .. } if *message == push(1)));
        let message = push(1);
        seen.add(LAMP, 4_030, What::AnswerRefused { message, code });
        let ended = What::Ended {
            message,
            code: 408,
            answer: None,
            mid: None,
        };
        seen.add(APP, 14_100, ended);
        seen
    };
    one(refused(0x87), "status", "answer was refused with 0x87");
    assert_eq!(refused(0x97).found(), []);
}

#[test]
fn a_status_names_the_destination_of_its_message() {
    let named = |to| {
        let mut seen = Seen::well();
        let message = upload(1);
        seen.add(LAMP, 2_020, What::EndedFor { message, to });
        seen
    };
    assert_eq!(named(Some(APP)).found(), []);
    one(named(None), "misdelivered", "names a stranger as its destination");
}
