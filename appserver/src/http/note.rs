//! Orders that change something here are told to the account server, whose audit log holds every change (clause 7.1). The
//! line is stored with the change and waits in the outbox like any message, so it gets there when that server is away for a
//! while.

use irsp_courier::Hop;
use irsp_courier::store::{StoreError, Tx};
use irsp_protocol::note::{self, Action};
use irsp_protocol::{Envelope, MessageKind, Principal, Server, Status};

use super::caller::Caller;
use super::refusal::Refusal;
use super::state::Api;

/// The line about one order.
#[derive(Clone, Debug)]
pub(super) struct Note(Envelope);

impl Note {
    pub(super) fn new(
        api: &Api,
        caller: &Caller,
        action: Action,
        what: String,
        targets: Vec<Principal>,
    ) -> Result<Note, StoreError> {
        let (id, now) = (api.courier.new_id(), api.courier.now());
        let note = note::Note {
            time: now,
            who: Some(caller.principal().clone()),
            from: caller.from(),
            action,
            what,
            status: Status::DONE,
            targets,
        };
        let body = serde_json::to_vec(&[note])?;
        let ends = (Server::App, Server::Account);
        Ok(Note(Envelope::between_servers(
            id,
            MessageKind::Directory,
            ends,
            now,
            body.into(),
        )))
    }

    /// Stores it, in the transaction of what it tells of.
    pub(super) fn store(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.accept(self.0.clone(), Hop::Server(Server::Account))?;
        Ok(())
    }

    /// Carries out an order that other servers have a part in and tells of it, also if its caller hangs up meanwhile. If the
    /// line cannot be stored, the order stands all the same, and in the log.
    pub(super) async fn after<R: Send + 'static>(
        self,
        api: &Api,
        order: impl Future<Output = Result<R, Refusal>> + Send + 'static,
    ) -> Result<R, Refusal> {
        let courier = api.courier.clone();
        let both = async move {
            let done = order.await?;
            let id = self.0.id;
            if let Err(error) = courier.write(move |tx| self.store(tx)).await {
                tracing::error!(%id, %error, "the audit log is not told of an order");
            }
            Ok(done)
        };
        let broken_off = |error| {
            Err(Refusal::new(
                Status::FAILED,
                format!("the order was broken off: {error}"),
            ))
        };
        api.tasks.spawn(both).await.unwrap_or_else(broken_off)
    }
}
