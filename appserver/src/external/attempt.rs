//! One try: the oldest message of a sender is read, sent and, by the endpoint's answer, ended or left for another try.
//! What became of it and its line in the log are one transaction, which is repeated until the disk takes it: the
//! endpoint has heard the message already.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::Courier;
use irsp_courier::store::{ServiceAnswer, ServiceHead, StoreError, service_head};
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Id, Status, Timestamp};
use tokio_util::sync::CancellationToken;

use super::client::{ClientError, HttpAnswer};
use super::endpoint::Endpoint;
use super::event;
use super::lane::Tried;
use super::service::{External, hop};
use super::verdict::{self, Verdict};
use crate::metrics::Metrics;
use crate::store::endpoint::{self as log, Delivery};

/// After a failure of the disk the result is written again.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// Longest error in the log, in characters.
const ERROR_LEN_MAX: usize = 300;

/// What tries need.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) external: Arc<External>,
    pub(super) courier: Courier,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
}

impl Sender {
    /// Tries the oldest message of `sender`.
    pub(super) async fn try_one(&self, endpoint: &Endpoint, sender: &str) -> Tried {
        let head = match self.head(&endpoint.app, sender).await {
            Ok(Some(head)) => head,
            Ok(None) => return Tried::Nothing,
            Err(error) => {
                tracing::error!(app = %endpoint.app, sender, %error, "what waits for an endpoint cannot be read");
                return Tried::Unread;
            }
        };
        let external = &self.external;
        let (now, id) = (self.courier.now(), head.envelope.id.to_string());
        let event = match event::event(&head.envelope, &external.domain, endpoint.mode) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%id, %error, "cannot be written as an event; it waits until it expires");
                return Tried::Unread;
            }
        };
        let headers = external.signed(endpoint, &id, &event, now);
        // What has expired is not to be taken any more.
        let within = external.settings.timeout.min(head.envelope.expires.since(now));
        let posting = external
            .client
            .post(&endpoint.target, headers, event.body, within);
        let Some((result, duration)) = self.stop.run_until_cancelled(posting).await else {
            // It waits on disk, and the endpoint knows its id.
            return Tried::Unread;
        };
        let outcome = Outcome::of(&result, self.courier.now());
        let line = Delivery {
            app: endpoint.app.clone(),
            message: Some(head.envelope.id),
            kind: format!("irsp.{}", head.envelope.kind.as_str()),
            source: sender.to_owned(),
            attempt: head.failures.saturating_add(1),
            time: now,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            code: result.as_ref().ok().map(|answer| answer.code),
            outcome: String::new(),
            error: outcome.error.clone(),
        };
        self.settle(head, outcome, line).await
    }

    async fn head(&self, app: &Id, sender: &str) -> Result<Option<ServiceHead>, StoreError> {
        let (hop, sender, now) = (hop(app), sender.to_owned(), self.courier.now());
        let store = self.courier.store();
        store.read(move |sql| service_head(sql, &hop, &sender, now)).await
    }

    /// Stores what became of a try.
    async fn settle(&self, head: ServiceHead, outcome: Outcome, line: Delivery) -> Tried {
        let (id, hop) = (head.envelope.id, hop(&line.app));
        let settings = &self.external.settings;
        let (attempts_max, kept) = (settings.attempts_max, settings.deliveries_max);
        loop {
            let told = ServiceAnswer {
                status: outcome.status,
                answer: outcome.answer.clone(),
                sent_at: line.time,
            };
            let (hop, line, again) = (hop.clone(), line.clone(), outcome.again.is_some());
            let writing = self.courier.write(move |tx| {
                let ended = if again {
                    tx.service_failed(id, &hop, &told, attempts_max)?
                } else {
                    tx.service_answered(id, &hop, &told)?;
                    true
                };
                let outcome = if ended { told.status.name() } else { "retried" };
                let line = Delivery {
                    outcome: outcome.to_owned(),
                    ..line.clone()
                };
                log::log(tx.sql(), &line, kept)?;
                Ok(ended)
            });
            match (writing.await, outcome.again) {
                (Ok(ended), again) => {
                    self.metrics.delivered(ended.then_some(outcome.status));
                    return match again {
                        Some(after) if !ended => Tried::Again {
                            failures: head.failures.saturating_add(1),
                            after,
                        },
                        Some(_) | None => Tried::Ended {
                            healthy: outcome.healthy,
                        },
                    };
                }
                (Err(error), _) => {
                    tracing::warn!(%id, %error, "what became of a delivery cannot be stored; tried again");
                    let pause = tokio::time::sleep(WRITE_PAUSE);
                    if self.stop.run_until_cancelled(pause).await.is_none() {
                        return Tried::Unread;
                    }
                }
            }
        }
    }
}

/// What a try says of the message and of the endpoint.
struct Outcome {
    /// What it ends with, now or when it is given up.
    status: Status,
    answer: Option<Answer>,
    /// It is tried again, not before this has passed.
    again: Option<Duration>,
    healthy: bool,
    error: Option<String>,
}

impl Outcome {
    fn of(result: &Result<HttpAnswer, ClientError>, now: Timestamp) -> Outcome {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                return Outcome {
                    status: Status::PEER_TIMED_OUT,
                    answer: None,
                    again: Some(Duration::ZERO),
                    healthy: false,
                    error: Some(error.to_string().chars().take(ERROR_LEN_MAX).collect()),
                };
            }
        };
        let (status, again) = match verdict::judge(answer.code, answer.retry_after.as_deref(), now) {
            Verdict::Ends(status) => (status, None),
            Verdict::Again { after } => (Status::PEER_REFUSED, Some(after)),
        };
        let error = match answer.code {
            200..=299 => None,
            300..=399 => Some("redirects are not followed".to_owned()),
            code => Some(format!("HTTP {code}")),
        };
        Outcome {
            status,
            answer: Some(Answer {
                code: answer.code,
                body: bytes::Bytes::new(),
            }),
            again,
            healthy: again.is_none(),
            error,
        }
    }
}
