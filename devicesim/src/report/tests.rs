use std::time::Duration;

use clap::Parser as _;
use irsp_protocol::Id;

use super::*;
use crate::ledger::Shelf;
use crate::schedule::Schedule;
use crate::store::StoreError;

const MS: Duration = Duration::from_millis(1);

fn options(line: &str) -> Options {
    let base = ["devicesim", "--creds", "c.csv", "--app", "climate"];
    Options::try_parse_from(base.into_iter().chain(line.split_whitespace())).unwrap()
}

/// One device, ten uploads, all acknowledged and done.
fn ran(shelf: Option<Result<Shelf, StoreError>>) -> Ran {
    let schedule = Schedule::new(1, 10.0, Duration::from_secs(1), 1);
    let mut lane = Lane::new(Id::new("a").unwrap(), &schedule, 0);
    for n in 0..10 {
        lane.sent(n);
        lane.acknowledged(n, MS);
        lane.status_for(None, 200);
        lane.ended(n, 2 * MS);
    }
    Ran {
        course: Course::Complete,
        outcomes: vec![Outcome {
            first: First::Connected(MS),
            lane: Some(lane),
            broken: BTreeMap::new(),
            reconnected: 0,
            refusals: BTreeMap::new(),
            subscription_refused: None,
            stale_statuses: 0,
            unreadable_statuses: 0,
        }],
        schedule,
        took: Duration::from_secs(1),
        on_time: 3_000,
        shelf,
    }
}

fn report(line: &str, ran: Ran) -> Report {
    Report::new(&options(line), "r".to_owned(), ran, Vec::new()).unwrap()
}

#[test]
fn without_the_store_the_verdict_says_on_what_it_rests() {
    for (line, rest) in [
        ("", "acknowledgements and statuses"),
        ("--no-status", "acknowledgements alone"),
        ("--qos 0", "statuses alone"),
        ("--qos 0 --no-status", "connections alone"),
    ] {
        let report = report(line, ran(None));
        assert!(report.verdict.pass, "{:?}", report.verdict);
        assert!(
            report.verdict.notes[0].ends_with(rest),
            "{:?}",
            report.verdict.notes
        );
        assert!(report.table().contains("stored                not looked at"));
    }
}

#[test]
fn a_store_that_could_not_be_read_is_a_fail() {
    let error = StoreError::Order { after: 7, seq: 3 };
    let report = report("--http http://h", ran(Some(Err(error))));
    assert_eq!(
        report.verdict.reasons,
        ["the store could not be read: the store's sequence numbers do not rise: 7, then 3"]
    );
}

/// Each fault of a run alone makes it a FAIL with its own reason.
#[test]
fn every_fault_has_its_reason() {
    type Spoil = fn(&mut Ran);
    let cases: [(Spoil, &str); 9] = [
        (
            |ran| ran.on_time = 94 * 30,
            "the rate was not reached: 94.0 uploads a second of 100",
        ),
        (|ran| ran.course = Course::Interrupted, "the run was interrupted"),
        (
            |ran| ran.outcomes[0].first = First::Refused("NotAuthorized".to_owned()),
            "devices were refused",
        ),
        (
            |ran| ran.outcomes[0].first = First::Unreachable("gone".to_owned()),
            "devices could not connect",
        ),
        (
            |ran| ran.outcomes[0].subscription_refused = Some("Failure".to_owned()),
            "may not hear",
        ),
        (|ran| ran.outcomes[0].unreadable_statuses = 1, "are no status"),
        (|ran| ran.outcomes[0].lane = None, "could not be sent in time"),
        (
            |ran| {
                let lane = ran.outcomes[0].lane.as_mut().unwrap();
                lane.status_for(None, 200);
            },
            "nothing that waited for one",
        ),
        (
            |ran| {
                ran.outcomes[0].refusals.insert("QuotaExceeded".to_owned(), 2);
            },
            "2 uploads were refused",
        ),
    ];
    for (spoil, reason) in cases {
        let mut ran = ran(None);
        spoil(&mut ran);
        let report = report("", ran);
        assert!(!report.verdict.pass);
        assert!(
            report.verdict.reasons.iter().any(|r| r.contains(reason)),
            "{reason}: {:?}",
            report.verdict
        );
    }
}
