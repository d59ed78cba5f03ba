//! The ledger's counters: raised in the transaction that accepts or ends, read together with what is in flight.

use std::collections::BTreeMap;

use irsp_protocol::ledger::{KindLedger, Ledger};
use irsp_protocol::{MessageKind, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::effects::Effects;
use super::error::StoreError;
use super::text;

/// In place of a status: counts the accepted.
const ACCEPTED: u16 = 0;

/// Adds what a transaction has accepted and ended, and takes back the ends of what it sends again.
pub(super) fn add(sql: &Connection, effects: &Effects) -> Result<(), StoreError> {
    let mut counts: BTreeMap<(MessageKind, u16), i64> = BTreeMap::new();
    for stored in &effects.stored {
        match stored.reopens {
            None => *counts.entry((stored.envelope.kind, ACCEPTED)).or_default() += 1,
            Some(end) => *counts.entry((stored.envelope.kind, end.code())).or_default() -= 1,
        }
    }
    for left in &effects.left {
        if let Some(end) = &left.end {
            *counts.entry((end.kind, end.status.code())).or_default() += 1;
        }
    }
    let mut raise = sql.prepare_cached(
        "INSERT INTO ledger (kind, status, count) VALUES (?1, ?2, ?3)
         ON CONFLICT (kind, status) DO UPDATE SET count = count + excluded.count",
    )?;
    for ((kind, status), count) in counts {
        raise.execute(params![kind.as_str(), status, count])?;
    }
    Ok(())
}

/// The ledger as one committed state has it.
pub(crate) fn read(sql: &Connection) -> Result<Ledger, StoreError> {
    let tx = sql.unchecked_transaction()?;
    // From the index, and what is young from behind it.
    let mut in_flight = tx.prepare_cached(
        "SELECT kind, count(*) FROM message WHERE ended_at IS NULL AND young IS NULL GROUP BY kind
         UNION ALL
         SELECT kind, count(*) FROM message
         WHERE ended_at IS NULL AND young = 1 AND seq > (SELECT after FROM young) GROUP BY kind",
    )?;
    let mut rows = in_flight.query([])?;
    let mut kinds: BTreeMap<MessageKind, u64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let kind = text::read_kind(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        let count: i64 = row.get(1)?;
        *kinds.entry(kind).or_default() += count.cast_unsigned();
    }
    with_in_flight(&tx, kinds)
}

/// The ledger, with what was counted of the same state as in flight.
pub(crate) fn with_in_flight(
    sql: &Connection,
    in_flight: BTreeMap<MessageKind, u64>,
) -> Result<Ledger, StoreError> {
    let of = |kind: MessageKind, in_flight: u64| KindLedger {
        kind,
        accepted: 0,
        ended: Vec::new(),
        in_flight,
    };
    let counted = in_flight.into_iter().map(|(kind, count)| (kind, of(kind, count)));
    let mut kinds: BTreeMap<MessageKind, KindLedger> = counted.collect();
    let mut counters = sql.prepare_cached("SELECT kind, status, count FROM ledger ORDER BY kind, status")?;
    let mut rows = counters.query([])?;
    while let Some(row) = rows.next()? {
        let kind = text::read_kind(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        let (status, count): (u16, i64) = (row.get(1)?, row.get(2)?);
        let count = count.cast_unsigned();
        let ledger = kinds.entry(kind).or_insert_with(|| of(kind, 0));
        if status == ACCEPTED {
            ledger.accepted = count;
        } else {
            ledger.ended.push((text::read_status(status)?, count));
        }
    }
    Ok(Ledger {
        kinds: kinds.into_values().collect(),
    })
}

/// When the oldest message that has not ended was accepted. Of what is in flight; receipts are not walked through.
pub(crate) fn oldest(sql: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let mut oldest = sql.prepare_cached(
        "SELECT accepted_at FROM message WHERE seq = (SELECT min(seq) FROM
             (SELECT min(seq) AS seq FROM message INDEXED BY message_due WHERE ended_at IS NULL AND young IS NULL
              UNION ALL
              SELECT min(seq) FROM message
              WHERE ended_at IS NULL AND young = 1 AND seq > (SELECT after FROM young)))",
    )?;
    let at = oldest.query_row([], |row| row.get(0)).optional()?;
    Ok(at.map(Timestamp::from_millis))
}
