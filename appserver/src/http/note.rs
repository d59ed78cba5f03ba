//! Orders that change something here are told to the account server, whose audit log holds every change (clause 7.1). The
//! line waits in the outbox like any message, so it gets there when that server is away for a while.

use irsp_courier::Hop;
use irsp_protocol::note::{Action, Note};
use irsp_protocol::{Envelope, MessageKind, Principal, Server};

use super::caller::Caller;
use super::state::Api;

/// Tells of an order that was carried out. If that cannot be stored, the order stands all the same, and in the log.
pub(super) async fn note(api: &Api, caller: &Caller, action: Action, what: String, targets: Vec<Principal>) {
    let note = Note {
        who: caller.principal().clone(),
        from: caller.from(),
        action,
        what,
        targets,
    };
    let (id, now) = (api.courier.new_id(), api.courier.now());
    let stored = async {
        let data = serde_json::to_vec(&note)?;
        let ends = (Server::App, Server::Account);
        let envelope = Envelope::between_servers(id, MessageKind::Directory, ends, now, data.into());
        let accepted = api
            .courier
            .write(move |tx| tx.accept(envelope.clone(), Hop::Server(Server::Account)));
        accepted.await.map(drop)
    };
    if let Err(error) = stored.await {
        tracing::error!(%error, who = %note.who, action = action.as_str(), what = note.what, "the audit log is not told");
    }
}
