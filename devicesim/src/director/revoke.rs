//! Resets and deletions under load: asked over HTTP, and the device told only after the old code must be dead.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::actor::Order;
use crate::cast::APP;
use crate::observation::{Log, Party, Revocation, What};

use super::Director;

/// Beyond the tolerance, how long a device goes on with its old code.
const LINGER: Duration = Duration::from_millis(500);

impl Director {
    /// Begins one; a failure stands in the log as a revocation that never came into effect.
    pub(super) fn revoke(&mut self, device: Party, how: Revocation) {
        let Some(orders) = self.orders.get(&device).cloned() else {
            return;
        };
        let (api, stage) = (self.api.clone(), Arc::clone(&self.stage));
        let linger = self.play.scenario.tolerance.revocation.as_duration() + LINGER;
        self.side.spawn(async move {
            let mut log = Log::new(APP);
            let id = stage.cast.member(device).principal.id.to_string();
            log.add(stage.now(), What::Revoking { of: device, how });
            let order = match how {
                Revocation::Reset => api.reset(&id).await.map(Order::NewCode),
                Revocation::Deleted => api.delete(&id).await.map(|()| Order::GiveUp),
            };
            match order {
                Ok(order) => {
                    log.add(stage.now(), What::Revoked { of: device });
                    sleep(linger).await;
                    log.add(stage.now(), What::Restored { of: device });
                    // A device that has ended needs no order.
                    let _ = orders.send(order);
                }
                Err(error) => {
                    let mut troubles = stage.troubles.lock().unwrap_or_else(PoisonError::into_inner);
                    *troubles.entry(error.to_string()).or_default() += 1;
                }
            }
            log
        });
    }
}
