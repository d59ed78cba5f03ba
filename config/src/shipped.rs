//! Keeps `config/irsp.toml` true: it is the defaults and their reasons, printed.

use std::path::Path;

use toml::{Table, Value};

use crate::section::KeyDoc;
use crate::settings::*;
use crate::{Settings, Sources};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/irsp.toml");

#[test]
fn the_shipped_file_loads_and_equals_the_defaults() {
    let shipped = Settings::load(Sources {
        file: Some(SHIPPED.into()),
        ..Sources::default()
    });
    assert_eq!(shipped.unwrap(), Settings::default());
}

/// `IRSP_WRITE_SHIPPED=1 cargo test -p irsp-config` writes the file anew after a key or a reason has changed.
#[test]
fn the_shipped_file_names_every_key_with_its_default_and_reason() {
    let expected = commented();
    if std::env::var_os("IRSP_WRITE_SHIPPED").is_some() {
        std::fs::write(Path::new(SHIPPED), &expected).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(SHIPPED).unwrap(),
        expected,
        "write it anew: IRSP_WRITE_SHIPPED=1"
    );
}

fn commented() -> String {
    let defaults = Table::try_from(Settings::default()).unwrap();
    let mut text = String::new();
    comment(Settings::ABOUT, &mut text);
    keys(Settings::KEYS, &defaults, &mut text);
    for (name, about, docs) in [
        ("mqtt", Mqtt::ABOUT, Mqtt::KEYS),
        ("tls", Tls::ABOUT, Tls::KEYS),
        ("http", Http::ABOUT, Http::KEYS),
        ("broker", Broker::ABOUT, Broker::KEYS),
        ("account", Account::ABOUT, Account::KEYS),
        ("appserver", AppServer::ABOUT, AppServer::KEYS),
        ("external", External::ABOUT, External::KEYS),
        ("federation", Federation::ABOUT, Federation::KEYS),
        ("bus", Bus::ABOUT, Bus::KEYS),
        ("courier", Courier::ABOUT, Courier::KEYS),
        ("metrics", Metrics::ABOUT, Metrics::KEYS),
        ("log", Log::ABOUT, Log::KEYS),
        ("stop", Stop::ABOUT, Stop::KEYS),
    ] {
        text.push('\n');
        comment(about, &mut text);
        text.push_str(&format!("[{name}]\n"));
        keys(docs, defaults[name].as_table().unwrap(), &mut text);
    }
    text
}

fn keys(docs: &[KeyDoc], defaults: &Table, text: &mut String) {
    for doc in docs {
        let default = &defaults[doc.name];
        if !matches!(default, Value::Table(_)) {
            text.push('\n');
            comment(doc.lines, text);
            text.push_str(&format!("{} = {default}\n", doc.name));
        }
    }
}

fn comment(lines: &[&str], text: &mut String) {
    for line in lines {
        text.push_str(&format!("#{line}\n"));
    }
}
