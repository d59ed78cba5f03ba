//! The load engine against a broker that is not ours.

use clap::Parser as _;
use devicesim::cli::{self, Cli, Command};
use devicesim::compare::{self, CompareError};
use devicesim::options::MqttVersion;
use devicesim::wire::{self, PublishOut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::broker::Mosquitto;

fn options(line: &str) -> cli::Compare {
    let Some(Command::Compare(options)) = Cli::parse_from(line.split_whitespace()).command else {
        panic!("{line}");
    };
    *options
}

/// The broker's devices and the application that hears them.
fn logins(broker: &Mosquitto, last: &str) -> String {
    let devices: String = (0..20).map(|i| format!("c-{i},dev/sim-{i},code-{i}\n")).collect();
    broker
        .write("logins.csv", &format!("{devices}{last}\n"))
        .display()
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_and_qos_moves_its_messages() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let (url, logins) = (broker.url(), logins(&broker, "any,app/climate,code-app"));
    let line = format!(
        "devicesim compare --target one={url} --target two={url} --logins one={logins} --logins two={logins} \
         --pid one={} --rounds 1 --seconds 0.5 --clients 5 --idle 19 --rate 400 --payload 50 \
         --case idle,connect,reset,fan-in-steady,fan-out-steady,pairs-steady,shared-steady,pairs-saturated-qos1,fan-in-saturated-qos2",
        std::process::id()
    );
    let comparison = compare::run(&options(&line)).await.unwrap();
    assert_eq!(comparison.cases.len(), 17);
    assert_eq!(comparison.troubles, [] as [&str; 0]);
    for case in &comparison.cases {
        for (target, rounds) in &case.measured {
            assert_eq!(rounds.len(), 1, "{} {target}", case.case);
            for measured in rounds {
                let said = format!("{} {target}: {measured:?}", case.case);
                assert_eq!(measured.broken, 0, "{said}");
                assert!(
                    measured.connects_per_second > 0.0 && measured.connect_ms.is_some_and(|ms| ms.count > 0),
                    "{said}"
                );
                if matches!(case.case.as_str(), "idle" | "connect") {
                    continue;
                }
                if case.case == "reset" {
                    assert!(measured.served_ms.is_some_and(|ms| ms > 0.0), "{said}");
                    continue;
                }
                assert!(
                    measured.received_per_second > 0.0 && measured.received_ms.is_some_and(|ms| ms.count > 0),
                    "{said}"
                );
                if !case.case.ends_with("qos0") {
                    assert_eq!(measured.missing, 0, "{said}");
                    assert!(measured.acknowledged_ms.is_some_and(|ms| ms.count > 0), "{said}");
                }
                assert_eq!(measured.server_resident_mb.is_some(), target == "one", "{said}");
            }
        }
    }
    let table = comparison.table();
    assert!(
        table.contains("one / two") && table.contains("pairs-steady-qos2"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_by_mqtt_5_and_over_websocket_and_tls() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let (tcp, ws, tls, ca) = (broker.url(), broker.ws_url(), broker.tls_url(), broker.ca());
    let logins = logins(&broker, "any,app/climate,code-app");
    let line = format!(
        "devicesim compare --v5 --target tcp={tcp} --target ws={ws} --target tls={tls} --ca tls={ca} --logins tcp={logins} --logins ws={logins} \
         --logins tls={logins} \
         --rounds 1 --seconds 0.5 --clients 5 --idle 19 --rate 400 --payload 50 \
         --case reset,pairs-steady,fan-in-saturated-qos1",
        ca = ca.display()
    );
    let comparison = compare::run(&options(&line)).await.unwrap();
    for case in &comparison.cases {
        for (target, rounds) in &case.measured {
            for measured in rounds {
                let said = format!("{} {target}: {measured:?}", case.case);
                assert_eq!((measured.broken, measured.missing), (0, 0), "{said}");
                let passed =
                    measured.served_ms.is_some() || measured.received_ms.is_some_and(|ms| ms.count > 0);
                assert!(passed, "{said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_is_said_by_its_client() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let (url, logins) = (broker.url(), logins(&broker, "any,app/climate,wrong"));
    let line = format!(
        "devicesim compare --target one={url} --logins one={logins} --case fan-in --rounds 1 --seconds 0.2 --clients 2"
    );
    let error = compare::run(&options(&line)).await.unwrap_err();
    assert!(matches!(error, CompareError::Engine { .. }));
    assert_eq!(
        error.to_string(),
        "one, fan-in-saturated-qos0: connection compare-observer-0: NotAuthorized"
    );
}

/// What the broker has retained, before anybody listens.
async fn retain(broker: &Mosquitto, messages: usize) {
    let mut out = Vec::new();
    let with = wire::Connect {
        version: MqttVersion::V311,
        client_id: "retains",
        username: Some("app/climate"),
        password: Some("code-app"),
        keep_alive: 60,
        clean: true,
        session_expiry: 0,
        receive_max: 0,
        will: None,
    };
    wire::connect(&mut out, &with);
    for n in 0..messages {
        let publish = PublishOut {
            topic: &format!("v1/dev/retained-{n}/live/load"),
            payload: b"longer than a stamp",
            qos: 1,
            id: u16::try_from(n + 1).unwrap(),
            dup: false,
            retain: true,
            expiry_s: None,
            user: &[],
        };
        wire::publish(&mut out, MqttVersion::V311, &publish);
    }
    wire::disconnect(&mut out);
    let address = broker.url().replace("mqtt://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&out).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_acknowledged_and_not_counted() {
    let Some(broker) = Mosquitto::with_inflight(20).await else {
        return;
    };
    retain(&broker, 300).await;
    let logins = logins(&broker, "any,app/climate,code-app");
    let line = format!(
        "devicesim compare --target one={} --logins one={logins} --rounds 1 --seconds 0.5 --clients 5 --rate 400 --case fan-in-steady-qos1",
        broker.url()
    );
    let comparison = compare::run(&options(&line)).await.unwrap();
    let measured = &comparison.cases[0].measured["one"][0];
    assert_eq!(
        (measured.missing, &comparison.troubles[..]),
        (0, &[][..]),
        "{measured:?}"
    );
    assert!(
        measured.received_per_second > 300.0 && measured.received_per_second < 500.0,
        "{measured:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_ends_with_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut silent = tokio::task::JoinSet::new();
    silent.spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let line = format!(
        "devicesim compare --target one=mqtt://{address} --rounds 1 --seconds 0.2 --clients 2 --case pairs-steady-qos1"
    );
    let error = compare::run(&options(&line)).await.unwrap_err().to_string();
    assert!(error.ends_with("no CONNACK in time"), "{error}");
}
