//! Which source wins, and the message of every refusal.

use std::time::Duration;

use super::*;

/// A file named `config.toml` with this text, in a directory of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// The message for a file with this text; the path is shortened to its name.
fn refused(text: &str) -> String {
    let (_dir, path) = file(text);
    let sources = Sources {
        file: Some(path.clone()),
        ..Sources::default()
    };
    let message = Settings::load(sources).unwrap_err().to_string();
    assert!(!message.contains('\n'), "one line: {message:?}");
    message.replace(&path.display().to_string(), "config.toml")
}

fn set(given: &str) -> Result<Settings, ConfigError> {
    Settings::load(Sources {
        set: vec![given.to_owned()],
        ..Sources::default()
    })
}

fn variable_set(name: &str, value: &str) -> Result<Settings, ConfigError> {
    Settings::load(Sources {
        variables: vec![(name.to_owned(), value.to_owned())],
        ..Sources::default()
    })
}

#[test]
fn without_sources_the_defaults_hold() {
    assert_eq!(Settings::load(Sources::default()).unwrap(), Settings::default());
}

#[test]
fn the_later_source_wins_key_by_key() {
    let (_dir, path) = file(
        "domain = \"file.example\"\ndata_dir = \"/file\"\n[mqtt]\nreceive_max = 1\ntopic_alias_max = 1\nsubscriptions_max = 1\n",
    );
    let settings = Settings::load(Sources {
        file: Some(path),
        variables: vec![
            ("IRSP_MQTT__TOPIC_ALIAS_MAX".into(), "2".into()),
            ("IRSP_MQTT__SUBSCRIPTIONS_MAX".into(), "2".into()),
        ],
        data: Some("/option".into()),
        set: vec![
            "mqtt.subscriptions_max=3".into(),
            "mqtt.subscriptions_max=4".into(),
        ],
    })
    .unwrap();
    assert_eq!(settings.domain, "file.example");
    assert_eq!(settings.data_dir, Path::new("/option"));
    assert_eq!(settings.mqtt.receive_max, 1);
    assert_eq!(settings.mqtt.topic_alias_max, 2);
    assert_eq!(settings.mqtt.subscriptions_max, 4);
    assert_eq!(settings.mqtt.tcp, Settings::default().mqtt.tcp);
}

#[test]
fn text_is_read_as_the_key_wants_it() {
    assert_eq!(
        set("stop.deadline=1500ms").unwrap().stop.deadline,
        Duration::from_millis(1500)
    );
    assert_eq!(
        set("mqtt.packet_size_max=2_000_000")
            .unwrap()
            .mqtt
            .packet_size_max,
        2_000_000
    );
    assert_eq!(
        set("mqtt.wss=[::1]:0").unwrap().mqtt.wss,
        Some("[::1]:0".parse().unwrap())
    );
    assert_eq!(set("mqtt.ws=").unwrap().mqtt.ws, None);
    assert_eq!(set("log.level=\"debug\"").unwrap().log.level, "debug");
    assert_eq!(
        set("log.level=info,irsp_broker=debug").unwrap().log.level,
        "info,irsp_broker=debug"
    );
    assert_eq!(set("tls.ca=/a=b").unwrap().tls.ca, Some("/a=b".into()));
    assert_eq!(
        variable_set("IRSP_DOMAIN", "a.example").unwrap().domain,
        "a.example"
    );
}

#[test]
fn what_is_in_effect_gives_itself_again() {
    let settings = set("mqtt.ws=").unwrap();
    let (_dir, path) = file(&settings.effective().unwrap());
    assert_eq!(
        Settings::load(Sources {
            file: Some(path),
            ..Sources::default()
        })
        .unwrap(),
        settings
    );
}

