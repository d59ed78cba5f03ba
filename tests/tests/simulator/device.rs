//! `irsp conform device` passes a device that keeps its contract, and finds each bad habit of those that do not.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use devicesim::link::{Broken, Dialer, Link, Login};
use devicesim::options::MqttVersion;
use devicesim::wire::{self, Packet, Publish, PublishOut, kind};
use irsp_conform::device::{Answers, Bench, Credentials, Options, examine};
use irsp_conform::{Report, Verdict};
use irsp_protocol::{Secret, Timestamp};
use irsp_tests::Platform;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

/// A connection that has lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const UPLOAD_EVERY: Duration = Duration::from_millis(500);

/// What a device does that it should not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Habits {
    never_answers: bool,
    never_waits: bool,
    no_jitter: bool,
    acts_twice: bool,
    acts_on_expired: bool,
    forgets_uploads: bool,
    uploads_without_id: bool,
}

/// A scripted device.
struct Device {
    habits: Habits,
    login: Credentials,
    dialer: Dialer,
    attempts: u32,
    acted: HashMap<String, u64>,
    count: u64,
    /// The upload that is not acknowledged yet: its id.
    open: Option<String>,
}

impl Device {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            // How it ended makes no difference: it comes again.
            let _: Result<(), Broken> = self.converse().await;
            if began.elapsed() >= STEADY {
                self.attempts = 0;
            }
            if !self.habits.never_waits {
                let full = FIRST_PAUSE * (1 << self.attempts.min(5));
                self.attempts += 1;
                let part = if self.habits.no_jitter { 0.0 } else { rand_unit() };
                sleep(full.mul_f64(1.0 - part / 2.0)).await;
            }
        }
    }

    async fn converse(&mut self) -> Result<(), Broken> {
        let username = format!("dev/{}", self.login.device);
        let code = self.login.code.clone();
        let login = Login {
            with: wire::Connect {
                version: MqttVersion::V5,
                client_id: "scripted",
                username: Some(&username),
                password: Some(code.expose()),
                keep_alive: 60,
                clean: false,
                session_expiry: 3600,
                receive_max: 0,
                will: None,
            },
            source: None,
            receive_buffer: None,
        };
        let (mut link, _) = self.dialer.open(&login).await?;
        let filter = format!("v1/{username}/down/#");
        wire::subscribe(&mut link.out, MqttVersion::V5, 1, &[(&filter, 1)]);
        let mut due = Instant::now();
        if self.open.is_some() {
            self.upload(&mut link);
        }
        loop {
            link.flush().await?;
            tokio::select! {
                packet = link.recv() => {
                    let packet = packet?;
                    if let Packet::Publish(push) = &packet {
                        self.take(push, &mut link);
                    } else if matches!(packet, Packet::PubAck { id: 2, .. }) {
                        self.open = None;
                    }
                }
                () = sleep_until(due) => {
                    due += UPLOAD_EVERY;
                    if self.open.is_none() {
                        self.count += 1;
                        self.open = Some(format!("up-{}", self.count));
                        self.upload(&mut link);
                    }
                }
            }
        }
    }

    fn upload(&mut self, link: &mut Link) {
        if self.habits.forgets_uploads {
            self.open = None;
        }
        let id = self.open.clone().unwrap_or_else(|| "forgotten".to_owned());
        let topic = format!("v1/dev/{}/up/{}/n", self.login.device, self.login.app);
        let named = [("id", id.as_str())];
        let user: &[(&str, &str)] = if self.habits.uploads_without_id || self.habits.forgets_uploads {
            &[]
        } else {
            &named
        };
        self.publish(link, &topic, &self.count.to_string(), 2, user);
    }

    fn take(&mut self, push: &Publish, link: &mut Link) {
        if self.habits.never_answers {
            return;
        }
        wire::ack(&mut link.out, kind::PUBACK, push.id);
        let mid = push.topic.split('/').nth(5).unwrap().to_owned();
        let expires: Option<Timestamp> = push.user("expirytime").map(|text| text.parse().unwrap());
        let expired = expires.is_some_and(|at| at < Timestamp::from(SystemTime::now()));
        let answer = if expired && !self.habits.acts_on_expired {
            r#"{"status":408}"#.to_owned()
        } else {
            let nth = self.acted.len() as u64;
            let acted = self.acted.entry(mid.clone()).or_insert(nth);
            if self.habits.acts_twice {
                *acted += 1_000;
            }
            format!(r#"{{"status":200,"body":{acted}}}"#)
        };
        let topic = format!("v1/dev/{}/ack/{mid}", self.login.device);
        self.publish(link, &topic, &answer, 3, &[]);
    }

    fn publish(&self, link: &mut Link, topic: &str, payload: &str, id: u16, user: &[(&str, &str)]) {
        let out = PublishOut {
            topic,
            payload: payload.as_bytes(),
            qos: 1,
            id,
            dup: false,
            retain: false,
            expiry_s: None,
            user,
        };
        wire::publish(&mut link.out, MqttVersion::V5, &out);
    }
}

