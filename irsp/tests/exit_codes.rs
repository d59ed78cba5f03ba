//! What the shell learns of the program: 0 done, 1 refused, 2 a wrong command line. These tests run the built program, so
//! `cargo test --workspace` builds it for the stories of `tests/` too.

use std::process::{Command, Output};

fn irsp(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_irsp"))
        .args(arguments)
        .output()
        .expect("the program runs")
}

#[test]
fn its_version_is_told() {
    let said = irsp(&["--version"]);
    assert_eq!(said.status.code(), Some(0));
    let version = format!("irsp {}", env!("CARGO_PKG_VERSION"));
    assert!(
        String::from_utf8_lossy(&said.stdout).starts_with(&version),
        "{said:?}"
    );
}

#[test]
fn a_wrong_setting_is_refused_by_name_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let said = irsp(&["up", "--data", &data, "--set", "mqtt.tpc=127.0.0.1:0"]);
    assert_eq!(said.status.code(), Some(1));
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(error.contains("tpc"), "{error}");
}

#[test]
fn a_wrong_command_line_is_two() {
    assert_eq!(irsp(&["upp"]).status.code(), Some(2));
}
