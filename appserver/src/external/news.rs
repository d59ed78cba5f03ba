//! Presence for the services behind external applications: an event `irsp.presence` with the same data as the stream has,
//! for endpoints that asked for it.
//!
//! It goes the way of a message, in the transaction that stores the news. Of one principal only the newest that was not yet
//! tried waits, so what waits for an endpoint that is away is bounded by the principals it hears. What came between is read
//! from the stream, by the number of the change.

use bytes::Bytes;
use irsp_courier::store::{StoreError, Tx};
use irsp_directory::Directory;
use irsp_protocol::api::app::PresenceView;
use irsp_protocol::change::Delivery;
use irsp_protocol::{Address, Envelope, Id, MessageKind, Principal, PushOptions, expiry};

use super::service::hop;
use crate::store::presence::Numbered;
use crate::store::{endpoint, heard};

/// Tells the endpoints that want presence of news that was stored, if their applications hear of its principal.
pub(crate) fn tell(tx: &mut Tx<'_>, directory: &Directory, news: &Numbered) -> Result<(), StoreError> {
    let wanting = endpoint::hearing(tx.sql())?;
    if wanting.is_empty() {
        return Ok(());
    }
    let abroad = match &news.domain {
        Some(_) => Some(heard::apps(tx.sql(), &news.address())?),
        None => None,
    };
    for app in wanting {
        let hears = directory.application(&app).is_some_and(|application| {
            application.delivery == Delivery::External
                && match &abroad {
                    Some(apps) => apps.contains(&app),
                    None => application.hears.includes(&news.presence.principal),
                }
        });
        if hears {
            let envelope = envelope(tx, &app, news)?;
            tx.accept(envelope, hop(&app))?;
        }
    }
    Ok(())
}

fn envelope(tx: &Tx<'_>, app: &Id, news: &Numbered) -> Result<Envelope, StoreError> {
    let Numbered { n, domain, presence } = news.clone();
    let data = serde_json::to_vec(&PresenceView::new(n, domain, presence))?;
    Ok(Envelope {
        id: tx.new_id(),
        kind: MessageKind::Presence,
        source: news.address(),
        destination: Address::local(Principal::application(app.clone())),
        channel: None,
        time: news.presence.since,
        expires: tx.now().plus(expiry::BETWEEN_SERVERS),
        sender_id: None,
        content_type: Some("application/json".to_owned()),
        options: PushOptions {
            supersede_key: Some(MessageKind::Presence.into()),
            ..PushOptions::default()
        },
        attributes: Vec::new(),
        data: Bytes::from(data),
    })
}
