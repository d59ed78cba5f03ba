//! The one way a change is made: authorised by who orders it, written with its audit line and its envelopes in one
//! transaction, waited for until the followers have it in force, answered.
//!
//! ```text
//! api: Caller::orders(action, target) ── Order ──► Account::carry_out(order, edit) ──► Done ── answer.rs ──► HTTP
//! ```

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::Effect;
use irsp_protocol::change::EntityKey;
use irsp_protocol::{MessageId, Principal};
use tokio::time::Instant;
use tracing::info;

use crate::account::Account;
use crate::effect::is_in_force;
use crate::refusal::Refusal;
use crate::store::{Author, Committed, Draft};

/// What is ordered: by whom, which action, on what.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) author: Author,
    /// As the audit log names it: `device.reset`.
    pub(crate) action: &'static str,
    pub(crate) target: Target,
}

/// What a change is made of, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    One(EntityKey),
    /// Many at once, in words.
    Many(String),
}

/// A change that is on disk.
#[derive(Debug)]
pub(crate) struct Done<T> {
    /// What the edit made.
    pub(crate) of: T,
    pub(crate) effect: Effect,
}

impl Account {
    /// Stores a change; when it is on disk, the own directory follows; then waits for the followers.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        order: Order,
        edit: impl FnMut(&mut Draft<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Done<T>, Refusal> {
        let (of, committed) = self.store(order, edit).await?;
        let effect = self.effect(&committed).await;
        Ok(Done { of, effect })
    }

    /// The same without waiting for the followers.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        order: Order,
        mut edit: impl FnMut(&mut Draft<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(T, Committed), Refusal> {
        let courier = self.courier.clone();
        let told = order.clone();
        let (made, committed) = self
            .courier
            .write(move |tx| {
                let mut draft = Draft::begin(tx)?;
                let made = edit(&mut draft)?;
                let what = order.target.to_string();
                let committed = draft.finish(&order.author, order.action, &what, || courier.new_id())?;
                Ok((made, committed))
            })
            .await?;
        self.metrics.changes.inc_by(committed.changes.len() as u64);
        for change in &committed.changes {
            // This server has no sessions and no queues: nothing further follows.
            let _consequences = self.directory.apply(change);
        }
        let Order {
            author,
            action,
            target,
        } = told;
        info!(who = %author.who, action, what = %target, operation = committed.operation(), "changed");
        Ok((made, committed))
    }

    /// Waits for the followers, and tells how far they are.
    async fn effect(&self, committed: &Committed) -> Effect {
        let deadline = Instant::now() + self.effect_wait;
        let mut in_effect = true;
        for envelope in &committed.envelopes {
            in_effect &= self.is_in_force(*envelope, deadline).await;
            if !in_effect {
                break;
            }
        }
        Effect {
            in_effect,
            operation: committed.operation(),
        }
    }

    /// The same for an operation that was stored before.
    pub(crate) async fn effect_of(&self, number: Option<u64>) -> Result<Effect, Refusal> {
        let Some(operation) = number else {
            return Ok(Effect {
                in_effect: true,
                operation: None,
            });
        };
        let deadline = Instant::now() + self.effect_wait;
        let mut in_effect = true;
        for dispatch in self.operation(operation).await?.dispatches {
            in_effect &= match dispatch.ended {
                Some((status, _)) => is_in_force(status),
                None => self.is_in_force(dispatch.message, deadline).await,
            };
            if !in_effect {
                break;
            }
        }
        Ok(Effect {
            in_effect,
            operation: number,
        })
    }

    async fn is_in_force(&self, envelope: MessageId, deadline: Instant) -> bool {
        let within = deadline.saturating_duration_since(Instant::now());
        let outcome = self
            .courier
            .outcome(envelope, within, irsp_courier::Until::End)
            .await;
        outcome.is_some_and(|(status, _)| is_in_force(status))
    }
}

impl From<Principal> for Target {
    fn from(principal: Principal) -> Target {
        Target::One(EntityKey::Principal(principal))
    }
}

impl From<EntityKey> for Target {
    fn from(key: EntityKey) -> Target {
        Target::One(key)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::One(EntityKey::Principal(principal)) => write!(f, "{principal}"),
            Target::One(EntityKey::Binding { device, user }) => write!(f, "dev/{device} usr/{user}"),
            Target::One(EntityKey::TokenKey(id)) => write!(f, "key/{id}"),
            Target::Many(words) => f.write_str(words),
        }
    }
}
