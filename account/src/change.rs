//! The one way a change is made: authorised by who orders it, written with its audit line and its envelopes in one
//! transaction, waited for until the followers have it in force, answered.
//!
//! ```text
//! api: Caller::orders(action, target) ── Order ──► Account::carry_out(order, edit) ──► Done ── answer.rs ──► HTTP
//! ```

use irsp_courier::store::StoreError;
use irsp_protocol::api::account::{
    ApplicationView, ApplicationWithKey, BindingView, CodeGone, CodeWithSecret, DeviceCodes, DeviceView,
    DeviceWithCode, Effect, Gone, Imported, UserView,
};
use irsp_protocol::api::login::{LoginGone, ResetCode};
use irsp_protocol::api::peer::{GrantView, PeerView};
use irsp_protocol::change::EntityKey;
use irsp_protocol::{MessageId, Principal, Timestamp};
use ring::rand::SystemRandom;
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::info;

use crate::account::Account;
use crate::effect::is_in_force;
use crate::refusal::Refusal;
use crate::repeat::Repeat;
use crate::store::audit::Line;
use crate::store::binding::Bound;
use crate::store::{Author, Committed, Draft, repeat, version};

/// What is ordered: by whom, which action, on what, under which conditions.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) author: Author,
    /// As the audit log names it: `device.reset`.
    pub(crate) action: &'static str,
    pub(crate) target: Target,
    pub(crate) conditions: Conditions,
}

/// What a change is made of, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    One(EntityKey),
    /// Many at once, in words.
    Many(String),
}

/// Under which conditions a request is carried out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<Tags>,
    pub(crate) if_none_match: Option<Tags>,
    pub(crate) repeat: Option<Repeat>,
}

/// The versions a caller names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: any version.
    Any,
    Listed(Vec<String>),
}

/// What a change makes and its answer shows; kept as JSON for a repeat under the same Idempotency-Key.
pub(crate) trait Made: Serialize + DeserializeOwned + Send + 'static {
    /// Whether it holds a secret.
    const SECRET: bool = false;

    /// The version of the record it shows, which is the ETag.
    fn version(&self) -> Option<u64> {
        None
    }
}

/// A change that is on disk.
#[derive(Debug)]
pub(crate) struct Done<T> {
    /// What the edit made.
    pub(crate) of: T,
    pub(crate) effect: Effect,
    /// An earlier request with the same Idempotency-Key made it.
    pub(crate) repeated: bool,
}

/// What the transaction found.
enum Written<T> {
    New(T, Committed),
    Before { of: T, operation: Option<u64> },
}

