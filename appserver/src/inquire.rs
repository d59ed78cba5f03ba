//! Asks the couriers of the domain: our own, and those of the other servers over the bus.

use std::time::Duration;

use futures_util::future::join_all;
use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use irsp_protocol::Server;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::inquiry::{Finding, Inquiry};

/// How long another server may take to say what it knows.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// What each server said, and which did not answer in time.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) found: Vec<(Server, Finding)>,
    pub(crate) silent: Vec<Server>,
}

/// Asks these servers at the same time. Only our own failure is an error; another server's is its silence.
pub(crate) async fn ask(
    courier: &Courier,
    servers: &[Server],
    inquiry: &Inquiry,
) -> Result<Heard, StoreError> {
    let asking = servers.iter().map(|server| async move {
        if *server == Server::App {
            return (*server, courier.inquire(inquiry.clone()).await.map(Some));
        }
        let question = Question::Courier(inquiry.clone());
        let found = match courier.ask(*server, question, ASK_WITHIN).await {
            Some(Reply::Courier(finding)) => Some(finding),
            Some(Reply::Unanswered(status)) => {
                tracing::warn!(%server, %status, "a server does not answer an inquiry");
                None
            }
            Some(Reply::Directory(_) | Reply::Presence { .. } | Reply::Peers(_)) | None => None,
        };
        (*server, Ok(found))
    });
    let mut heard = Heard::default();
    for (server, found) in join_all(asking).await {
        match found? {
            Some(finding) => heard.found.push((server, finding)),
            None => heard.silent.push(server),
        }
    }
    Ok(heard)
}
