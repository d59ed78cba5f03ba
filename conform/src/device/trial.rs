//! The scenes a device plays in, one after the other, and the checks they give.
//!
//! A scene that needs what an earlier one has shown to be missing is not tried: a device that never came back is not
//! told ten times.

use std::time::Duration;

use devicesim::link::Dialer;
use devicesim::options::MqttVersion;
use devicesim::target::{Target, Way};
use irsp_protocol::{MessageId, Secret};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::Connecting;
use crate::http::Api;
use crate::report::{Finding, Verdict};
use crate::trouble::CannotStart;

use super::gate::{Gate, HELD_PAST_EXPIRY, Wish};
use super::judge;
use super::seen::{Place, Reply, Seen, Upload};
use super::{Answers, Bench, Credentials, Options};

/// Plain cuts of a connection that stood.
const CUTS: usize = 3;
/// Attempts that are refused in one round.
const ATTEMPTS: usize = 5;
/// Takeovers in a row.
const TAKEOVERS: usize = 4;
/// A device that has not come back so long after a takeover leaves the session to the other.
const PEACE: Duration = Duration::from_secs(15);
/// What a push that is held back has until it expires.
const SHORT_EXPIRY: &str = "2s";

const NEVER_CAME: &str = "the device never came";

pub(super) struct Trial {
    options: Options,
    /// The application's.
    http: Api,
    gate: Gate,
    /// To the message server, past the gate.
    aside: Dialer,
    code: Secret,
    findings: Vec<Finding>,
    began: Instant,
}

/// What a scene was told about one check.
type Told = Result<(), Verdict>;

fn fails(because: impl Into<String>) -> Told {
    Err(Verdict::Fail(because.into()))
}

fn not_tried(because: &str) -> Told {
    Err(Verdict::NotTried(because.to_owned()))
}

fn judged(verdict: Result<(), String>) -> Told {
    verdict.map_err(|expected| Verdict::Fail(format!("expected {expected}")))
}

impl Trial {
    pub(super) async fn new(
        bench: &Bench,
        options: &Options,
        credentials: &Credentials,
        gate: Gate,
        http: Api,
    ) -> Result<Trial, CannotStart> {
        let target = Target {
            way: Way::Tcp,
            host: bench.message.ip().to_string(),
            port: bench.message.port(),
            path: String::new(),
        };
        Ok(Trial {
            options: options.clone(),
            http,
            gate,
            aside: Dialer::new(target, None).await?,
            code: credentials.code.clone(),
            findings: Vec::new(),
            began: Instant::now(),
        })
    }

    pub(super) async fn play(mut self) -> Vec<Finding> {
        let (came, version) = self.comes().await;
        if came {
            let answered = self.takes_a_push().await;
            self.takes_it_again(answered).await;
            self.meets_what_has_expired(version, answered).await;
            self.repeats_an_upload().await;
            self.is_cut(answered).await;
            self.is_refused().await;
            self.is_taken_over().await;
        }
        self.findings
    }

