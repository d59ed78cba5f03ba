//! What a session that is over while nobody is connected leaves to the other members of its `$share` groups (4.8.2).

use bytestring::ByteString;
use irsp_courier::Courier;
use irsp_courier::store::StoreError;
use irsp_session::{Delivery, QoS, Session};

use crate::directory::Enforcer;
use crate::sessions::mailbox::Mailbox;
use crate::sessions::tag::stored_tag;
use crate::store::publish::Moment;
use crate::store::queue::{self, Waiting};

/// Gives what its client has not acknowledged to the others of these groups. Its subscriptions have ended, what it has on
/// disk has not gone yet.
pub(crate) async fn hand_over(
    enforcer: &Enforcer,
    courier: &Courier,
    shared: &[ByteString],
    session: Session,
    mailbox: &Mailbox,
) {
    if shared.is_empty() {
        return;
    }
    let mut rest: Vec<Delivery> = session.into_rest().collect();
    match unsent(courier, mailbox).await {
        Ok(waiting) => rest.extend(waiting),
        Err(error) => {
            tracing::warn!(owner = %mailbox.owner(), %error, "what waits for a share group's lost member cannot be read");
        }
    }
    enforcer.topics.hand_over(shared, rest);
}

/// What is on disk only. What was sent at QoS 2 before a restart is nobody else's [MQTT-4.8.2-5].
async fn unsent(courier: &Courier, mailbox: &Mailbox) -> Result<Vec<Delivery>, StoreError> {
    let Some(id) = mailbox.session() else {
        return Ok(Vec::new());
    };
    let (unread, moment) = (mailbox.unread(), Moment::at(courier.now()));
    let seqs = unread.seqs.clone();
    let read = move |sql: &rusqlite::Connection| queue::load(sql, id, &seqs, stored_tag, moment);
    let waiting = courier.store().read(read).await?;
    let is_free = |entry: &Waiting| {
        !entry.received && (!unread.may_have_been_sent(entry.seq) || entry.delivery.qos < QoS::ExactlyOnce)
    };
    Ok(waiting
        .into_iter()
        .filter(is_free)
        .map(|entry| entry.delivery)
        .collect())
}
