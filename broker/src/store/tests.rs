//! What is stored of sessions is what is read back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use irsp_protocol::{Principal, Timestamp};
use irsp_session::{Delivery, Publish, PublishProperties, QoS, SubscribeFilter, SubscriptionIds, Will};
use proptest::prelude::*;
use rusqlite::Connection;

use super::publish::Moment;
use super::queue::{self, Entry, Waiting};
use super::session::{self, Begun, Left, SessionId, Wanted};
use super::will::{self, WillId};
use super::{MIGRATIONS, retained};
use crate::sessions::SessionKey;
use crate::sessions::kept::Reached;
use crate::sessions::publisher::Publisher;

fn database() -> Connection {
    let sql = Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS {
        sql.execute_batch(migration.sql).unwrap();
    }
    sql
}

fn moment() -> Moment {
    Moment {
        wall: Timestamp::from_millis(1_000_000),
        instant: Instant::now(),
    }
}

fn lamp() -> Principal {
    "dev/lamp".parse().unwrap()
}

fn ann() -> Publisher {
    Publisher::of(&SessionKey::new("usr/ann".parse().unwrap(), &"phone".into()))
}

fn begin(sql: &Connection, id: u64) -> SessionId {
    let begun = Begun {
        id: SessionId(id),
        principal: lamp(),
        client_id: None,
        expiry: Duration::from_secs(60),
        will: None,
    };
    session::begin(sql, &begun, moment()).unwrap();
    begun.id
}

fn publish(payload: &str) -> Publish {
    Publish::new("v1/dev/lamp/live/x", payload.to_owned(), QoS::ExactlyOnce)
}

fn entry(session: SessionId, seq: u64, publish: &Publish) -> Entry {
    let delivery = Delivery {
        publish: Arc::new(publish.clone()),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: SubscriptionIds::None,
        tag: None,
        dup: false,
    };
    Entry {
        session,
        seq,
        delivery,
    }
}

fn put(sql: &Connection, id: u64, publish: &Publish, entries: &[Entry]) {
    queue::put(sql, id, publish, entries, None, moment()).unwrap();
}

fn load(sql: &Connection, session: SessionId) -> Vec<Waiting> {
    queue::load(sql, session, &(0..u64::MAX), |seq| seq, moment()).unwrap()
}

