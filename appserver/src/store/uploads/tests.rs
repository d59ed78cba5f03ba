use bytes::Bytes;
use irsp_protocol::PushOptions;

use super::*;
use crate::store::MIGRATIONS;

/// Ten uploads of `climate`, numbered 1 to 10 and stored at as many ms, of ten bytes each; every one followed by one of
/// another application.
fn store() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS {
        conn.execute_batch(migration.sql).unwrap();
    }
    for number in 1..=10_u8 {
        for app in ["climate", "other"] {
            let envelope = Envelope {
                id: MessageId::from_bytes([number + if app == "other" { 100 } else { 0 }; 16]),
                kind: MessageKind::Upload,
                source: "dev/lamp-1".parse().unwrap(),
                destination: format!("app/{app}").parse().unwrap(),
                channel: None,
                time: Timestamp::from_millis(0),
                expires: Timestamp::from_millis(0),
                sender_id: None,
                content_type: None,
                options: PushOptions::default(),
                attributes: Vec::new(),
                data: Bytes::from_static(b"0123456789"),
            };
            let stored = Timestamp::from_millis(number.into());
            insert(&conn, &id(app), &envelope.source.clone(), &envelope, stored).unwrap();
        }
    }
    conn
}

fn id(app: &str) -> Id {
    Id::new(app).unwrap()
}

fn count(conn: &Connection, app: &str) -> i64 {
    conn.query_row("SELECT count(*) FROM uploads WHERE app = ?1", [app], |row| {
        row.get(0)
    })
    .unwrap()
}

/// How many of ten are left.
fn left(before: Option<i64>, bytes: Option<u64>) -> i64 {
    let conn = store();
    let app = id("climate");
    if let Some(upto) = beyond(&conn, &app, before.map(Timestamp::from_millis), bytes).unwrap() {
        while remove(&conn, &app, upto, 3).unwrap() > 0 {}
    }
    assert_eq!(count(&conn, "other"), 10, "another application's are its own");
    count(&conn, "climate")
}

#[test]
fn an_application_keeps_what_its_retention_says() {
    assert_eq!(left(None, None), 10);
    assert_eq!(left(Some(1), None), 10);
    assert_eq!(left(Some(5), None), 6);
    assert_eq!(left(Some(100), None), 0);
    assert_eq!(left(None, Some(100)), 10);
    assert_eq!(left(None, Some(99)), 9);
    assert_eq!(left(None, Some(35)), 3);
    assert_eq!(left(None, Some(0)), 0);
    assert_eq!(left(Some(9), Some(50)), 2, "the narrower of the two");
    assert_eq!(left(Some(2), Some(50)), 5);
}
