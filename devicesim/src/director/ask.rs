//! What the platform says itself at the end: its store, its presence, the ends of pushes made over HTTP.

use std::collections::HashSet;
use std::time::Duration;

use irsp_protocol::MessageId;
use serde_json::Value;
use tokio::time::Instant;

use crate::cast::APP;
use crate::observation::{Door, Log, Number, Party, Stored, What};

use crate::platform::Presence;

use super::{Director, pause_before};

/// A store is read once more after this: a repeat may come late.
const STORE_QUIET: Duration = Duration::from_millis(500);
/// Most devices whose presence is asked for one by one.
const PRESENCE_MAX: usize = 2_000;
/// Most pushes whose end is asked for one by one.
const ENDS_MAX: usize = 5_000;
/// What a receipt says until its message has ended.
const ACCEPTED: u16 = 202;
/// Between two looks at a push that has not ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Director {
    pub(super) async fn ask_store(&self, unasked: &mut Vec<String>) -> Vec<Stored> {
        let cast = &self.stage.cast;
        let app = cast.member(APP).principal.id.clone();
        let (run, mut after, mut stored) = (&self.stage.run, 0, Vec::new());
        for read in 0..2 {
            if read > 0 {
                tokio::time::sleep(STORE_QUIET).await;
            }
            match self.api.stored(cast, app.as_str(), run, after).await {
                Ok((end, more)) => {
                    after = end;
                    stored.extend(more);
                }
                Err(error) => {
                    unasked.push(format!("the store could not be read: {error}"));
                    break;
                }
            }
        }
        stored
    }

    pub(super) async fn ask_presence(
        &self,
        logs: &mut Vec<Log>,
        unasked: &mut Vec<String>,
    ) -> Vec<(Party, Option<bool>)> {
        let mut online = Vec::new();
        let mut log = Log::new(APP);
        for device in self.stage.cast.devices(None).into_iter().take(PRESENCE_MAX) {
            match self.api.presence(&self.stage.cast.name(device)).await {
                Ok(known) => {
                    online.push((device, known.map(|known| known.online)));
                    self.note_presence(&mut log, device, known);
                }
                Err(error) => {
                    unasked.push(format!("presence could not be read: {error}"));
                    break;
                }
            }
        }
        logs.push(log);
        online
    }

    fn note_presence(&self, log: &mut Log, of: Party, known: Option<Presence>) {
        let Some((known, epoch, seq)) = known.and_then(|known| Some((known, known.epoch?, known.seq?)))
        else {
            return;
        };
        let asked = What::PresenceAsked {
            of,
            epoch,
            seq,
            since: known.since.map(|since| since.as_millis() - self.stage.zero_ms),
            online: known.online,
        };
        log.add(self.stage.now(), asked);
    }

    /// Pushes by HTTP have no status topic: their receipts say how they ended.
    pub(super) async fn ask_ends(&self, logs: &mut Vec<Log>, unasked: &mut Vec<String>) {
        let by_http: HashSet<_> = logs
            .iter()
            .flat_map(|log| &log.seen)
            .filter_map(|seen| {
                let What::Due(number, facts) = seen.what else {
                    return None;
                };
                (facts.door == Door::Http).then_some(number)
            })
            .collect();
        let taken: Vec<_> = logs
            .iter()
            .flat_map(|log| &log.seen)
            .filter_map(|seen| {
                let What::Acknowledged {
                    message,
                    mid: Some(mid),
                } = seen.what
                else {
                    return None;
                };
                by_http.contains(&message).then_some((message, mid))
            })
            .take(ENDS_MAX)
            .collect();
        let deadline = Instant::now() + self.play.scenario.settle.as_duration();
        let mut log = Log::new(APP);
        for (message, mid) in taken {
            loop {
                match self.api.receipt(&mid.to_string()).await {
                    Ok(receipt) => {
                        let code = receipt["status"]
                            .as_u64()
                            .and_then(|code| u16::try_from(code).ok())
                            .unwrap_or(0);
                        if code == ACCEPTED && pause_before(deadline, LOOK_AGAIN).await {
                            continue;
                        }
                        self.note_receipt(&mut log, (message, mid), code, &receipt);
                    }
                    Err(error) => {
                        unasked.push(format!("a receipt could not be read: {error}"));
                        logs.push(log);
                        return;
                    }
                }
                break;
            }
        }
        logs.push(log);
    }

    fn note_receipt(&self, log: &mut Log, (message, mid): (Number, MessageId), code: u16, receipt: &Value) {
        let party = |field: &str| {
            let address = receipt[field].as_str()?;
            self.stage.cast.find(address.split('@').next().unwrap_or(address))
        };
        let now = self.stage.now();
        let said = What::Receipt {
            message,
            open: code == ACCEPTED,
            source: party("source"),
            to: party("destination"),
        };
        log.add(now, said);
        if code == ACCEPTED {
            return;
        }
        let answer = receipt["answer"]["code"].as_u64();
        let ended = What::Ended {
            message,
            code,
            answer: answer.and_then(|code| u16::try_from(code).ok()),
            mid: Some(mid),
        };
        log.add(now, ended);
    }
}
