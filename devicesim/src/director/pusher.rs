//! The application's pushes over HTTP, open-loop: a slow answer delays no other push.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cast::APP;
use crate::message;
use crate::observation::{Door, Facts, Kind, Log, Number, Observation, What};
use crate::scenario::Via;

use super::{Director, roles};

/// Requests at once.
const AT_ONCE: usize = 64;
/// Numbers of HTTP pushes count from here, those of MQTT pushes from 0.
const FIRST: u32 = 1 << 30;
/// Between the numbers of two pushers.
const STEP: u32 = 1 << 24;

impl Director {
    pub(super) fn start_pushers(&mut self, begin: Instant) {
        let scenario = &self.play.scenario;
        let end = begin + scenario.duration.as_duration();
        let by_http = scenario
            .app
            .pushes
            .iter()
            .filter(|pushes| pushes.via == Via::Http);
        for (n, pushes) in (0u32..).zip(by_http) {
            let devices = roles::receivers(scenario, &self.stage.cast, &pushes.to);
            let rate = roles::push_rate(&self.play, pushes);
            let (stage, api, pushes) = (Arc::clone(&self.stage), self.app_api.clone(), pushes.clone());
            if devices.is_empty() {
                continue;
            }
            self.side.spawn(async move {
                let mut log = Log::new(APP);
                let places = Arc::new(Semaphore::new(AT_ONCE));
                let mut requests = JoinSet::new();
                let every = Duration::from_secs_f64(1.0 / rate);
                let (mut due, mut count) = (begin, 0u32);
                while due < end {
                    sleep_until(due).await;
                    let to = devices[count as usize % devices.len()];
                    let number = Number::of(APP, FIRST + n * STEP + count);
                    let expiry = pushes.expiry.map(crate::scenario::Span::as_duration);
                    let data = message::letter(&stage.run, number.0, "0", pushes.size);
                    let facts = Facts {
                        kind: Kind::Push,
                        door: Door::Http,
                        to,
                        due: stage.moment(due),
                        expiry: expiry.map(|expiry| u64::try_from(expiry.as_micros()).unwrap_or(u64::MAX)),
                        qos: 1,
                        named: true,
                        print: message::print_of(&stage.run, &data, roles::CHANNEL),
                    };
                    log.add(stage.now(), What::Due(number, facts));
                    let data: Option<Box<RawValue>> = serde_json::from_slice(&data).ok();
                    let mut body = json!({
                        "to": stage.cast.name(to),
                        "channel": roles::CHANNEL,
                        "data": data,
                        "id": message::id(&stage.run, number.0),
                    });
                    if let Some(expiry) = expiry {
                        body["expiry"] = json!(format!("{}ms", expiry.as_millis()));
                    }
                    let (api, stage_, places) = (api.clone(), Arc::clone(&stage), Arc::clone(&places));
                    requests.spawn(async move {
                        // The semaphore is never closed.
                        let _place = places.acquire_owned().await;
                        let sent = stage_.now();
                        stage_.live.sent.raise();
                        let what = match api.push(body).await {
                            Ok(answer) if answer.status < 300 => {
                                stage_.live.acknowledged.raise();
                                What::Acknowledged {
                                    message: number,
                                    mid: answer.mid,
                                }
                            }
                            Ok(answer) => {
                                stage_.live.rejected.raise();
                                What::Rejected {
                                    message: number,
                                    code: answer.status,
                                }
                            }
                            // Not answered: whether it was taken is not known.
                            Err(_) => What::Unreachable,
                        };
                        let send = What::Sent {
                            message: number,
                            again: false,
                        };
                        [
                            Observation { at: sent, what: send },
                            Observation {
                                at: stage_.now(),
                                what,
                            },
                        ]
                    });
                    count += 1;
                    due = begin + every * count;
                }
                while let Some(done) = requests.join_next().await {
                    // A request that panicked has seen nothing.
                    log.seen.extend(done.into_iter().flatten());
                }
                log
            });
        }
    }
}
