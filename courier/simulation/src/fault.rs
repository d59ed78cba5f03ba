//! Faults put into the simulated surroundings, each of which breaks one promise: the oracle has to find every one.

use irsp_protocol::Timestamp;
use rusqlite::Connection;

/// What is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Receivers do not remember what they have seen.
    Forgetful,
    /// Senders hear of acceptance before the commit.
    EarlyAck,
    /// What has expired is dropped from the disk instead of being ended.
    Dropped,
    /// An ended message is taken up again.
    Revived,
    /// An effect takes place outside the transaction that remembers it.
    Eager,
    /// Couriers have a wider window than was agreed.
    Wide,
    /// Couriers have more bytes under way than was agreed.
    Heavy,
    /// Couriers repeat sooner than was agreed.
    Hasty,
    /// Nothing is ever sent a second time.
    Once,
    /// Devices are given messages in the wrong order.
    Shuffled,
    /// The end of a push is told wrongly to its origin.
    Misreported,
    /// What follows a failure does not wait for it.
    Overtaken,
    /// The end of a dead letter that is sent again stays in the ledger.
    Recounted,
    /// Nothing that was seen is ever forgotten.
    Hoarding,
    /// No receipt is ever forgotten.
    Archived,
    /// Another domain is told an end wrongly.
    Estranged,
    /// One of the other domains is not told of a deletion.
    Untold,
    /// Couriers have more under way to another domain than was agreed.
    Crowded,
}

impl Fault {
    pub const ALL: [Fault; 18] = [
        Fault::Forgetful,
        Fault::EarlyAck,
        Fault::Dropped,
        Fault::Revived,
        Fault::Eager,
        Fault::Wide,
        Fault::Heavy,
        Fault::Hasty,
        Fault::Once,
        Fault::Shuffled,
        Fault::Misreported,
        Fault::Overtaken,
        Fault::Recounted,
        Fault::Hoarding,
        Fault::Archived,
        Fault::Estranged,
        Fault::Untold,
        Fault::Crowded,
    ];

    /// What happens to a disk before each commit.
    pub(crate) fn age(self, sql: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        if self == Fault::Dropped {
            sql.execute(
                "DELETE FROM message WHERE ended_at IS NULL AND expires_at <= ?1",
                [now.as_millis()],
            )?;
        }
        Ok(())
    }

    /// Spoils a disk for good.
    pub(crate) fn spoil(self, sql: &Connection) -> rusqlite::Result<()> {
        match self {
            Fault::Forgetful => sql.execute_batch(
                "CREATE TRIGGER fault AFTER INSERT ON seen BEGIN DELETE FROM seen WHERE seq = NEW.seq; END",
            ),
            Fault::Revived => sql.execute_batch(
                "CREATE TRIGGER fault AFTER UPDATE OF ended_at ON message
                     WHEN NEW.ended_at IS NOT NULL AND NEW.seq % 3 = 0
                 BEGIN UPDATE message SET ended_at = NULL, status = NULL, answered_at = NULL WHERE seq = NEW.seq; END",
            ),
            Fault::Overtaken => sql.execute_batch(
                "CREATE TRIGGER fault AFTER INSERT ON held
                 BEGIN DELETE FROM held WHERE origin = NEW.origin AND seq = NEW.seq; END",
            ),
            Fault::Recounted => sql.execute_batch(
                "CREATE TRIGGER fault AFTER UPDATE OF ended_at ON message
                     WHEN OLD.ended_at IS NOT NULL AND NEW.ended_at IS NULL
                 BEGIN UPDATE ledger SET count = count + 1 WHERE kind = OLD.kind AND status = OLD.status; END",
            ),
            Fault::Hoarding => sql.execute_batch(
                "CREATE TRIGGER fault BEFORE DELETE ON seen BEGIN SELECT RAISE(IGNORE); END",
            ),
            Fault::Archived => sql.execute_batch(
                "CREATE TRIGGER fault BEFORE DELETE ON message BEGIN SELECT RAISE(IGNORE); END",
            ),
            Fault::EarlyAck
            | Fault::Dropped
            | Fault::Eager
            | Fault::Wide
            | Fault::Heavy
            | Fault::Hasty
            | Fault::Once
            | Fault::Shuffled
            | Fault::Misreported
            | Fault::Estranged
            | Fault::Untold
            | Fault::Crowded => Ok(()),
        }
    }
}
