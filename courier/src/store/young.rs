//! Young messages: what waits for another server and was accepted of late.
//!
//! ```text
//! seq:  indexed (message_waiting, message_due) | young.after | young: found by walking what is behind `after`
//! ```
//!
//! Nearly all that goes to another server ends within moments. Kept in the indexes of what waits it would be put in and
//! taken out for nothing, two entries each. So a row starts young, and is put into them only if it is still there when
//! [`SPAN`] others have been accepted, when another server takes custody of it, or when a sweep wants to know what is due.
//! What is behind `after` is therefore a few spans of rows at most, ended ones included.

use rusqlite::Connection;

use super::error::StoreError;
use crate::hop::Hop;

/// Messages accepted while one stays young: several windows of a server.
const SPAN: i64 = 8_192;

/// What a row that waits for this hop starts as. Principals may be away for long, and their rows are looked up by hop.
pub(super) fn starts(hop: &Hop) -> Option<i64> {
    match hop {
        Hop::Server(_) => Some(1),
        Hop::Peer(_) | Hop::Principal(_) => None,
    }
}

/// Lets the oldest grow old, now and then: to be called with the first and the last number a transaction has given.
pub(super) fn grow(sql: &Connection, first: i64, last: i64) -> Result<(), StoreError> {
    // Numbers have few gaps; a multiple that falls into one is made up for by the next.
    if (first - 1) / SPAN != last / SPAN {
        settle(sql, last - SPAN)?;
    }
    Ok(())
}

/// Lets all grow old, so that the indexes have everything.
pub(super) fn settle_all(sql: &Connection) -> Result<(), StoreError> {
    let last: Option<i64> = sql
        .prepare_cached("SELECT max(seq) FROM message")?
        .query_row([], |row| row.get(0))?;
    last.map_or(Ok(()), |last| settle(sql, last))
}

fn settle(sql: &Connection, upto: i64) -> Result<(), StoreError> {
    let after: i64 = sql
        .prepare_cached("SELECT after FROM young")?
        .query_row([], |row| row.get(0))?;
    let settled = sql
        .prepare_cached(
            "UPDATE message SET young = NULL WHERE seq > ?1 AND seq <= ?2 AND young = 1 AND ended_at IS NULL",
        )?
        .execute([after, upto])?;
    // Nothing is written for nothing: a sweep must get through on a full disk.
    if settled > 0 || upto >= after + SPAN {
        sql.prepare_cached("UPDATE young SET after = ?1")?
            .execute([upto])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use irsp_protocol::{Envelope, MessageId, MessageKind, PushOptions, Server, Timestamp};

    use super::super::{ledger, message};
    use super::*;
    use crate::core::Rest;

    fn store() -> Connection {
        let mut sql = Connection::open_in_memory().unwrap();
        super::super::migrate(&mut sql, std::path::Path::new("memory"), &[]).unwrap();
        sql
    }

    /// A message that waits for the application server; an older program would have put it in old.
    fn put(sql: &Connection, seq: i64, young: Option<i64>) {
        let envelope = Envelope {
            id: MessageId::from_bytes([seq as u8; 16]),
            kind: MessageKind::Upload,
            source: "dev/lamp-1".parse().unwrap(),
            destination: "app/climate".parse().unwrap(),
            channel: None,
            time: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(1),
            sender_id: None,
            content_type: None,
            options: PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::new(),
        };
        let head = serde_json::to_string(&envelope).unwrap();
        sql.execute(
            "INSERT INTO message (seq, id, kind, hop, source, head, data, accepted_at, expires_at, due_at, young)
             VALUES (?1, CAST(?1 AS BLOB), 'upload', 'srv/app', 'dev/lamp-1', ?2, x'', ?1, 1, ?1, ?3)",
            (seq, head, young),
        )
        .unwrap();
    }

    fn end(sql: &Connection, seq: i64) {
        let ended = sql.execute(
            "UPDATE message SET ended_at = 1, status = 200 WHERE seq = ?1",
            [seq],
        );
        assert_eq!(ended.unwrap(), 1);
    }

    fn still_young(sql: &Connection) -> Vec<i64> {
        let mut rows = sql
            .prepare("SELECT seq FROM message WHERE young = 1 AND ended_at IS NULL")
            .unwrap();
        let found = rows.query_map([], |row| row.get(0)).unwrap();
        found.map(Result::unwrap).collect()
    }

    const APP: Hop = Hop::Server(Server::App);

    #[test]
    fn what_is_left_of_a_span_grows_old_when_the_next_one_is_full() {
        let sql = store();
        for seq in 1..=6 {
            put(&sql, seq, starts(&APP));
        }
        end(&sql, 2);
        for (first, last) in [(1, 6), (7, SPAN - 1)] {
            grow(&sql, first, last).unwrap();
            assert_eq!(still_young(&sql), [1, 3, 4, 5, 6]);
        }
        grow(&sql, SPAN, SPAN + 4).unwrap();
        assert_eq!(still_young(&sql), [5, 6]);
        grow(&sql, 2 * SPAN - 1, 2 * SPAN).unwrap();
        assert!(still_young(&sql).is_empty());
        assert_eq!(starts(&Hop::Principal("dev/lamp-1".parse().unwrap())), None);
    }

    #[test]
    fn what_is_young_is_found_like_what_is_old() {
        let sql = store();
        for seq in 1..=9 {
            put(&sql, seq, if seq % 3 == 0 { None } else { starts(&APP) });
        }
        end(&sql, 1);
        end(&sql, 3);
        let found = || {
            let page = message::load(&sql, &APP, 4, 3, 1000, Timestamp::from_millis(0)).unwrap();
            let rows: Vec<i64> = page.rows.iter().map(|(seq, _)| *seq).collect();
            let queue = message::queue(&sql, &APP).unwrap();
            let kinds = ledger::read(&sql).unwrap().kinds;
            let in_flight = kinds.first().map(|kind| kind.in_flight);
            (rows, page.rest, queue, in_flight, ledger::oldest(&sql).unwrap())
        };
        let two = Timestamp::from_millis(2);
        let expected = (vec![5, 6, 7], Rest::More, (7, Some(two)), Some(7), Some(two));
        assert_eq!(found(), expected);
        settle_all(&sql).unwrap();
        assert_eq!((still_young(&sql), found()), (Vec::new(), expected));
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        let sql = store();
        put(&sql, 1, None);
        let before = sql.total_changes();
        settle_all(&sql).unwrap();
        assert_eq!(sql.total_changes(), before);
    }
}
