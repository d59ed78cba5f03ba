//! Each oracle: a story in which all is well, and the same story with one thing wrong.

use super::*;
use crate::cast::{APP, Cast, Part};
use crate::observation::{Door, Ending, Facts, Kind, Log, Observation, Revocation, Stored, What};
use crate::scenario::Scenario;
use crate::story::Rules;

const MS: Moment = 1000;
const QUIET: Moment = 60_000 * MS;
const LAMP: Party = Party(1);
const OTHER: Party = Party(2);
const USER: Party = Party(3);

fn scenario() -> Scenario {
    toml::from_str(
        "about = \"a\"\nduration = \"1s\"\n[[devices]]\nkind = \"lamp\"\ncount = 2\n[users]\ncount = 1\nbinds = 2\n",
    )
    .unwrap()
}

/// What everybody saw, by party.
struct Seen {
    logs: Vec<Log>,
    stored: Vec<Stored>,
    online: Vec<(Party, Option<bool>)>,
    slow: bool,
}

fn upload(index: u32) -> Number {
    Number::of(LAMP, index)
}

fn push(index: u32) -> Number {
    Number::of(APP, index)
}

fn mid(n: u8) -> MessageId {
    MessageId::from_bytes([n; 16])
}

fn facts(kind: Kind, to: Party, due: Moment, expiry: Option<Moment>) -> Facts {
    Facts {
        kind,
        door: Door::Mqtt,
        to,
        due,
        expiry,
        qos: 1,
        named: true,
    }
}

impl Seen {
    /// Two uploads and two pushes with an expiry of 10 s, all well; everybody is there.
    fn well() -> Seen {
        let mut seen = Seen {
            logs: [APP, LAMP, OTHER, USER].map(Log::new).into(),
            stored: Vec::new(),
            online: vec![(LAMP, Some(true)), (OTHER, Some(true))],
            slow: false,
        };
        for party in [APP, LAMP, OTHER, USER] {
            seen.add(party, 0, What::Connecting);
            seen.add(party, 10, What::Connected);
        }
        for observer in [APP, USER] {
            for device in [LAMP, OTHER] {
                seen.add(
                    observer,
                    20,
                    What::Presence {
                        of: device,
                        epoch: 1,
                        seq: 1,
                        online: true,
                    },
                );
            }
        }
        for (n, at) in [(0, 1000), (1, 2000)] {
            let (message, to) = (upload(n), APP);
            seen.add(
                LAMP,
                at,
                What::Due(message, facts(Kind::Upload, to, at * MS, None)),
            );
            seen.add(
                LAMP,
                at + 1,
                What::Sent {
                    message,
                    again: false,
                },
            );
            seen.add(LAMP, at + 10, What::Acknowledged { message, mid: None });
            seen.add(
                LAMP,
                at + 20,
                What::Ended {
                    message,
                    code: 200,
                    answer: None,
                    mid: Some(mid(n as u8)),
                },
            );
            seen.add(APP, at + 15, What::Heard { message });
            seen.stored.push(Stored {
                seq: u64::from(n) + 1,
                message,
                source: Some(LAMP),
                mid: Some(mid(n as u8)),
            });
        }
        for (n, at) in [(0, 3000), (1, 4000)] {
            let (message, mid) = (push(n), mid(10 + n as u8));
            seen.add(
                APP,
                at,
                What::Due(message, facts(Kind::Push, LAMP, at * MS, Some(10_000 * MS))),
            );
            seen.add(
                APP,
                at + 1,
                What::Sent {
                    message,
                    again: false,
                },
            );
            seen.add(APP, at + 10, What::Acknowledged { message, mid: None });
            seen.add(
                LAMP,
                at + 20,
                What::Pushed {
                    message,
                    mid,
                    dup: false,
                },
            );
            seen.add(LAMP, at + 21, What::Answering { message, code: 201 });
            seen.add(LAMP, at + 30, What::Answered { message });
            seen.add(
                APP,
                at + 40,
                What::Ended {
                    message,
                    code: 200,
                    answer: Some(201),
                    mid: Some(mid),
                },
            );
        }
        seen
    }

    fn add(&mut self, party: Party, at_ms: Moment, what: What) {
        self.logs[party.0 as usize]
            .seen
            .push(Observation { at: at_ms * MS, what });
    }