impl Account {
    /// Stores a change; when it is on disk, the own directory follows; then waits for the followers.
    pub(crate) async fn carry_out<T: Made>(
        &self,
        order: Order,
        edit: impl FnMut(&mut Draft<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Done<T>, Refusal> {
        match self.store(order, edit).await? {
            Written::New(of, committed) => Ok(Done {
                of,
                effect: self.effect(&committed).await,
                repeated: false,
            }),
            Written::Before { of, operation } => Ok(Done {
                of,
                effect: self.effect_of(operation).await?,
                repeated: true,
            }),
        }
    }

    /// The same without waiting for the followers.
    pub(crate) async fn note<T: Made>(
        &self,
        order: Order,
        edit: impl FnMut(&mut Draft<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(), Refusal> {
        self.store(order, edit).await?;
        Ok(())
    }

    async fn store<T: Made>(
        &self,
        order: Order,
        mut edit: impl FnMut(&mut Draft<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Written<T>, Refusal> {
        let random = self.random.clone();
        let (writer, directory, metrics) =
            (self.courier.clone(), self.directory.clone(), self.metrics.clone());
        let told = order.clone();
        let stored = async move {
            let written = writer
                .write(move |tx| {
                    if let Some(before) = order.before(tx.sql(), tx.now())? {
                        return Ok(before);
                    }
                    let stale = order.is_stale(tx.sql())?;
                    let mut draft = Draft::begin(tx, stale)?;
                    let made = edit(&mut draft)?;
                    let committed = draft.finish(order.line())?;
                    order.keep(tx.sql(), tx.now(), &random, &made, committed.operation())?;
                    Ok(Written::New(made, committed))
                })
                .await?;
            let Order {
                author,
                action,
                target,
                ..
            } = told;
            if let Written::New(_, committed) = &written {
                metrics.changes.inc_by(committed.changes.len() as u64);
                for change in &committed.changes {
                    // This server has no sessions and no queues: nothing further follows.
                    let _consequences = directory.apply(change);
                }
                info!(who = %author.who, action, what = %target, operation = committed.operation(), "changed");
            }
            Ok(written)
        };
        // What is on disk reaches the directory whether or not the caller still waits for the answer.
        self.tasks
            .spawn(stored)
            .await
            .unwrap_or_else(|error| Err(Refusal::Interrupted(error)))
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

impl Order {
    /// The line of the audit log that tells of it.
    fn line(&self) -> Line {
        let mut line = Line::done(&self.author, self.action, self.target.to_string());
        line.targets.extend(self.target.principals());
        line
    }

    /// What the same request made before.
    fn before<T: Made>(&self, sql: &Connection, now: Timestamp) -> Result<Option<Written<T>>, StoreError> {
        let Some(repeat) = &self.conditions.repeat else {
            return Ok(None);
        };
        let Some(kept) = repeat::find(sql, repeat, now)? else {
            return Ok(None);
        };
        if kept.differs {
            return Err(Refusal::KeyUsed.into());
        }
        let sealed = kept.answer.ok_or(Refusal::AnswerForgotten)?;
        let answer = repeat
            .open(&sealed)
            .map_err(|_| StoreError::Corrupt("a kept answer cannot be opened".to_owned()))?;
        Ok(Some(Written::Before {
            of: serde_json::from_slice(&answer)?,
            operation: kept.operation,
        }))
    }

    /// Keeps the answer for a repeat.
    fn keep<T: Made>(
        &self,
        sql: &Connection,
        now: Timestamp,
        random: &SystemRandom,
        made: &T,
        operation: Option<u64>,
    ) -> Result<(), StoreError> {
        let Some(repeat) = &self.conditions.repeat else {
            return Ok(());
        };
        let sealed = repeat
            .seal(random, serde_json::to_vec(made)?)
            .map_err(|_| Refusal::NoRandomness)?;
        repeat::keep(sql, repeat, now, operation, T::SECRET, &sealed)
    }

    /// Whether the caller names another version than the target has; what is not there has none.
    fn is_stale(&self, sql: &Connection) -> Result<bool, StoreError> {
        match (&self.conditions.if_match, &self.target) {
            (Some(tags), Target::One(key)) => {
                Ok(!version::of(sql, key)?.is_some_and(|version| tags.name(version)))
            }
            (Some(_), Target::Many(_)) => Ok(true),
            (None, _) => Ok(false),
        }
    }
}

impl Conditions {
    /// Whether the caller has this version already.
    pub(crate) fn knows(&self, version: u64) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| match tags {
            Tags::Any => true,
            // Compared weakly (RFC 9110, 13.1.2).
            Tags::Listed(list) => list
                .iter()
                .any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag(version)),
        })
    }
}

impl Tags {
    /// Whether this version is named, compared strongly (RFC 9110, 13.1.1).
    fn name(&self, version: u64) -> bool {
        match self {
            Tags::Any => true,
            Tags::Listed(list) => list.contains(&etag(version)),
        }
    }
}

/// A version as an entity tag.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

impl Made for () {}
impl Made for LoginGone {}
impl Made for ResetCode {
    const SECRET: bool = true;
}
impl Made for Gone {}
impl Made for UserView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for DeviceView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for DeviceWithCode {
    const SECRET: bool = true;
    fn version(&self) -> Option<u64> {
        Some(self.device.version)
    }
}
impl Made for DeviceCodes {
    const SECRET: bool = true;
}
impl Made for CodeWithSecret {
    const SECRET: bool = true;
}
impl Made for CodeGone {}
impl Made for Imported {
    const SECRET: bool = true;
}
impl Made for ApplicationView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for ApplicationWithKey {
    const SECRET: bool = true;
    fn version(&self) -> Option<u64> {
        Some(self.application.version)
    }
}
impl Made for PeerView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for GrantView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for BindingView {
    fn version(&self) -> Option<u64> {
        Some(self.version)
    }
}
impl Made for Bound {
    fn version(&self) -> Option<u64> {
        match self {
            Bound::New(binding) | Bound::Changed(binding) | Bound::Already { binding, .. } => {
                Some(binding.version)
            }
        }
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

impl Target {
    /// Whom it is about.
    pub(crate) fn principals(&self) -> Vec<Principal> {
        match self {
            Target::One(EntityKey::Principal(principal)) => vec![principal.clone()],
            Target::One(EntityKey::Binding { device, user }) => {
                vec![Principal::device(device.clone()), Principal::user(user.clone())]
            }
            Target::One(EntityKey::Grant { principal, .. }) => vec![principal.clone()],
            Target::One(EntityKey::TokenKey(_) | EntityKey::Peer(_)) | Target::Many(_) => Vec::new(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::One(EntityKey::Principal(principal)) => write!(f, "{principal}"),
            Target::One(EntityKey::Binding { device, user }) => write!(f, "dev/{device} usr/{user}"),
            Target::One(key @ (EntityKey::TokenKey(_) | EntityKey::Peer(_) | EntityKey::Grant { .. })) => {
                write!(f, "{key}")
            }
            Target::Many(words) => f.write_str(words),
        }
    }
}
