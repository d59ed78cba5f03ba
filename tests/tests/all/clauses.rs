//! Keeps `tests/clauses.toml` honest: every statement has a test that exists or a reason, and every test cited is a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A statement has one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    says: String,
    #[serde(default)]
    tests: Vec<String>,
    except: Option<String>,
}

/// By version of MQTT, then by number. A number that stands twice is no TOML.
type Clauses = BTreeMap<String, BTreeMap<String, Statement>>;

/// How many statements each specification numbers (appendix B of both); 5.0 leaves out 2.2.1-1.
const NUMBERED: [(&str, usize); 2] = [("3.1.1", 141), ("5.0", 251)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn clauses() -> Clauses {
    toml::from_str(&read(&root().join("tests/clauses.toml"))).expect("statements")
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    let clauses = clauses();
    for (version, numbered) in NUMBERED {
        let statements = &clauses[version];
        assert_eq!(statements.len(), numbered, "{version}");
        let (mut tested, mut excepted) = (0, 0);
        for (number, statement) in statements {
            assert!(is_number(number), "{version} {number}");
            assert!(!statement.says.is_empty(), "{version} {number} says nothing");
            match (&statement.tests[..], &statement.except) {
                ([_, ..], None) => tested += 1,
                ([], Some(reason)) if reason.ends_with('.') => excepted += 1,
                _ => panic!("{version} {number}: tests, or a reason"),
            }
        }
        println!("MQTT {version}: {numbered} statements, {tested} tested, {excepted} excepted with a reason");
    }
    assert_eq!(clauses.len(), NUMBERED.len());
}

/// `MQTT-3.1.2-24`
fn is_number(number: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((chapter, count)) = number.strip_prefix("MQTT-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    digits(count) && chapter.split('.').all(digits) && chapter.contains('.')
}

#[test]
fn every_test_that_is_cited_is_one() {
    let mut files = BTreeMap::new();
    let mut cited = 0;
    for (version, statements) in clauses() {
        for (number, statement) in statements {
            for test in &statement.tests {
                assert!(exists(test, &mut files), "{version} {number}: there is no {test}");
                cited += 1;
            }
        }
    }
    assert!(cited > 0);
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let mut files = BTreeMap::new();
    for wrong in [
        "all::clauses::root",
        "all::clauses::no_such_test",
        "all::nowhere::every_test_that_is_cited_is_one",
        "elsewhere::clauses::every_test_that_is_cited_is_one",
        "outside.test_access.Connecting.setUp",
        "outside.test_access.Nobody.test_a_wrong_code_is_refused",
        "outside.test_access.ForeignTopics.test_a_wrong_code_is_refused",
    ] {
        assert!(!exists(wrong, &mut files), "{wrong}");
    }
    assert!(exists(
        "all::clauses::every_test_that_is_cited_is_one",
        &mut files
    ));
    assert!(exists(
        "outside.test_access.Connecting.test_a_wrong_code_is_refused",
        &mut files
    ));
}

type Files = BTreeMap<PathBuf, Option<String>>;

fn exists(test: &str, files: &mut Files) -> bool {
    match test.strip_prefix("outside.") {
        Some(story) => is_a_story(story, files),
        None => is_a_test(test, files),
    }
}

fn text(path: PathBuf, files: &mut Files) -> Option<&str> {
    let text = files
        .entry(path)
        .or_insert_with_key(|path| std::fs::read_to_string(path).ok());
    text.as_deref()
}

/// `test_file.Class.test_story`
fn is_a_story(story: &str, files: &mut Files) -> bool {
    let [file, class, story] = story.split('.').collect::<Vec<_>>()[..] else {
        return false;
    };
    let Some(text) = text(root().join(format!("tests/outside/{file}.py")), files) else {
        return false;
    };
    let Some((_, behind)) = text.split_once(&format!("\nclass {class}(")) else {
        return false;
    };
    let body = behind.split("\nclass ").next().unwrap_or_default();
    story.starts_with("test_") && body.contains(&format!("\n    def {story}(self"))
}

/// `place::module::test`, where the module is a file, or `tests` inside one or beside it.
fn is_a_test(test: &str, files: &mut Files) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let [place, modules @ .., name] = &parts[..] else {
        return false;
    };
    let place = match *place {
        "session" => "broker/session/tests/session",
        "all" => "tests/tests/all",
        "irsp_session" => "broker/session/src",
        "irsp_broker" => "broker/src",
        _ => return false,
    };
    let beside = root().join(place).join(modules.join("/"));
    let inside = modules
        .strip_suffix(&["tests"])
        .map(|modules| root().join(place).join(modules.join("/")));
    [Some(beside), inside]
        .into_iter()
        .flatten()
        .any(|path| text(path.with_extension("rs"), files).is_some_and(|text| has_test(text, name)))
}

/// Whether a function of this name has a `#[test]` or `#[tokio::test]` above it, other attributes and comments between.
fn has_test(text: &str, name: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let (plain, waiting) = (format!("fn {name}("), format!("async fn {name}("));
    let mut above = Vec::new();
    lines.any(|line| {
        if line.starts_with(&plain) || line.starts_with(&waiting) {
            return above
                .iter()
                .any(|attribute: &&str| *attribute == "#[test]" || attribute.starts_with("#[tokio::test"));
        }
        match line.starts_with("#[") || line.starts_with("//") {
            true => above.push(line),
            false => above.clear(),
        }
        false
    })
}