    fn forget(&mut self, which: impl Fn(&What) -> bool) {
        for log in &mut self.logs {
            log.seen.retain(|seen| !which(&seen.what));
        }
    }

    fn change(&mut self, change: impl Fn(&mut Observation)) {
        for log in &mut self.logs {
            log.seen.iter_mut().for_each(&change);
        }
    }

    /// The names of the oracles that found something, and their words.
    fn found(mut self) -> Vec<(&'static str, String)> {
        for log in &mut self.logs {
            log.seen.sort_by_key(|seen| seen.at);
        }
        let scenario = scenario();
        let cast = Cast::plan(&scenario, 1, "x", Part::WHOLE).unwrap();
        let mut rules = Rules::new(&scenario, &cast, true);
        if self.slow {
            rules.slow.insert(LAMP);
        }
        let story = Story::tell(
            &cast,
            &self.logs,
            &self.stored,
            &self.online,
            (0, 50_000 * MS, QUIET),
            rules,
        );
        ask(&story)
            .into_iter()
            .map(|finding| (finding.oracle, finding.what))
            .collect()
    }
}

fn one(seen: Seen, oracle: &str, words: &str) {
    let found = seen.found();
    let [(name, what)] = &found[..] else {
        panic!("{oracle}, {words}: {found:?}");
    };
    assert_eq!(*name, oracle, "{what}");
    assert!(what.contains(words), "{what}");
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(Seen::well().found(), []);
}

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

/// A device away from this time on, and everybody told so.
fn away(seen: &mut Seen, at_ms: Moment) {
    seen.add(LAMP, at_ms, What::Gone(Ending::Goodbye));
    for observer in [APP, USER] {
        seen.add(
            observer,
            at_ms + 10,
            What::Presence {
                of: LAMP,
                epoch: 1,
                seq: 2,
                online: false,
            },
        );
    }
    seen.online[0].1 = Some(false);
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
    seen.add(
        LAMP,
        4025,
        What::Pushed {
            message: push(1),
            mid: mid(11),
            dup: false,
        },
    );
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
        seen.add(
            LAMP,
            5200,
            What::Pushed {
                message: push(1),
                mid: mid(11),
                dup: false,
            },
        );
        seen
    };
    assert_eq!(again(false).found(), []);
    one(again(true), "duplicated", "after its answer was taken");
    // What the session brings along with DUP is the one that comes in this connection.
    for dup in [true, false] {
        let mut seen = again(false);
        seen.add(
            LAMP,
            5300,
            What::Pushed {
                message: push(1),
                mid: mid(11),
                dup,
            },
        );
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
    seen.add(
        OTHER,
        4020,
        What::Pushed {
            message: push(1),
            mid: mid(11),
            dup: false,
        },
    );
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
    });
    one(seen, "misdelivered", "nobody has sent it");
}

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
        seen.add(
            LAMP,
            16_000,
            What::Pushed {
                message: push(1),
                mid: mid(11),
                dup: false,
            },
        );
        seen
    };
    one(late(), "expiry", "too late: delivered 1990.0 ms");
    assert_eq!(Seen { slow: true, ..late() }.found(), []);
    let mut seen = expired(14_100);
    seen.forget(|what| matches!(what, What::Ended { message, .. } if *message == push(1)));
    one(seen, "expiry", "no status has said so");
}

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
                    online: false,
                },
            );
            seen.add(
                observer,
                40_010,
                What::Presence {
                    of: OTHER,
                    epoch: 2,
                    seq: 1,
                    online: true,
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
fn presence_that_contradicts_itself() {
    let mut seen = Seen::well();
    seen.add(
        USER,
        58_000,
        What::Presence {
            of: LAMP,
            epoch: 1,
            seq: 1,
            online: false,
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
            online: true,
        },
    );
    seen.add(
        USER,
        6_000,
        What::Presence {
            of: LAMP,
            epoch: 1,
            seq: 1,
            online: true,
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
                online: false,
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
                    online: false,
                },
            );
            seen.add(
                observer,
                25_060,
                What::Presence {
                    of: OTHER,
                    epoch: 2,
                    seq: 1,
                    online: true,
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
    });
    one(seen, "revocation", "its upload was acknowledged 2500.0 ms");
    let mut seen = reset(20_050);
    seen.forget(|what| matches!(what, What::Revoked { .. }));
    one(seen, "revocation", "did not come into effect");
}
