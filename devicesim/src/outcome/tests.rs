use std::collections::BTreeMap;

use super::*;

fn outcome(part: &str, found: u64) -> Outcome {
    let mut latencies = Latencies::default();
    for us in 1..=100 {
        latencies.add("acknowledged", us * 1000);
    }
    let finding = Found {
        oracle: "lost".to_owned(),
        what: "acknowledged, and <not> in the store".to_owned(),
        device: "dev/lamp-1".to_owned(),
        time: Timestamp::from_millis(1_000),
        message: Some(7),
        sender_id: Some("sim.0a.7".to_owned()),
        mid: Some("01a205d3-0000-7000-8000-000000000000".to_owned()),
        receipt: Some(serde_json::json!({"status": 202})),
        no_receipt: None,
    };
    Outcome {
        scenario: "street".to_owned(),
        about: "a \"street\" & more".to_owned(),
        server: "mqtt://127.0.0.1:1883".to_owned(),
        seed: 1,
        runs: vec![format!("run-{part}")],
        parts: vec![part.to_owned()],
        began: Timestamp::from_millis(0),
        begin_s: 1.0,
        work_s: 3.0,
        devices: BTreeMap::from([("lamp".to_owned(), 10)]),
        counts: Counts {
            members: 11,
            connected: 11,
            uploads_sent: 100,
            uploads_accepted: 100,
            uploads_done: 100,
            ..Counts::default()
        },
        statuses: BTreeMap::from([("200 done".to_owned(), 100)]),
        refusals: BTreeMap::new(),
        troubles: BTreeMap::new(),
        latencies,
        seconds: vec![
            Second {
                sent: 50,
                p50_ms: 2.0,
                ..Second::default()
            };
            4
        ],
        found: BTreeMap::from([("lost".to_owned(), found)]),
        findings: if found > 0 { vec![finding] } else { Vec::new() },
        ladders: vec![Ladder {
            title: "slow upload".to_owned(),
            mid: None,
            due_ms: 0.0,
            rungs: vec![Rung {
                at_ms: 0.0,
                what: "due".to_owned(),
                by: "simulator".to_owned(),
            }],
        }],
        objectives: toml::from_str("acknowledged = { p99 = \"100ms\" }").unwrap(),
        checks: Vec::new(),
        unasked: Vec::new(),
        interrupted: false,
        verdict: Verdict::default(),
    }
    .judge()
}

#[test]
fn a_finding_and_a_missed_objective_are_reasons() {
    let right = outcome("1/1", 0);
    assert!(right.verdict.pass, "{:?}", right.verdict);
    let mut wrong = outcome("1/1", 3);
    wrong.objectives = toml::from_str("acknowledged = { p99 = \"10ms\" }").unwrap();
    wrong.unasked.push("the store could not be read: away".to_owned());
    let verdict = wrong.judge().verdict;
    assert_eq!(
        verdict.reasons,
        [
            "lost: 3 found",
            "objective missed: acknowledged p99 <= 10ms, found 99.0 ms",
            "the store could not be read: away"
        ]
    );
    assert_eq!(verdict.notes, ["1 of 3 findings are named one by one"]);
    let mut nothing = outcome("1/1", 0);
    nothing.counts = Counts::default();
    assert!(!nothing.judge().verdict.pass);
}

#[test]
fn parts_are_joined_as_if_they_were_one_run() {
    let read = |outcome: &Outcome| -> Outcome {
        serde_json::from_str(&serde_json::to_string(outcome).unwrap()).unwrap()
    };
    let mut second = outcome("2/2", 1);
    second.begin_s = 2.2;
    let merged = Outcome::merge(vec![read(&outcome("1/2", 0)), read(&second)]).unwrap();
    assert_eq!(
        (
            merged.counts.uploads_sent,
            merged.devices["lamp"],
            merged.found["lost"]
        ),
        (200, 20, 1)
    );
    assert_eq!(
        merged.latencies.quantile("acknowledged", 1.0),
        outcome("1/2", 0).latencies.quantile("acknowledged", 1.0)
    );
    assert_eq!(merged.latencies.0["acknowledged"].len(), 200);
    // The second part began its work a second later on its own clock.
    assert_eq!(
        merged
            .seconds
            .iter()
            .map(|second| second.sent)
            .collect::<Vec<_>>(),
        [100, 100, 100, 50]
    );
    assert!(!merged.verdict.pass);
}

#[test]
fn what_is_not_of_one_scenario_is_not_joined() {
    assert_eq!(Outcome::merge(Vec::new()).unwrap_err(), MergeError::Nothing);
    let same = Outcome::merge(vec![outcome("1/2", 0), outcome("1/2", 0)]).unwrap_err();
    assert_eq!(same, MergeError::Part("1/2".to_owned()));
    let missing = Outcome::merge(vec![outcome("3/4", 0), outcome("1/4", 0)]).unwrap_err();
    assert_eq!(missing, MergeError::Missing("2/4, 4/4".to_owned()));
    let others = Outcome::merge(vec![outcome("1/2", 0), outcome("2/3", 0)]).unwrap_err();
    assert_eq!(others, MergeError::Parts("1/2".to_owned(), "2/3".to_owned()));
    let mut other = outcome("2/2", 0);
    other.scenario = "town".to_owned();
    assert!(matches!(
        Outcome::merge(vec![outcome("1/2", 0), other]),
        Err(MergeError::Scenario(..))
    ));
    let mut other = outcome("2/2", 0);
    other.seed = 2;
    assert_eq!(
        Outcome::merge(vec![outcome("1/2", 0), other]).unwrap_err(),
        MergeError::Seed(1, 2)
    );
}

#[test]
fn the_reports_say_what_was_found_and_escape_it() {
    let outcome = outcome("1/1", 1);
    let xml = outcome.junit();
    assert!(xml.contains("tests=\"16\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("<testcase classname=\"street.truth\" name=\"lost\">"),
        "{xml}"
    );
    assert!(
        xml.contains("&lt;not&gt;") && xml.contains("name=\"acknowledged p99 &lt;= 100ms\"/>"),
        "{xml}"
    );
    let named = "01a205d3-0000-7000-8000-000000000000 (sim.0a.7)";
    for report in [&xml, &outcome.html(), &outcome.table()] {
        assert!(report.contains(named), "{report}");
    }
    let page = outcome.html();
    for part in [
        "FAIL",
        "a &quot;street&quot; &amp; more",
        "&lt;not&gt;",
        "<svg",
        "Presence divergence",
        "lost: 1 found",
        "slow upload",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // One page that needs nothing else.
    for foreign in ["<script", "http://", "https://", "<link", "<img"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(outcome.table().ends_with("verdict                FAIL\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_other_reports_are_written_where_one_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let [junit, html] = ["r.xml", "r.html"].map(|name| dir.path().join(name));
    let reports = crate::cli::Reports {
        json: Some("/dev/full".into()),
        junit: Some(junit.clone()),
        html: Some(html.clone()),
    };
    let unwritten = crate::play::write(&outcome("1/1", 1), &reports);
    assert_eq!(unwritten.len(), 1, "{unwritten:?}");
    assert!(unwritten[0].to_string().starts_with("cannot write /dev/full: "));
    assert!(junit.exists() && html.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
