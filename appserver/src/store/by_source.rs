//! What is read by sender: which uploads each has made (`uploads_of_source`) and its last on each channel (`latest`).
//!
//! Both are written behind the log of uploads, a stretch of it at a time and in order of sender: entries of many
//! senders stand on pages far apart, so that kept up with each upload they cost more than the upload itself. The log
//! says what is missing: whoever reads one sender's uploads reads the rest of the log too, and whoever reads `latest`
//! has it brought up first ([`is_behind`], [`follow`]).

use irsp_courier::store::StoreError;
use rusqlite::{Connection, params};

/// Whether uploads are stored that cannot be read by sender yet.
pub(crate) fn is_behind(conn: &Connection) -> Result<bool, StoreError> {
    let behind = conn
        .prepare_cached("SELECT 1 FROM uploads WHERE seq > (SELECT upto FROM followed) LIMIT 1")?
        .exists([])?;
    Ok(behind)
}

/// Takes in the next `limit` uploads at most; says whether more may wait.
pub(crate) fn follow(conn: &Connection, limit: u32) -> Result<bool, StoreError> {
    let (taken, upto): (u32, Option<i64>) = conn
        .prepare_cached(
            "SELECT count(*), max(seq) FROM
             (SELECT seq FROM uploads WHERE seq > (SELECT upto FROM followed) ORDER BY seq LIMIT ?1)",
        )?
        .query_row([limit], |found| Ok((found.get(0)?, found.get(1)?)))?;
    let Some(upto) = upto else {
        return Ok(false);
    };
    conn.prepare_cached(
        "INSERT INTO uploads_of_source SELECT app, source, seq FROM uploads
         WHERE seq > (SELECT upto FROM followed) AND seq <= ?1 ORDER BY app, source, seq",
    )?
    .execute([upto])?;
    // The last one stored, not the greatest time: a device whose clock once ran ahead is not stuck there.
    conn.prepare_cached(
        "INSERT INTO latest (app, source, channel, seq) SELECT app, source, channel, max(seq) FROM uploads
         WHERE seq > (SELECT upto FROM followed) AND seq <= ?1 GROUP BY app, source, channel
         ON CONFLICT (app, source, channel) DO UPDATE SET seq = excluded.seq",
    )?
    .execute([upto])?;
    conn.prepare_cached("UPDATE followed SET upto = ?1")?
        .execute(params![upto])?;
    Ok(taken == limit)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use irsp_protocol::{Address, Channel, Envelope, MessageId, MessageKind, Timestamp};

    use super::*;
    use crate::store::MIGRATIONS;
    use crate::store::uploads::{self, Filter, Order};

    fn store() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            conn.execute_batch(migration.sql).unwrap();
        }
        conn
    }

    /// Two senders take turns: lamp-1 has the odd numbers.
    fn upload(conn: &Connection, number: u8) {
        let source: Address = format!("dev/lamp-{}", if number % 2 == 1 { 1 } else { 2 })
            .parse()
            .unwrap();
        let envelope = Envelope {
            id: MessageId::from_bytes([number; 16]),
            kind: MessageKind::Upload,
            source: source.clone(),
            destination: "app/climate".parse().unwrap(),
            channel: Some(Channel::new("temp").unwrap()),
            time: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            sender_id: None,
            content_type: None,
            options: irsp_protocol::PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::from_static(b"21.5"),
        };
        let app = &envelope.destination.principal.id;
        uploads::insert(conn, app, &source, &envelope, Timestamp::from_millis(1)).unwrap();
    }

    fn page(conn: &Connection, order: Order, after: Option<u64>, limit: usize) -> Vec<u64> {
        let filter = Filter {
            app: Some("climate".parse().unwrap()),
            source: Some("dev/lamp-1".parse().unwrap()),
            channel: Some(Channel::new("temp").unwrap()),
            ..Filter::default()
        };
        let page = uploads::page(conn, &filter, after, order, limit).unwrap();
        page.entries.iter().map(|upload| upload.seq).collect()
    }

    #[test]
    fn a_senders_uploads_are_the_same_however_far_they_are_followed() {
        let conn = store();
        (1..=9).for_each(|number| upload(&conn, number));
        for followed in [0, 4, 4, 4] {
            let more = follow(&conn, followed).unwrap();
            assert_eq!(page(&conn, Order::Oldest, None, 10), [1, 3, 5, 7, 9]);
            assert_eq!(page(&conn, Order::Oldest, Some(3), 2), [5, 7]);
            assert_eq!(page(&conn, Order::Newest, None, 10), [9, 7, 5, 3, 1]);
            assert_eq!(page(&conn, Order::Newest, Some(7), 2), [5, 3]);
            assert_eq!(is_behind(&conn).unwrap(), more || followed == 0);
        }
        upload(&conn, 11);
        assert_eq!(page(&conn, Order::Oldest, Some(7), 10), [9, 10]);
    }

    #[test]
    fn the_last_of_each_channel_follows_and_what_retention_removes_is_gone_everywhere() {
        let conn = store();
        (1..=4).for_each(|number| upload(&conn, number));
        assert!(!follow(&conn, 100).unwrap());
        let app = "climate".parse().unwrap();
        let last = uploads::latest(&conn, &app, None, ("", ""), 10).unwrap();
        let last: Vec<u64> = last.entries.iter().map(|upload| upload.seq).collect();
        assert_eq!(last, [3, 4]);
        uploads::sweep(&conn, None, Some(2), 100).unwrap();
        assert_eq!(page(&conn, Order::Oldest, None, 10), [3]);
        let left: i64 = conn
            .query_row("SELECT count(*) FROM uploads_of_source", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 2);
    }
}
