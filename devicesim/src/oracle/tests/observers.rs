//! What observers hear, and whether what comes out is what went in.

use super::*;

fn hears(seen: &mut Seen, change: impl Fn(&mut Observation)) {
    for log in &mut seen.logs {
        log.seen
            .iter_mut()
            .filter(|seen| matches!(seen.what, What::Heard { .. }))
            .for_each(&change);
    }
}

#[test]
fn a_copy_that_an_observer_does_not_hear_is_lost() {
    let without = |of: Number| {
        let mut seen = Seen::well();
        seen.forget(|what| matches!(what, What::Heard { message, .. } if *message == of));
        seen
    };
    one(without(upload(1)), "lost", "never heard by app/sim-x");
    // Whoever is away, or came just now, need not have heard it.
    for (gone, back) in [(1_990, 2_100), (1_000, 1_500), (4_000, 4_100)] {
        let mut seen = without(upload(1));
        seen.add(APP, gone, What::Gone(Ending::Broken));
        seen.add(APP, back, What::Connected);
        for of in [LAMP, OTHER] {
            seen.add(
                APP,
                back + 10,
                What::Presence {
                    of,
                    epoch: 1,
                    seq: 1,
                    since: None,
                    online: true,
                    reason: Reason::Connected,
                },
            );
        }
        assert_eq!(seen.found(), [], "{gone}");
    }
}

#[test]
fn copies_come_once_and_in_order() {
    let mut seen = Seen::well();
    seen.add(APP, 2_016, heard(upload(1)));
    one(seen, "duplicated", "heard twice in one connection by app/sim-x");
    let mut seen = Seen::well();
    hears(&mut seen, |seen| {
        if seen.what == heard(upload(0)) {
            seen.at = 2_500 * MS;
        }
    });
    one(seen, "reordered", "heard by app/sim-x");
}

#[test]
fn what_comes_out_is_what_went_in() {
    let other = |data: u64, channel: u64| Print { data, channel };
    for (print, oracle, words) in [
        (other(9, 8), "corrupted", "with another payload"),
        (other(7, 9), "misdelivered", "another channel"),
    ] {
        let mut seen = Seen::well();
        seen.stored[0].print = print;
        one(seen, oracle, words);
        let mut seen = Seen::well();
        hears(&mut seen, |seen| {
            if seen.what == heard(upload(0)) {
                seen.what = What::Heard {
                    message: upload(0),
                    dup: false,
                    print,
                };
            }
        });
        one(seen, oracle, words);
        let mut seen = Seen::well();
        seen.change(|seen| {
            if let What::Pushed {
                message, print: was, ..
            } = &mut seen.what
                && *message == push(0)
            {
                *was = print;
            }
        });
        one(seen, oracle, words);
    }
    let mut seen = Seen::well();
    seen.change(|seen| {
        if let What::Pushed { message, from, .. } = &mut seen.what
            && *message == push(0)
        {
            *from = Some(USER);
        }
    });
    one(seen, "misdelivered", "delivered as from usr/sim-x-user-1");
    let mut seen = Seen::well();
    seen.add(APP, 5_000, What::Unreadable { of: LAMP });
    one(seen, "corrupted", "nobody can read");
}