fn stored(sql: &Connection) -> i64 {
    sql.query_row("SELECT count(*) FROM stored_publish", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_message_is_stored_once_and_goes_with_its_last_reader() {
    let sql = database();
    let (one, two) = (begin(&sql, 1), begin(&sql, 2));
    let message = publish("hello");
    put(
        &sql,
        7,
        &message,
        &[entry(one, 1, &message), entry(two, 5, &message)],
    );
    assert_eq!(stored(&sql), 1);
    assert!(queue::remove(&sql, one, 1).unwrap().is_some());
    assert_eq!(queue::remove(&sql, one, 1).unwrap(), None, "once");
    assert_eq!((stored(&sql), load(&sql, two).len()), (1, 1));
    session::end(&sql, two).unwrap();
    assert_eq!(stored(&sql), 0);
}

#[test]
fn a_message_goes_with_its_last_reader_whoever_has_counted_them() {
    let sql = database();
    let [one, two, gone] = [1, 2, 3].map(|id| begin(&sql, id));
    session::end(&sql, gone).unwrap();
    let message = publish("hello");
    let entries = [one, two, gone].map(|session| entry(session, 1, &message));
    put(&sql, 7, &message, &entries);
    // As an older program adds one.
    sql.execute(
        "INSERT INTO queued (session, seq, publish, bytes, qos, retain, subscription_ids)
         SELECT session, 2, publish, bytes, qos, retain, subscription_ids FROM queued WHERE session = 2",
        [],
    )
    .unwrap();
    for (session, seq) in [(one, 1), (two, 1), (two, 2)] {
        assert_eq!(stored(&sql), 1);
        assert!(queue::remove(&sql, session, seq).unwrap().is_some());
    }
    assert_eq!(stored(&sql), 0);
}

#[test]
fn nothing_is_stored_for_a_session_that_is_gone() {
    let sql = database();
    let one = begin(&sql, 1);
    session::end_of(&sql, &lamp()).unwrap();
    let message = publish("late");
    put(&sql, 7, &message, &[entry(one, 1, &message)]);
    queue::take(&sql, one, 9).unwrap();
    let wanted = wanted("v1/dev/lamp/live/#");
    session::subscribe(&sql, one, &wanted).unwrap();
    assert_eq!(stored(&sql), 0);
    assert!(queue::taken(&sql, one).unwrap().is_empty());
    assert!(session::load(&sql, moment().wall).unwrap().is_empty());
}

fn wanted(filter: &str) -> Wanted {
    let filter = SubscribeFilter {
        filter: filter.into(),
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: irsp_session::RetainHandling::DoNotSend,
    };
    Wanted {
        filter,
        subscription_id: Some(4),
    }
}

#[test]
fn a_session_is_found_with_its_subscriptions_and_figures() {
    let sql = database();
    let one = begin(&sql, 3);
    session::subscribe(&sql, one, &wanted("a/#")).unwrap();
    session::subscribe(&sql, one, &wanted("b")).unwrap();
    session::unsubscribe(&sql, one, "a/#").unwrap();
    let message = publish("1234");
    put(&sql, 1, &message, &[entry(one, 8, &message)]);
    let now = moment().wall;
    let left = Left {
        id: one,
        at: now,
        expiry: Duration::from_secs(10),
        sent_below: 8,
    };
    session::leave(&sql, &left).unwrap();
    let start = now.plus(Duration::from_secs(5));
    let [found] = &session::load(&sql, start).unwrap()[..] else {
        panic!("one session")
    };
    assert_eq!(found.ends, now.plus(Duration::from_secs(10)));
    let reached = Reached {
        sent_below: 8,
        at: now,
    };
    assert_eq!((found.id, found.reached), (one, reached));
    assert_eq!((found.queued.messages, found.queued.last), (1, 8));
    assert_eq!(found.queued.bytes, super::publish::weight(&message));
    let [kept] = &found.subscriptions[..] else {
        panic!("one subscription")
    };
    assert_eq!((&*kept.filter.filter, kept.subscription_id), ("b", Some(4)));
    assert!(kept.filter.no_local && kept.filter.retain_as_published);
    assert_eq!(queue::last_ids(&sql).unwrap(), (3, 1));
}

#[test]
fn a_session_that_was_cut_expires_from_the_next_start() {
    let sql = database();
    begin(&sql, 1);
    let start = Timestamp::from_millis(5_000_000);
    session::leave_all(&sql, start).unwrap();
    // and not again from the one after that
    session::leave_all(&sql, start.plus(Duration::from_secs(30))).unwrap();
    let found = session::load(&sql, start).unwrap();
    assert_eq!(found[0].ends, start.plus(Duration::from_secs(60)));
    assert!(
        found[0].reached.sent_below > 1 << 40 && found[0].reached.at == start,
        "everything may have been sent"
    );
}

#[test]
fn expiry_goes_on_counting_while_the_server_is_down() {
    let sql = database();
    let one = begin(&sql, 1);
    let before = moment();
    let mut message = publish("soon over");
    message.expires = Some(before.instant + Duration::from_secs(100));
    queue::put(&sql, 1, &message, &[entry(one, 1, &message)], Some(ann()), before).unwrap();
    let after = Moment {
        wall: before.wall.plus(Duration::from_secs(60)),
        instant: before.instant,
    };
    let loaded = queue::load(&sql, one, &(0..9), |seq| seq, after).unwrap();
    let expires = loaded[0].delivery.publish.expires.unwrap();
    assert_eq!(expires - after.instant, Duration::from_secs(40));
    let over = Moment {
        wall: before.wall.plus(Duration::from_secs(101)),
        ..after
    };
    retained::sweep(&sql, over).unwrap();
    let mut left = Vec::new();
    retained::load(&sql, before, |publish, _| left.push(publish)).unwrap();
    assert_eq!(left, []);
    assert_eq!(stored(&sql), 1, "the session still has it");
}

#[test]
fn a_topic_retains_its_last_message_until_an_empty_one() {
    let sql = database();
    let retain =
        |id, payload: &str| queue::put(&sql, id, &publish(payload), &[], Some(ann()), moment()).unwrap();
    let left = || {
        let mut left = Vec::new();
        let each = |publish: Publish, publisher| {
            assert_eq!(publisher, Some(ann()));
            left.push(publish.payload);
        };
        retained::load(&sql, moment(), each).unwrap();
        left
    };
    retain(1, "one");
    retain(2, "two");
    assert_eq!((left(), stored(&sql)), (vec![Bytes::from("two")], 1));
    retained::forget_of(&sql, &"dev/lam".parse().unwrap()).unwrap();
    assert_eq!(left().len(), 1, "another's");
    retain(3, "");
    assert_eq!((left().len(), stored(&sql)), (0, 0));
    retain(4, "three");
    retained::forget_of(&sql, &lamp()).unwrap();
    assert_eq!((left().len(), stored(&sql)), (0, 0));
}

#[test]
fn a_will_outlives_its_session_until_it_is_done_or_replaced() {
    let sql = database();
    let mut begun = Begun {
        id: SessionId(1),
        principal: lamp(),
        client_id: None,
        expiry: Duration::from_secs(60),
        will: None,
    };
    let mut begin = |id: Option<u64>| {
        begun.will = id.map(|id| {
            let will = Will {
                publish: publish(&id.to_string()),
                delay: Duration::from_secs(id),
                expiry: Some(Duration::from_secs(9)),
            };
            (WillId(id), will)
        });
        session::begin(&sql, &begun, moment()).unwrap();
    };
    begin(Some(3));
    begin(Some(4));
    let due = moment().wall.plus(Duration::from_secs(5));
    will::due(&sql, WillId(4), due).unwrap();
    session::end(&sql, SessionId(1)).unwrap();
    let left = will::load(&sql, moment()).unwrap();
    assert_eq!((left.len(), left[0].id, left[0].due), (1, WillId(4), Some(due)));
    assert_eq!(left[0].will.publish.payload, "4");
    assert_eq!(left[0].will.delay, Duration::from_secs(4));
    assert_eq!(left[0].will.expiry, Some(Duration::from_secs(9)));
    begin(None);
    assert_eq!((will::load(&sql, moment()).unwrap().len(), stored(&sql)), (0, 0));
    begin(Some(5));
    will::done(&sql, WillId(5)).unwrap();
    begin(Some(6));
    session::end_of(&sql, &lamp()).unwrap();
    assert_eq!((will::load(&sql, moment()).unwrap().len(), stored(&sql)), (0, 0));
}

prop_compose! {
    fn any_publish()(
        topic in "[a-z/]{1,20}",
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        qos in 1u8..=2,
        retain in any::<bool>(),
        expires in proptest::option::of(1u64..10_000),
        properties in proptest::option::of((
            proptest::option::of(any::<bool>()),
            proptest::option::of(".{0,8}"),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8)),
            proptest::collection::vec((".{0,4}", ".{0,4}"), 0..3),
        )),
    ) -> (Publish, Option<u64>) {
        let mut publish = Publish::new(topic, payload, QoS::from_u8(qos).unwrap());
        publish.retain = retain;
        publish.properties = properties.map(|(payload_utf8, content_type, data, user)| {
            let user = user.into_iter().map(|(name, value)| (name.into(), value.into()));
            Box::new(PublishProperties {
                payload_utf8,
                content_type: content_type.map(Into::into),
                response_topic: Some("a/b".into()),
                correlation_data: data.map(Bytes::from),
                user_properties: user.collect(),
            })
        });
        (publish, expires)
    }
}

