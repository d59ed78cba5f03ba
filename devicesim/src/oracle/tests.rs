//! Each oracle: a story in which all is well, and the same story with one thing wrong.

mod messages;
mod observers;
mod presence;
mod silence;
mod statuses;
mod words;

use super::*;
use crate::cast::{APP, Cast, Part};
use crate::observation::{Door, Ending, Facts, Kind, Log, Observation, Print, Revocation, Stored, What};
use crate::scenario::Scenario;
use crate::story::Rules;
use irsp_protocol::presence::Reason;

const MS: Moment = 1000;
const QUIET: Moment = 60_000 * MS;
const LAMP: Party = Party(1);
const OTHER: Party = Party(2);
const USER: Party = Party(3);
const PRINT: Print = Print { data: 7, channel: 8 };

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
        print: PRINT,
    }
}

fn pushed(message: Number, mid: MessageId, dup: bool) -> What {
    What::Pushed {
        message,
        mid,
        dup,
        from: Some(APP),
        print: PRINT,
    }
}

fn heard(message: Number) -> What {
    What::Heard {
        message,
        dup: false,
        print: PRINT,
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
                        since: None,
                        online: true,
                        reason: Reason::Connected,
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
            seen.add(APP, at + 15, heard(message));
            seen.stored.push(Stored {
                seq: u64::from(n) + 1,
                message,
                source: Some(LAMP),
                mid: Some(mid(n as u8)),
                print: PRINT,
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
            seen.add(LAMP, at + 20, pushed(message, mid, false));
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
        let findings = ask(&story);
        let of_a_message = |finding: &&Finding| matches!(finding.oracle, "live" | "will" | "lost" | "expiry");
        assert!(
            findings
                .iter()
                .filter(of_a_message)
                .all(|finding| finding.message.is_some())
        );
        findings
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
                since: None,
                online: false,
                reason: Reason::Disconnected,
            },
        );
    }
    seen.online[0].1 = Some(false);
}
