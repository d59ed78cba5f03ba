//! Real runs against a broker that is not ours: mosquitto, when it is installed, alone and with an application server
//! behind it that is honest or faulty.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod platform;

use broker::Mosquitto;
use devicesim::RunError;
use devicesim::ledger::Fault;
use devicesim::options::Options;
use devicesim::report::Report;
use platform::{Faults, Platform, TOKEN};

use clap::Parser as _;

/// How long the killed broker stays away.
#[cfg(test)]
const OUTAGE: std::time::Duration = std::time::Duration::from_millis(700);

/// Runs the simulator with 20 devices against `broker`.
#[cfg(test)]
async fn simulate(broker: &Mosquitto, line: &str) -> Report {
    let creds = broker.creds(20);
    let url = broker.url();
    let base = [
        "devicesim",
        "--app",
        "climate",
        "--creds",
        creds.to_str().unwrap(),
        "--url",
        &url,
    ];
    let options = Options::try_parse_from(base.into_iter().chain(line.split_whitespace())).unwrap();
    devicesim::run(&options, async || std::future::pending().await)
        .await
        .unwrap()
}

/// Runs the simulator against a whole platform with these faults: 200 uploads, the store read at the end.
#[cfg(test)]
async fn prove(mqtt: &str, faults: Faults) -> Option<(Report, usize)> {
    let broker = Mosquitto::start().await?;
    let platform = Platform::start(&broker, faults).await;
    let token = broker.write("admin.token", &format!("{TOKEN}\n"));
    let line = format!(
        "--rate 200 --duration 1s --settle 2s --mqtt {mqtt} --http {} --token-file {}",
        platform.http,
        token.display()
    );
    let report = simulate(&broker, &line).await;
    Some((report, platform.stored()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_platform_passes() {
    for mqtt in ["3.1.1", "5"] {
        let Some((report, stored)) = prove(mqtt, Faults::default()).await else {
            return;
        };
        assert!(report.verdict.pass, "{:?}", report.verdict);
        let store = report.store.unwrap();
        assert_eq!(
            (store.stored, store.lost, store.duplicated, store.invented),
            (200, 0, 0, 0)
        );
        assert_eq!(stored, 201);
        let statuses = report.statuses.unwrap();
        assert_eq!(statuses.received.get("200 done"), Some(&200));
        let status = report.latency_ms.status.unwrap();
        assert_eq!(status.count, 200);
        // No round trip through two processes takes less than 20 us: a shorter one was not measured.
        assert!(
            status.p50 > 0.02 && report.latency_ms.connect.unwrap().p50 > 0.02,
            "{status:?}"
        );
        assert!(report.verdict.notes.is_empty(), "{:?}", report.verdict.notes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_platform_is_found_out_each_fault_by_its_name() {
    let faults = Faults {
        lose: vec![17, 91],
        repeat: vec![40],
        invent: vec![5],
        refuse: vec![150],
        forget_status: vec![199],
    };
    let Some((report, _)) = prove("3.1.1", faults).await else {
        return;
    };
    let table = report.table();
    assert_eq!(
        report.verdict.reasons,
        [
            "1 uploads ended with status 404 no-such-principal",
            "1 acknowledged uploads had no status",
            "3 acknowledged uploads are lost: not in the store",
            "1 uploads are duplicated in the store",
            "1 uploads in the store were never sent",
        ],
        "{table}"
    );
    let store = report.store.unwrap();
    let mut found: Vec<(&str, u64)> = store.findings.iter().map(|f| (f.fault.as_str(), f.n)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("duplicated", 40),
            ("invented", 1_000_005),
            ("lost", 17),
            ("lost", 91),
            ("lost", 150)
        ]
    );
    let lost = store
        .findings
        .iter()
        .find(|f| f.fault == Fault::Lost && f.n == 17)
        .unwrap();
    assert_eq!((lost.sent, lost.stored), (1, 0));
    assert!(
        table.contains("n=17 of dev/sim-") && table.ends_with("FAIL\n"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_is_said_before_the_first_upload() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let platform = Platform::start(&broker, Faults::default()).await;
    let token = broker.write("admin.token", "a wrong one");
    let creds = broker.creds(20);
    let url = broker.url();
    for (http, part) in [
        (platform.http.as_str(), "401"),
        ("http://127.0.0.1:1", "did not answer"),
    ] {
        let options = Options::try_parse_from([
            "devicesim",
            "--app",
            "climate",
            "--creds",
            creds.to_str().unwrap(),
            "--url",
            &url,
            "--http",
            http,
            "--token-file",
            token.to_str().unwrap(),
        ])
        .unwrap();
        let error = devicesim::run(&options, async || ()).await.unwrap_err();
        assert!(matches!(error, RunError::Store(_)));
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(platform.stored(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_ends_with_what_it_has_and_fails() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let creds = broker.creds(20);
    let report = broker.write("report.json", "");
    let options = Options::try_parse_from([
        "devicesim",
        "--app",
        "climate",
        "--creds",
        creds.to_str().unwrap(),
        "--url",
        &broker.url(),
        "--no-status",
        "--rate",
        "200",
        "--duration",
        "1h",
        "--report",
        report.to_str().unwrap(),
    ])
    .unwrap();
    // The second part of a run is the uploading.
    let mut part = 0;
    let ran = devicesim::run(&options, async || {
        part += 1;
        match part {
            2 => tokio::time::sleep(std::time::Duration::from_millis(1500)).await,
            _ => std::future::pending().await,
        }
    })
    .await
    .unwrap();
    assert!(
        !ran.verdict.pass && ran.uploads.sent > 0 && ran.uploads.unacknowledged == 0,
        "{:?}",
        ran.uploads
    );
    assert!(
        ran.verdict
            .reasons
            .contains(&"the run was interrupted".to_owned())
    );
    devicesim::write(&options, &ran).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(json["verdict"]["pass"], false);
    assert_eq!(json["uploads"]["sent"], ran.uploads.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_upload_is_acknowledged_at_every_qos_and_version() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    for mqtt in ["3.1.1", "5"] {
        for qos in [0, 1, 2] {
            let line = format!("--rate 200 --duration 1s --settle 3s --no-status --qos {qos} --mqtt {mqtt}");
            let report = simulate(&broker, &line).await;
            assert!(report.verdict.pass, "{mqtt} {qos}: {:?}", report.verdict);
            assert_eq!((report.devices.connected, report.uploads.sent), (20, 200));
            let acknowledged = if qos == 0 { 0 } else { 200 };
            assert_eq!(report.uploads.acknowledged, acknowledged, "{mqtt} {qos}");
            assert_eq!(
                report.latency_ms.acknowledged.map_or(0, |l| l.count),
                acknowledged
            );
            assert!(report.store.is_none());
            assert!(
                report
                    .verdict
                    .notes
                    .iter()
                    .any(|note| note.contains("store was not looked at"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_sends_no_status_fails() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let report = simulate(&broker, "--rate 100 --duration 500ms --settle 500ms").await;
    assert!(!report.verdict.pass);
    assert_eq!(report.verdict.reasons, ["50 acknowledged uploads had no status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_refused_and_said() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    broker.spoil_code(7);
    let creds = broker.creds_path();
    let url = broker.url();
    for (mqtt, code) in [("3.1.1", "NotAuthorized"), ("5", "NotAuthorized")] {
        let options = Options::try_parse_from([
            "devicesim",
            "--app",
            "climate",
            "--creds",
            creds.to_str().unwrap(),
            "--url",
            &url,
            "--no-status",
            "--rate",
            "100",
            "--duration",
            "500ms",
            "--settle",
            "2s",
            "--mqtt",
            mqtt,
        ])
        .unwrap();
        let report = devicesim::run(&options, async || std::future::pending().await)
            .await
            .unwrap();
        assert_eq!(report.verdict.reasons, ["1 devices were refused"], "{mqtt}");
        assert_eq!(report.devices.refused.get(code), Some(&1), "{:?}", report.devices);
        assert_eq!((report.devices.connected, report.uploads.acknowledged), (19, 50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_gets_what_it_had_not_acknowledged() {
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    for mqtt in ["3.1.1", "5"] {
        let line = format!("--rate 500 --duration 3s --settle 10s --no-status --mqtt {mqtt}");
        let creds = broker.creds(20);
        let url = broker.url();
        let base = [
            "devicesim",
            "--app",
            "climate",
            "--creds",
            creds.to_str().unwrap(),
            "--url",
            &url,
        ];
        let options = Options::try_parse_from(base.into_iter().chain(line.split_whitespace())).unwrap();
        let (report, ()) = tokio::join!(
            devicesim::run(&options, async || std::future::pending().await),
            async {
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
                broker.restart_after(OUTAGE).await;
            }
        );
        let report = report.unwrap();
        assert!(report.verdict.pass, "{mqtt}: {:?}", report.verdict);
        assert_eq!((report.uploads.sent, report.uploads.acknowledged), (1500, 1500));
        // Uploads due during the outage waited for its end, and their latency counts from when they were due.
        let latency = report.latency_ms.acknowledged.unwrap();
        assert!(latency.max >= 0.9 * OUTAGE.as_millis() as f64, "{latency:?}");
        assert_eq!(report.devices.reconnected, 20, "{:?}", report.devices);
    }
}