    fn tell(&mut self, clause: &'static str, check: &'static str, told: Told) {
        let took = std::mem::replace(&mut self.began, Instant::now()).elapsed();
        self.findings.push(Finding {
            clause,
            check,
            verdict: told.err().unwrap_or(Verdict::Pass),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Waits until the platform has taken the device's login.
    async fn welcome(&self, from: Place) -> bool {
        let is = |seen: &Seen| seen.is(&Seen::Welcome);
        self.gate.wait(from, self.options.patience, is).await.is_some()
    }

    async fn comes(&mut self) -> (bool, MqttVersion) {
        let start = Place::default();
        let came = self.welcome(start).await;
        let version = self.gate.wait(start, Duration::ZERO, Seen::version).await;
        let told = match (came, version) {
            (true, _) => Ok(()),
            (false, Some(_)) => {
                fails("it has connected, but was not welcome: does it use its username and code?")
            }
            (false, None) => fails(NEVER_CAME),
        };
        self.tell("7.2", "it connects and logs in", told);
        if came {
            let topic = format!(
                "v1/dev/{}/down/{}/x/{}",
                self.options.device, self.options.app, self.options.channel
            );
            let hears = |seen: &Seen| seen.subscribes(&topic);
            let told = match self.gate.wait(start, self.options.answer_wait, hears).await {
                Some((1.., _)) => Ok(()),
                Some((0, _)) => fails("it hears its pushes at QoS 0: what is lost on the way is lost"),
                None => fails("no subscription to its pushes: take down/#"),
            };
            self.tell("8.3.3", "it subscribes to its pushes at QoS 1 or 2", told);
        }
        (came, version.map_or(MqttVersion::V5, |(version, _)| version))
    }

    /// Pushes; the message's id, or what the platform said instead.
    async fn push(&self, more: Value) -> Result<MessageId, Verdict> {
        let mut body = json!({
            "to": format!("dev/{}", self.options.device),
            "channel": self.options.channel,
            "data": self.options.data,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let sent = self.http.post("/v1/push", body).await;
        let id = sent.and_then(|answer| {
            let answer = answer.is(&[200, 202])?;
            Ok(answer.text("id")?.parse().ok())
        });
        match id {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(Verdict::NotTried("the platform gave no id for a push".to_owned())),
            Err(trouble) => Err(Verdict::NotTried(trouble.to_string())),
        }
    }

    /// The device is handed this push.
    async fn handed(&self, from: Place, mid: MessageId, within: Duration) -> Option<(u16, Place)> {
        self.gate.wait(from, within, |seen| seen.hands(mid)).await
    }

    async fn acknowledged(&self, from: Place, packet: u16) -> bool {
        let is = |seen: &Seen| seen.is(&Seen::Acknowledged { packet });
        self.gate.wait(from, self.options.answer_wait, is).await.is_some()
    }

    async fn answer(&self, from: Place, mid: MessageId, within: Duration) -> Option<Reply> {
        Some(self.gate.wait(from, within, |seen| seen.answers(mid)).await?.0)
    }

    /// Pushes, and has the platform say what became of it.
    async fn push_is_done(&self) -> Told {
        let mid = self.push(json!({})).await?;
        let deadline = Instant::now() + self.options.answer_wait;
        let path = format!("/v1/messages/{mid}");
        loop {
            let status = match self.http.get(&path).await {
                Ok(receipt) => receipt.body["status"].as_u64(),
                Err(trouble) => return Err(Verdict::NotTried(trouble.to_string())),
            };
            match status {
                Some(200) => return Ok(()),
                Some(202) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                other => return fails(format!("a push that ends with 200, not {other:?}")),
            }
        }
    }

    async fn takes_a_push(&mut self) -> bool {
        let from = self.gate.now();
        let mid = match self.push(json!({})).await {
            Ok(mid) => mid,
            Err(verdict) => {
                self.tell("8.3.3", "it acknowledges a push", Err(verdict));
                return false;
            }
        };
        let Some((packet, place)) = self.handed(from, mid, self.options.answer_wait).await else {
            self.tell(
                "8.3.3",
                "it acknowledges a push",
                fails("the push could not be handed over: it is not subscribed"),
            );
            return false;
        };
        let told = if self.acknowledged(place, packet).await {
            Ok(())
        } else {
            fails("no PUBACK or PUBREC")
        };
        let acknowledged = told.is_ok();
        self.tell("8.3.3", "it acknowledges a push", told);
        if self.options.answers == Answers::Mqtt {
            return acknowledged;
        }
        let told = match self.answer(place, mid, self.options.answer_wait).await {
            Some(Reply { code: Some(_), .. }) => Ok(()),
            Some(Reply { text, .. }) => {
                fails(format!("a number, or an object with \"status\", not {text:?}"))
            }
            None => fails("no answer on ack/{mid}"),
        };
        let answered = told.is_ok();
        self.tell("8.3.3", "it answers a push on its ack topic", told);
        answered
    }

    /// Its answer is kept from the platform, which hands the push over again in the next session.
    async fn takes_it_again(&mut self, answered: bool) {
        const CHECK: &str = "a push that comes again is answered again, and acted on once";
        let told = if answered {
            self.twice().await
        } else {
            not_tried("it answers no push")
        };
        self.gate.forget_wishes();
        self.tell("8.3.3", CHECK, told);
    }

    async fn twice(&self) -> Told {
        sleep(self.options.steady).await;
        let from = self.gate.now();
        let by_puback = self.options.answers == Answers::Mqtt;
        self.gate.wish(if by_puback {
            Wish::KeepPuback
        } else {
            Wish::KeepAnswer
        });
        let mid = self.push(json!({})).await?;
        let wait = self.options.answer_wait;
        let first = match self.handed(from, mid, wait).await {
            None => return fails("it was not handed the push"),
            Some((packet, place)) if by_puback => self.acknowledged(place, packet).await.then_some(None),
            Some((_, place)) => self.answer(place, mid, wait).await.map(Some),
        };
        let Some(first) = first else {
            return fails("no answer the first time");
        };
        let cut = self.gate.now();
        self.gate.cut();
        if !self.welcome(cut).await {
            return fails("it did not come back after a cut");
        }
        let Some((packet, place)) = self.handed(cut, mid, self.options.patience).await else {
            return fails("it did not subscribe again, so the push could not come again");
        };
        let second = if by_puback {
            self.acknowledged(place, packet).await.then_some(None)
        } else {
            self.answer(place, mid, wait).await.map(Some)
        };
        match second {
            None => fails("the repeat was not answered: the push never ends"),
            Some(second) if second == first => Ok(()),
            Some(second) => fails(format!(
                "the same answer as before ({first:?}), not {second:?}: it has acted twice"
            )),
        }
    }

    /// A push is held back on its way until its time has passed.
    async fn meets_what_has_expired(&mut self, version: MqttVersion, answered: bool) {
        const CHECK: &str = "it does not act on what has expired";
        let told = if version == MqttVersion::V311 {
            not_tried("MQTT 3.1.1 has no place for an expiry")
        } else if self.options.answers == Answers::Mqtt {
            not_tried("a device that answers by PUBACK alone does not tell whether it has acted")
        } else if !answered {
            not_tried("it answers no push")
        } else {
            self.expired().await
        };
        self.gate.forget_wishes();
        self.tell("8.3.3", CHECK, told);
    }

    async fn expired(&self) -> Told {
        let from = self.gate.now();
        self.gate.wish(Wish::HoldPush);
        let mid = self.push(json!({"expiry": SHORT_EXPIRY})).await?;
        let Some((_, place)) = self
            .handed(from, mid, self.options.answer_wait + HELD_PAST_EXPIRY)
            .await
        else {
            return not_tried("the push could not be handed over in time");
        };
        // A device that acts answers about as soon as it did before; a push after it marks the end.
        let next = self.push_is_done().await;
        match self.answer(place, mid, Duration::ZERO).await {
            Some(Reply {
                code: Some(200..=299),
                text,
            }) => fails(format!(
                "answered {text:?} to a push that had expired 2 s before: does it look at expirytime?"
            )),
            Some(_) => Ok(()),
            None => next,
        }
    }

    /// The acknowledgement of an upload is kept back, and the connection cut.
    async fn repeats_an_upload(&mut self) {
        const AGAIN: &str = "an upload without an acknowledgement is sent again";
        const ONCE: &str = "its repeat carries the same id, so that it is stored once";
        sleep(self.options.steady).await;
        let from = self.gate.now();
        self.gate.wish(Wish::KeepAcknowledgement);
        let kept = |seen: &Seen| seen.is(&Seen::Kept);
        let kept = self.gate.wait(from, self.options.upload_wait, kept).await;
        self.gate.forget_wishes();
        let first = |seen: &Seen| seen.upload().cloned();
        let first = self.gate.wait(from, Duration::ZERO, first).await;
        let (Some(_), Some((first, _))) = (kept, first) else {
            for check in [AGAIN, ONCE] {
                self.tell(
                    "8.3.1",
                    check,
                    not_tried("it made no upload at QoS 1 or 2 in --upload-wait"),
                );
            }
            return;
        };
        let cut = self.gate.now();
        self.gate.cut();
        let again = |seen: &Seen| seen.upload()?.repeats(&first).then_some(());
        let back = self.welcome(cut).await;
        let again = match back {
            true => self.gate.wait(cut, self.options.answer_wait, again).await,
            false => None,
        };
        let told = match (back, &again) {
            (_, Some(_)) => Ok(()),
            (true, None) => fails("it did not come again"),
            (false, None) => fails("it did not come back after a cut"),
        };
        self.tell("8.3.1", AGAIN, told);
        let told = match (&first.id, again) {
            (_, None) => not_tried("it was not sent again"),
            (Some(_), Some(_)) => self.is_stored_once(&first).await,
            (None, Some(_)) => {
                fails("it has no id (user property id, or a CloudEvent on ce/): its repeat is another upload")
            }
        };
        self.tell("8.3.1", ONCE, told);
    }

    async fn is_stored_once(&self, upload: &Upload) -> Told {
        let path = format!("/v1/apps/{}/uploads?limit=1000&order=desc", self.options.app);
        let deadline = Instant::now() + self.options.answer_wait;
        loop {
            let page = self.http.get(&path).await.and_then(|page| page.is(&[200]));
            let page = page.map_err(|trouble| Verdict::NotTried(trouble.to_string()))?;
            let uploads = page.list("uploads");
            let uploads = uploads.map_err(|trouble| Verdict::NotTried(trouble.to_string()))?;
            let id = upload.id.as_deref();
            let count = uploads
                .iter()
                .filter(|stored| stored["sender_id"].as_str() == id)
                .count();
            match count {
                1 => return Ok(()),
                0 if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                count => return fails(format!("stored {count} times")),
            }
        }
    }

    async fn is_cut(&mut self, answered: bool) {
        let mut told = Ok(());
        for _ in 0..CUTS {
            sleep(self.options.steady).await;
            let from = self.gate.now();
            self.gate.cut();
            if !self.welcome(from).await {
                told = fails("it did not come back");
                break;
            }
            if answered {
                told = self.push_is_done().await;
            }
            if told.is_err() {
                break;
            }
        }
        self.tell(
            "7.2",
            "cut several times, it comes back and takes its pushes",
            told,
        );
    }

    /// Nothing but refusals for a while, twice.
    async fn is_refused(&mut self) {
        const CHECKS: [&str; 3] = [
            "refused, it waits before it tries again",
            "its pauses grow",
            "its pauses differ by chance",
        ];
        let (mut rounds, mut back) = (Vec::new(), true);
        for _ in 0..2 {
            sleep(self.options.steady).await;
            let from = self.gate.now();
            self.gate.shut(true);
            self.gate.cut();
            let (mut place, mut came) = (from, 0);
            while came < ATTEMPTS {
                let dial = |seen: &Seen| seen.is(&Seen::Dial);
                match self.gate.wait(place, self.options.patience, dial).await {
                    Some(((), next)) => place = next,
                    None => break,
                }
                came += 1;
            }
            let mut pauses = self.gate.pauses(from);
            pauses.truncate(ATTEMPTS);
            rounds.push(pauses);
            let from = self.gate.now();
            self.gate.shut(false);
            back = self.welcome(from).await;
            if !back {
                break;
            }
        }
        let empty = Vec::new();
        let (one, two) = (rounds.first().unwrap_or(&empty), rounds.get(1).unwrap_or(&empty));
        let every = if one.len() < ATTEMPTS {
            [
                fails(format!("{ATTEMPTS} attempts, not {}: it has given up", one.len())),
                not_tried("too few attempts"),
                not_tried("too few attempts"),
            ]
        } else {
            [
                judged(
                    judge::waits(one).and_then(|()| if two.is_empty() { Ok(()) } else { judge::waits(two) }),
                ),
                judged(judge::grows(one)),
                if two.is_empty() {
                    not_tried("it did not come back for a second round")
                } else {
                    judged(judge::varies(one, two))
                },
            ]
        };
        for (check, told) in CHECKS.into_iter().zip(every) {
            self.tell("7.2", check, told);
        }
        let told = if back {
            Ok(())
        } else {
            fails("it did not come back")
        };
        self.tell("7.2", "it is back when the platform is", told);
    }

    /// Somebody else logs in as the device, again and again.
    async fn is_taken_over(&mut self) {
        sleep(self.options.steady).await;
        let from = self.gate.now();
        let (mut other, mut told, mut is_here) = (None, Ok(()), true);
        for n in 0..TAKEOVERS {
            let connecting = Connecting {
                version: MqttVersion::V5,
                client_id: format!("conform-other-{n}"),
                username: format!("dev/{}", self.options.device),
                password: self.code.clone(),
                session_expiry_s: 0,
            };
            let place = self.gate.now();
            match connecting.open(&self.aside, self.options.answer_wait).await {
                Ok(client) => other = Some(client),
                Err(trouble) => {
                    told = Err(Verdict::NotTried(trouble.to_string()));
                    break;
                }
            }
            let back = |seen: &Seen| seen.is(&Seen::Welcome);
            is_here = self.gate.wait(place, PEACE, back).await.is_some();
            if !is_here {
                break;
            }
        }
        let told = told.and_then(|()| judged(judge::keeps_peace(&self.gate.pauses(from))));
        self.tell("7.2", "taken over, it does not fight", told);
        let place = self.gate.now();
        // It has come back after the last takeover, or comes once the other has gone.
        drop(other);
        let told = if is_here || self.welcome(place).await {
            Ok(())
        } else {
            fails("it did not come back when the other had gone")
        };
        self.tell("7.2", "it is back when the other has gone", told);
    }
}
