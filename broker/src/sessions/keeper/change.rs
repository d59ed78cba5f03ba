//! The changes of durable sessions, and the transaction that makes them.

use std::sync::Arc;

use bytestring::ByteString;
use irsp_courier::Courier;
use irsp_courier::store::{StoreError, Tx};
use irsp_protocol::Timestamp;
use irsp_session::Publish;

use crate::sessions::mailbox::Mailbox;
use crate::sessions::publisher::Publisher;
use crate::store::publish::Moment;
use crate::store::queue::{self, Entry};
use crate::store::session::{self, Begun, Left, SessionId, Wanted};
use crate::store::will::{self, WillId};

/// One change of what is stored.
#[derive(Debug)]
pub(super) enum Change {
    Begin(Begun),
    Leave(Left),
    End(SessionId),
    Subscribe(SessionId, Vec<Wanted>),
    Unsubscribe(SessionId, Vec<ByteString>),
    Put {
        id: u64,
        publish: Arc<Publish>,
        entries: Vec<Entry>,
        hearers: Vec<Arc<Mailbox>>,
        retained: Option<Publisher>,
        taken: Option<(SessionId, u16)>,
    },
    Remove(Arc<Mailbox>, SessionId, u64),
    Received(SessionId, u64),
    Complete(SessionId, u16),
    WillDue(WillId, Timestamp),
    WillDone(WillId),
}

/// Stores changes in one transaction; says for each what it freed.
pub(super) async fn write(
    courier: &Courier,
    changes: Arc<[Arc<Change>]>,
) -> Result<Vec<Option<u64>>, StoreError> {
    courier
        .write(move |tx| {
            let moment = Moment::at(tx.now());
            changes.iter().map(|change| apply(tx, change, moment)).collect()
        })
        .await
}

fn apply(tx: &Tx<'_>, change: &Change, moment: Moment) -> Result<Option<u64>, StoreError> {
    let sql = tx.sql();
    match change {
        Change::Begin(begun) => session::begin(sql, begun, moment)?,
        Change::Leave(left) => session::leave(sql, left)?,
        Change::End(id) => session::end(sql, *id)?,
        Change::Subscribe(id, wanted) => {
            for wanted in wanted {
                session::subscribe(sql, *id, wanted)?;
            }
        }
        Change::Unsubscribe(id, filters) => {
            for filter in filters {
                session::unsubscribe(sql, *id, filter)?;
            }
        }
        Change::Put {
            id,
            publish,
            entries,
            retained,
            taken,
            ..
        } => {
            queue::put(sql, *id, publish, entries, *retained, moment)?;
            if let Some((session, packet_id)) = taken {
                queue::take(sql, *session, *packet_id)?;
            }
        }
        Change::Remove(_, session, seq) => return queue::remove(sql, *session, *seq),
        Change::Received(session, seq) => queue::received(sql, *session, *seq)?,
        Change::Complete(session, packet_id) => queue::complete(sql, *session, *packet_id)?,
        Change::WillDue(id, at) => will::due(sql, *id, *at)?,
        Change::WillDone(id) => will::done(sql, *id)?,
    }
    Ok(None)
}
