//! `live` messages and wills: the lamp says and leaves them, the user owns it, the other device does not.

use super::*;

/// A number that no message of [`Seen::well`] has.
fn word() -> Number {
    Number::of(LAMP, 900)
}

fn listened(of: Party) -> What {
    What::Listened {
        message: word(),
        of: Some(of),
        retained: false,
        data: 1,
    }
}

/// Said at 30 s, taken, heard by the owner.
fn said() -> Seen {
    let mut seen = Seen::well();
    seen.add(LAMP, 30_000, What::Said { message: word() });
    seen.add(LAMP, 30_010, What::SaidTaken { message: word() });
    seen.add(USER, 30_005, listened(LAMP));
    seen
}

#[test]
fn live_messages() {
    assert_eq!(said().found(), []);
    let mut seen = said();
    seen.forget(|what| matches!(what, What::Listened { .. }));
    one(seen, "live", "not heard by usr/sim-x-user-1, who was there");
    let mut seen = said();
    seen.forget(|what| matches!(what, What::Listened { .. } | What::SaidTaken { .. }));
    one(seen, "live", "never acknowledged");
    let mut seen = said();
    seen.forget(|what| matches!(what, What::Listened { .. } | What::SaidTaken { .. }));
    seen.add(LAMP, 30_010, What::SaidRefused { message: word() });
    assert_eq!(seen.found(), [], "it was refused");
    let mut seen = said();
    seen.add(USER, 30_500, listened(LAMP));
    one(seen, "live", "heard twice");
    let mut seen = said();
    seen.add(LAMP, 30_400, What::Said { message: word() });
    seen.add(USER, 30_500, listened(LAMP));
    assert_eq!(seen.found(), [], "it was said twice");
    let mut seen = said();
    seen.add(
        LAMP,
        29_999,
        What::Worded {
            message: word(),
            data: 2,
        },
    );
    one(seen, "live", "with another payload");
    let mut seen = said();
    seen.add(OTHER, 30_500, listened(LAMP));
    one(seen, "live", "dev/sim-x-lamp-2, who may not");
    let mut seen = Seen::well();
    seen.add(USER, 30_500, listened(LAMP));
    one(seen, "live", "nobody has said it");
}

/// The lamp has left a will and goes so at 40 s, which everybody is told.
fn gone(ending: Ending) -> Seen {
    let mut seen = Seen::well();
    seen.add(LAMP, 10, What::Testament { message: word() });
    away(&mut seen, 58_000);
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
    seen.add(LAMP, 40_000, What::Gone(ending));
    for observer in [APP, USER] {
        let told = What::Presence {
            of: LAMP,
            epoch: 1,
            seq: 2,
            since: None,
            online: false,
            reason: Reason::ServerStopped,
        };
        seen.add(observer, 40_010, told);
    }
    seen
}

#[test]
fn wills() {
    for (ending, heard, words) in [
        (Ending::Broken, Some(40_005), None),
        (Ending::Broken, None, Some("did not hear its will")),
        (Ending::Broken, Some(20_000), Some("while it was there")),
        (Ending::Goodbye, None, None),
        (Ending::Goodbye, Some(40_005), Some("although it said goodbye")),
        (Ending::ByServer(0x97), None, None),
    ] {
        let mut seen = gone(ending);
        if let Some(at) = heard {
            seen.add(USER, at, listened(LAMP));
        }
        match words {
            // That the server does not let it in again is another matter.
            None => assert!(
                seen.found().iter().all(|(oracle, _)| *oracle == "connection"),
                "{ending:?}"
            ),
            Some(words) => one(seen, "will", words),
        }
    }
}

#[test]
fn a_will_is_heard_once_in_a_connection() {
    let mut seen = gone(Ending::Broken);
    seen.add(USER, 40_005, listened(LAMP));
    seen.add(USER, 40_105, listened(LAMP));
    one(seen, "will", "heard twice");
}