fn rand_unit() -> f64 {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    f64::from(nanos % 1_000) / 1_000.0
}

async fn report(habits: Habits) -> Report {
    let platform = Platform::start().await.unwrap();
    let token = std::fs::read_to_string(platform.data().join("admin.token")).unwrap();
    let bench = Bench {
        message: platform.doors().tcp,
        url: format!("http://{}", platform.doors().account),
        app_url: Some(format!("http://{}", platform.doors().app)),
        admin: Secret::new(token.trim()),
    };
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        device: "scripted-1".to_owned(),
        app: "climate".to_owned(),
        answers: Answers::Ack,
        channel: "set".to_owned(),
        data: serde_json::json!({"on": true}),
        start: Vec::new(),
        patience: Duration::from_secs(60),
        answer_wait: Duration::from_secs(if habits.never_answers { 5 } else { 20 }),
        upload_wait: Duration::from_secs(20),
        steady: STEADY + Duration::from_secs(1),
    };
    let (tell, told) = oneshot::channel();
    let device = async {
        let login: Credentials = told.await.unwrap();
        let target = format!("mqtt://{}", login.address).parse().unwrap();
        let device = Device {
            habits,
            dialer: Dialer::new(target, None).await.unwrap(),
            login,
            attempts: 0,
            acted: HashMap::new(),
            count: 0,
            open: None,
        };
        device.run().await
    };
    tokio::select! {
        report = examine(&bench, &options, |login| tell.send(login.clone()).unwrap()) => report.unwrap(),
        () = device => unreachable!("it runs for ever"),
    }
}

fn failing(report: &Report) -> Vec<&'static str> {
    let findings = report.findings.iter().filter(|finding| finding.verdict.is_fail());
    findings.map(|finding| finding.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_keeps_its_contract_passes() {
    let report = report(Habits::default()).await;
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Pass),
        "{report}"
    );
    assert_eq!(report.findings.len(), 15, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_habit_is_found() {
    let good = Habits::default();
    let cases: [(Habits, &[&str]); 7] = [
        (
            Habits {
                never_answers: true,
                ..good
            },
            &["it acknowledges a push", "it answers a push on its ack topic"],
        ),
        (
            Habits {
                never_waits: true,
                ..good
            },
            &[
                "refused, it waits before it tries again",
                "its pauses grow",
                "taken over, it does not fight",
            ],
        ),
        (
            Habits {
                no_jitter: true,
                ..good
            },
            &["its pauses differ by chance"],
        ),
        (
            Habits {
                acts_twice: true,
                ..good
            },
            &["a push that comes again is answered again, and acted on once"],
        ),
        (
            Habits {
                acts_on_expired: true,
                ..good
            },
            &["it does not act on what has expired"],
        ),
        (
            Habits {
                forgets_uploads: true,
                ..good
            },
            &["an upload without an acknowledgement is sent again"],
        ),
        (
            Habits {
                uploads_without_id: true,
                ..good
            },
            &["its repeat carries the same id, so that it is stored once"],
        ),
    ];
    let reports = futures_util::future::join_all(cases.iter().map(|(habits, _)| report(*habits))).await;
    for ((habits, expected), mut shown) in cases.into_iter().zip(reports) {
        // What the clock shows of a busy machine may hide a habit, or feign one: the device is looked at again, alone.
        for _ in 0..2 {
            if found(&shown, expected) == expected {
                break;
            }
            shown = report(habits).await;
        }
        assert_eq!(found(&shown, expected), expected, "{shown}");
    }
}

/// What a report finds. A device without pauses has none that could differ; chance decides what the clock shows.
fn found(report: &Report, expected: &[&str]) -> Vec<&'static str> {
    let mut found = failing(report);
    found.retain(|check| *check != "its pauses differ by chance" || expected.contains(check));
    found
}