#[test]
fn a_file_is_refused_by_key_with_the_remedy() {
    for (text, message) in [
        (
            "[mqtt]\ntpc = \"127.0.0.1:1883\"",
            "unknown key mqtt.tpc; did you mean mqtt.tcp?",
        ),
        (
            "domian = \"a.example\"",
            "unknown key domian; did you mean domain?",
        ),
        ("[mqqt]\ntcp = \"\"", "unknown key mqqt; did you mean mqtt?"),
        (
            "[log]\nreceive_max = 3",
            "unknown key log.receive_max; did you mean mqtt.receive_max?",
        ),
        (
            "[mqtt]\nzebra = 1",
            "unknown key mqtt.zebra; config/irsp.toml lists every key",
        ),
        (
            "mqtt = 1",
            "mqtt is a section: set one of its keys, such as mqtt.connect_timeout",
        ),
        (
            "[domain]\nname = \"x\"",
            "[domain] is not a section: write it as domain = ...",
        ),
        (
            "[mqtt]\nconnect_timeout = \"10x\"",
            "mqtt.connect_timeout = \"10x\": not a duration: write a whole number and a unit (ms, s, m, h or d), such as \"30s\" (default \"10s\")",
        ),
        (
            "[mqtt]\nconnect_timeout = 10",
            "mqtt.connect_timeout = 10: not a duration: write a whole number and a unit (ms, s, m, h or d), such as \"30s\" (default \"10s\")",
        ),
        (
            "[mqtt]\ntcp = \"localhost:1883\"",
            "mqtt.tcp = \"localhost:1883\": not an address to listen on: write an IP address and a port, such as \"127.0.0.1:1883\" (default \"127.0.0.1:1883\")",
        ),
        (
            "[http]\nlisten = \"\"",
            "http.listen = \"\": not an address to listen on: write an IP address and a port, such as \"127.0.0.1:1883\" (default \"127.0.0.1:8080\")",
        ),
        (
            "[log]\nformat = \"xml\"",
            "log.format = \"xml\": unknown variant `xml`, expected `text` or `json` (default \"text\")",
        ),
        (
            "[tls]\nca = 7",
            "tls.ca = 7: not a path: write text in quotes (default \"\")",
        ),
    ] {
        assert_eq!(refused(text), format!("config.toml: {message}"), "{text}");
    }
}

#[test]
fn numbers_beyond_their_type_are_refused_by_key() {
    for text in [
        "[mqtt]\nreceive_max = -1",
        "[mqtt]\nreceive_max = 70000",
        "[mqtt]\nreceive_max = \"many\"",
    ] {
        let message = refused(text);
        assert!(
            message.starts_with("config.toml: mqtt.receive_max = "),
            "{message}"
        );
        assert!(message.ends_with("(default 256)"), "{message}");
    }
}

#[test]
fn every_rule_names_its_key_and_where_the_value_came_from() {
    for (given, message) in [
        (
            "domain=Home.example",
            "domain = \"Home.example\": not a host name in lower case, such as home.example (default \"home.example\")",
        ),
        (
            "data_dir=",
            "data_dir = \"\": empty: name a directory (default \"./irsp-data\")",
        ),
        (
            "mqtt.ws_path=mqtt",
            "mqtt.ws_path = \"mqtt\": not a path: write it as \"/mqtt\" (default \"/mqtt\")",
        ),
        (
            "bus.url=mqtt://a:1",
            "bus.url = \"mqtt://a:1\": not a bus address: write mqtts://host:port (default \"mqtts://127.0.0.1:8883\")",
        ),
        (
            "log.level= ",
            "log.level = \"\": empty: write error, warn, info, debug or trace (default \"info,rumqttd=warn\")",
        ),
        (
            "mqtt.packet_size_max=10",
            "mqtt.packet_size_max = 10: must be from 1024 to 268435455 (default 1048576)",
        ),
        (
            "mqtt.receive_max=0",
            "mqtt.receive_max = 0: must be from 1 to 65535 (default 256)",
        ),
        (
            "mqtt.keep_alive_max=2d",
            "mqtt.keep_alive_max = \"2d\": must be from 1s to 65535s (default \"18h\")",
        ),
        (
            "stop.deadline=1ms",
            "stop.deadline = \"1ms\": must be from 100ms to 10m (default \"10s\")",
        ),
        (
            "mqtt.ws=127.0.0.1:1883",
            "mqtt.ws = \"127.0.0.1:1883\": mqtt.tcp has the same address: give each its own port (default \"127.0.0.1:8083\")",
        ),
        (
            "mqtt.receive_max=many",
            "mqtt.receive_max = \"many\": invalid type: string \"many\", expected u16 (default 256)",
        ),
        ("mqtt.tpc=1", "unknown key mqtt.tpc; did you mean mqtt.tcp?"),
        (
            "mqtt=1",
            "mqtt is a section: set one of its keys, such as mqtt.connect_timeout",
        ),
    ] {
        assert_eq!(
            set(given).unwrap_err().to_string(),
            format!("--set: {message}"),
            "{given}"
        );
    }
    let alone = set("tls.cert=/a.crt").unwrap_err().to_string();
    assert_eq!(
        alone,
        "built-in defaults: tls.key = \"\": set tls.cert and tls.key together (default \"\")"
    );
}

