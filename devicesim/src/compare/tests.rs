use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

fn options(line: &str) -> cli::Compare {
    let line = format!("devicesim compare --target a=mqtt://127.0.0.1:1 {line}");
    let Some(Command::Compare(options)) = Cli::parse_from(line.split_whitespace()).command else {
        panic!("{line}");
    };
    *options
}

#[test]
fn cases_are_chosen_by_name() {
    let names = |line: &str| -> Vec<String> {
        cases::choose(&options(line))
            .unwrap()
            .iter()
            .map(Case::name)
            .collect()
    };
    assert_eq!(names("").len(), 27);
    assert_eq!(names("--case idle").len(), 1);
    assert_eq!(names("--case pairs").len(), 6);
    assert_eq!(names("--case pairs-steady-qos1,pairs"), {
        let mut all = vec!["pairs-steady-qos1".to_owned()];
        all.extend(
            names("--case pairs")
                .into_iter()
                .filter(|name| name != "pairs-steady-qos1"),
        );
        all
    });
    assert!(matches!(
        cases::choose(&options("--case pair")),
        Err(CompareError::NoCase(_))
    ));
}

#[test]
fn a_case_says_who_talks_to_whom() {
    let options = options("--clients 3 --rate 30");
    for (name, connections, copies) in [
        ("fan-in-steady-qos1", 4, 1),
        ("fan-out-steady-qos1", 4, 3),
        ("pairs-saturated-qos2", 6, 1),
    ] {
        let chosen = cases::choose(&cli::Compare {
            cases: vec![name.to_owned()],
            ..options.clone()
        })
        .unwrap();
        let load = chosen[0].load(&options, None, None);
        assert_eq!(
            (load.connections.len(), load.copies),
            (connections, copies),
            "{name}"
        );
        assert_eq!(chosen[0].connections(), connections);
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("logins.csv");
    std::fs::write(&file, "c-1,dev/a,x\nc-2,dev/b,y\n").unwrap();
    let path = file.display();
    for (line, part) in [
        ("--target b=mqtts://127.0.0.1:1", "needs --ca"),
        ("--target a=mqtt://127.0.0.1:1", "stands twice"),
        ("--pid b=1", "no --target of this name"),
        ("--logins a=/nowhere", "cannot read /nowhere"),
        (
            &format!("--clients 2 --case pairs --logins a={path}"),
            "2 devices and 0 application, needed are 2 and 1",
        ),
    ] {
        let error = run(&options(line)).await.expect_err(line).to_string();
        assert!(error.contains(part), "{line}: {error}");
    }
}