/// What happens to one session's queue.
#[derive(Clone, Debug)]
enum Step {
    Put(Box<(Publish, Option<u64>)>, Vec<u32>),
    Remove(usize),
    Received(usize),
    Take(u16),
    Complete(u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    let ids = proptest::collection::vec(1u32..100, 0..3);
    prop_oneof![
        4 => (any_publish(), ids).prop_map(|(publish, ids)| Step::Put(Box::new(publish), ids)),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => any::<usize>().prop_map(Step::Received),
        1 => (1u16..5).prop_map(Step::Take),
        1 => (1u16..5).prop_map(Step::Complete),
    ]
}

proptest! {
    /// The model is the session as it would be in memory; the disk gives the same after any steps.
    #[test]
    fn what_is_read_is_what_the_session_was(steps in proptest::collection::vec(any_step(), 0..24)) {
        let sql = database();
        let at = moment();
        let one = begin(&sql, 1);
        let mut model: Vec<(u64, bool, Delivery)> = Vec::new();
        let mut taken = std::collections::BTreeSet::new();
        let mut last = 0;
        for step in steps {
            match step {
                Step::Put(publish, ids) => {
                    let (mut publish, expires) = *publish;
                    publish.expires = expires.map(|seconds| at.instant + Duration::from_secs(seconds));
                    last += 1;
                    let mut entry = entry(one, last, &publish);
                    entry.delivery.qos = publish.qos;
                    ids.into_iter().for_each(|id| entry.delivery.subscription_ids.push(id));
                    queue::put(&sql, last, &publish, std::slice::from_ref(&entry), None, at).unwrap();
                    entry.delivery.tag = Some(last);
                    model.push((last, false, entry.delivery));
                }
                Step::Remove(n) if !model.is_empty() => {
                    let (seq, ..) = model.remove(n % model.len());
                    prop_assert!(queue::remove(&sql, one, seq).unwrap().is_some());
                }
                Step::Received(n) if !model.is_empty() => {
                    let n = n % model.len();
                    model[n].1 = true;
                    queue::received(&sql, one, model[n].0).unwrap();
                }
                Step::Take(id) => {
                    taken.insert(id);
                    queue::take(&sql, one, id).unwrap();
                }
                Step::Complete(id) => {
                    taken.remove(&id);
                    queue::complete(&sql, one, id).unwrap();
                }
                Step::Remove(_) | Step::Received(_) => {}
            }
        }
        let read = queue::load(&sql, one, &(0..u64::MAX), |seq| seq, at).unwrap();
        prop_assert_eq!(read.len(), model.len());
        for (read, (seq, received, delivery)) in read.iter().zip(&model) {
            prop_assert_eq!((read.seq, read.received), (*seq, *received));
            prop_assert_eq!(&read.delivery.publish, &delivery.publish);
            prop_assert_eq!(
                (read.delivery.qos, read.delivery.retain, read.delivery.tag),
                (delivery.qos, delivery.retain, delivery.tag)
            );
            prop_assert_eq!(&read.delivery.subscription_ids, &delivery.subscription_ids);
        }
        prop_assert_eq!(queue::taken(&sql, one).unwrap(), taken.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(usize::try_from(stored(&sql)).unwrap(), model.len());
    }
}