#[test]
fn all_listeners_off_is_refused() {
    let set = ["tcp", "tls", "ws"].map(|key| format!("mqtt.{key}=")).to_vec();
    let message = Settings::load(Sources {
        set,
        ..Sources::default()
    })
    .unwrap_err()
    .to_string();
    assert!(
        message.contains("mqtt.tcp, tls, ws and wss are all off: turn one on"),
        "{message}"
    );
}

#[test]
fn listeners_that_let_the_system_choose_a_port_may_look_the_same() {
    let set = ["mqtt.tcp", "mqtt.tls", "mqtt.ws", "http.listen"]
        .map(|key| format!("{key}=127.0.0.1:0"))
        .to_vec();
    Settings::load(Sources {
        set,
        ..Sources::default()
    })
    .unwrap();
}

#[test]
fn bus_addresses() {
    let address = |url: &str| {
        crate::Bus {
            url: url.into(),
            ..crate::Bus::default()
        }
        .address()
    };
    assert_eq!(
        address("mqtts://broker.example:8883"),
        Some(("broker.example".into(), 8883))
    );
    assert_eq!(
        address("mqtts://127.0.0.1:8883/"),
        Some(("127.0.0.1".into(), 8883))
    );
    for url in [
        "",
        "mqtts://",
        "mqtts://a",
        "mqtts://a:0",
        "mqtts://u:p@a:1",
        "mqtts://a:1/x",
        "mqtts://[::1]:1",
        "tcp://a:1",
    ] {
        assert_eq!(address(url), None, "{url}");
    }
}

#[test]
fn a_set_without_key_and_value_is_refused() {
    for given in ["mqtt.tcp", "=1", ""] {
        let message = set(given).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("--set {given}: write --set section.key=value, such as --set mqtt.tcp=127.0.0.1:1883")
        );
    }
}

#[test]
fn a_misspelt_variable_is_refused_and_a_foreign_one_is_not_ours() {
    for (name, message) in [
        (
            "IRSP_MQTT__TPC",
            "IRSP_MQTT__TPC: unknown key mqtt.tpc; did you mean mqtt.tcp?",
        ),
        (
            "IRSP_MQTT_TCP",
            "IRSP_MQTT_TCP: unknown key mqtt_tcp; did you mean IRSP_MQTT__TCP?",
        ),
        (
            "IRSP_DOMIAN",
            "IRSP_DOMIAN: unknown key domian; did you mean IRSP_DOMAIN?",
        ),
        (
            "IRSP_FOO__BAR",
            "IRSP_FOO__BAR: unknown key foo.bar; config/irsp.toml lists every key",
        ),
    ] {
        assert_eq!(variable_set(name, "x").unwrap_err().to_string(), message);
    }
    for name in ["IRSP_CONFIG", "IRSP_DATA", "IRSP_WRITE_SHIPPED", "HOME"] {
        variable_set(name, "x").unwrap();
    }
}

#[test]
fn broken_toml_is_refused_by_line() {
    let message = refused("domain = \"a.example\"\n[mqtt\ntcp = 1");
    assert!(message.starts_with("config.toml: line 2: "), "{message}");
    let twice = refused("[mqtt]\nreceive_max = 1\nreceive_max = 2");
    assert!(twice.starts_with("config.toml: line 3: duplicate key"), "{twice}");
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let sources = Sources {
        file: Some("/nowhere/config.toml".into()),
        ..Sources::default()
    };
    let message = Settings::load(sources).unwrap_err().to_string();
    assert!(
        message.starts_with("/nowhere/config.toml: cannot be read ("),
        "{message}"
    );
    assert!(message.ends_with("check --config"), "{message}");
}
