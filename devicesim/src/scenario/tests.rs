use super::*;

const GOOD: &str = r#"
about = "two lamps"
duration = "10s"
[[devices]]
kind = "lamp"
count = 2
clock_skew = "-2h"
[[devices.uploads]]
channel = "temp"
every = "1s"
jitter = 0.5
payload = { model = "random-walk", min = 15.0, max = 25.0, step = 0.5 }
[users]
count = 1
binds = 1
[[app.pushes]]
to = "lamp"
rate = 5.0
expiry = "30s"
[[events]]
event = "power-cut"
at = "3s"
lasts = "2s"
[slo]
acknowledged = { p99 = "100ms" }
"#;

fn problem(text: &str) -> String {
    match toml::from_str::<Scenario>(text) {
        Ok(scenario) => scenario
            .check()
            .map_or_else(|fault| fault.to_string(), |()| "right".to_owned()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_scenario_reads_and_is_written_as_it_was_read() {
    assert_eq!(problem(GOOD), "right");
    let scenario: Scenario = toml::from_str(GOOD).unwrap();
    assert_eq!(scenario.devices[0].clock_skew.unwrap().as_millis(), -7_200_000);
    let written = toml::to_string(&scenario).unwrap();
    let again: Scenario = toml::from_str(&written).unwrap();
    assert_eq!(format!("{scenario:?}"), format!("{again:?}"));
}

#[test]
fn every_wrong_value_is_named() {
    for (right, wrong, named) in [
        (
            "duration = \"10s\"",
            "duration = \"0s\"",
            "duration: expected a time above 0",
        ),
        ("duration = \"10s\"", "duration = \"10\"", "no length of time"),
        ("duration = \"10s\"", "duration = 10", "invalid type"),
        (
            "duration = \"10s\"",
            "duration = \"10s\"\nspeed = 1",
            "unknown field `speed`",
        ),
        ("kind = \"lamp\"", "kind = \"la/mp\"", "devices.kind"),
        ("count = 2", "count = 0", "devices.lamp.count"),
        ("count = 2", "count = 2\nqos = 3", "devices.lamp.qos"),
        ("count = 2", "count = 2\nmqtt = \"4\"", "unknown variant `4`"),
        (
            "count = 2",
            "count = 2\nkeep_alive = \"500ms\"",
            "devices.lamp.keep_alive",
        ),
        (
            "count = 2",
            "count = 2\nmanners = { twice = 1.5 }",
            "devices.lamp.manners.twice: 1.5",
        ),
        (
            "count = 2",
            "count = 2\nflap = { every = \"0s\", away = \"1s\" }",
            "devices.lamp.flap.every",
        ),
        (
            "clock_skew = \"-2h\"",
            "clock_skew = \"2 hours\"",
            "no length of time",
        ),
        ("channel = \"temp\"", "channel = \"a//b\"", "a channel has"),
        (
            "every = \"1s\"",
            "every = \"0ms\"",
            "devices.lamp.uploads[0].every",
        ),
        (
            "jitter = 0.5",
            "jitter = 2.0",
            "devices.lamp.uploads[0].jitter: 2 is not between 0 and 1",
        ),
        ("jitter = 0.5", "jitter = nan", "devices.lamp.uploads[0].jitter"),
        (
            "jitter = 0.5",
            "rhythm = [1.0]",
            "devices.lamp.uploads[0].rhythm: expected 24",
        ),
        ("min = 15.0", "min = 30.0", "devices.lamp.uploads[0].payload.max"),
        (
            "model = \"random-walk\"",
            "model = \"drunken\"",
            "unknown variant `drunken`",
        ),
        (
            "to = \"lamp\"",
            "to = \"meter\"",
            "app.pushes[0].to: there are no devices of kind \"meter\"",
        ),
        ("rate = 5.0", "rate = 0.0", "app.pushes[0].rate"),
        ("expiry = \"30s\"", "expiry = \"0s\"", "app.pushes[0].expiry"),
        ("at = \"3s\"", "at = \"10s\"", "events[0].at: 10s is not within"),
        ("at = \"3s\"", "at = \"3s\"\nshare = 1.1", "events[0].share"),
        (
            "event = \"power-cut\"",
            "event = \"flood\"",
            "unknown variant `flood`",
        ),
        ("lasts = \"2s\"", "lasts = \"2s\"\nof = \"cam\"", "events[0].of"),
        ("binds = 1", "binds = 10000", "users.binds"),
        ("binds = 1", "binds = 1\nof = [\"cat\"]", "users.of[0]"),
        ("p99 = \"100ms\"", "p98 = \"100ms\"", "unknown field `p98`"),
    ] {
        assert!(GOOD.contains(right), "{right}");
        let said = problem(&GOOD.replacen(right, wrong, 1));
        assert!(said.contains(named), "{wrong}: {said}");
    }
}

#[test]
fn a_kind_that_stands_twice_is_refused() {
    let twice = format!("{GOOD}\n[[devices]]\nkind = \"lamp\"\ncount = 1\n");
    assert_eq!(problem(&twice), "devices.lamp: this kind stands twice");
}

#[test]
fn another_duration_moves_the_events_along() {
    let scenario: Scenario = toml::from_str(GOOD).unwrap();
    let short = scenario.lasting(Span::from_millis(5_000));
    short.check().unwrap();
    let [Event::PowerCut { at, lasts, .. }] = &short.events[..] else {
        panic!("{:?}", short.events);
    };
    assert_eq!(
        (*at, *lasts),
        (Span::from_millis(1_500), Span::from_millis(1_000))
    );
    assert_eq!(short.day, Some(Span::from_millis(5_000)));
}

#[test]
fn a_smaller_scale_keeps_one_of_each() {
    let scenario: Scenario = toml::from_str(GOOD).unwrap();
    let small = scenario.scaled(0.1);
    assert_eq!((small.devices[0].count, small.users.unwrap().count), (1, 1));
}
