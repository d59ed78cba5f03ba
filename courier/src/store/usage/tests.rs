use super::*;

const UPLOAD: Parties<'_> = Parties {
    source: "dev/lamp-1",
    hop: "srv/app",
    kind: MessageKind::Upload,
};
const PUSH: Parties<'_> = Parties {
    source: "app/climate",
    hop: "dev/lamp-1",
    kind: MessageKind::Push,
};
const STATUS: Parties<'_> = Parties {
    source: "srv/message",
    hop: "srv/app",
    kind: MessageKind::Status,
};

fn usage() -> Usage {
    let quota = |messages_max, bytes_max| Quota {
        messages_max,
        bytes_max,
    };
    Usage::new(Bounds {
        principal: quota(2, 100),
        application: quota(3, 1_000),
        all: quota(4, 1_000),
    })
}

fn code(result: Result<(), StoreError>) -> u16 {
    result.map_or_else(|error| error.status().code(), |()| 202)
}

#[test]
fn asked_early_it_says_what_it_would_say_and_counts_nothing_in() {
    let mut usage = usage();
    let ask = |usage: &mut Usage| usage.refuses_early(UPLOAD.source, UPLOAD.hop, UPLOAD.kind, 10);
    assert_eq!(code(usage.admit(UPLOAD, 10)), 202);
    assert_eq!(code(usage.admit(UPLOAD, 10)), 202);
    assert_eq!(ask(&mut usage), None, "before the disk was read nothing is known");
    usage.known = true;
    assert_eq!(ask(&mut usage), Some(Status::OVER_QUOTA));
    usage.release(UPLOAD, 1, 10);
    assert_eq!(ask(&mut usage), None);
    let other = Parties {
        source: "app/climate",
        ..UPLOAD
    };
    for _ in 0..3 {
        assert_eq!(code(usage.admit(other, 10)), 202);
    }
    assert_eq!(ask(&mut usage), Some(Status::QUEUE_FULL));
    usage.keep();
    let in_flight = usage.in_flight();
    assert_eq!((in_flight.refused_over_quota, in_flight.refused_full), (1, 1));
    assert_eq!((in_flight.held.messages, in_flight.all.messages_max), (4, 4));
}

#[test]
fn a_sender_is_refused_alone_and_served_again_after_an_end() {
    let mut usage = usage();
    let other = Parties {
        source: "dev/lamp-2",
        ..UPLOAD
    };
    let codes = [UPLOAD, UPLOAD, UPLOAD, other].map(|parties| code(usage.admit(parties, 10)));
    assert_eq!(codes, [202, 202, 429, 202]);
    usage.release(UPLOAD, 1, 10);
    assert_eq!(code(usage.admit(UPLOAD, 90)), 202);
    usage.release(UPLOAD, 1, 10);
    assert_eq!(code(usage.admit(UPLOAD, 11)), 429, "bytes");
    assert_eq!(code(usage.admit(UPLOAD, 10)), 202);
    usage.keep();
    assert_eq!(usage.in_flight().refused_over_quota, 2);
}

#[test]
fn what_waits_for_a_device_and_what_it_sends_are_counted_apart() {
    let mut usage = usage();
    let codes = [PUSH, PUSH, PUSH, UPLOAD, UPLOAD].map(|parties| code(usage.admit(parties, 10)));
    assert_eq!(codes, [202, 202, 429, 202, 202]);
}

#[test]
fn a_full_server_is_507_and_its_own_news_still_passes() {
    let mut usage = usage();
    for n in 0..4 {
        let source = format!("dev/{n}");
        let parties = Parties {
            source: &source,
            ..UPLOAD
        };
        assert_eq!(code(usage.admit(parties, 10)), 202);
    }
    assert_eq!(code(usage.admit(UPLOAD, 10)), 507);
    usage.take(STATUS, 10);
    let held = Held {
        messages: 5,
        bytes: 50,
    };
    assert_eq!(usage.in_flight().held, held);
    assert_eq!(
        usage.in_flight().refused_full,
        0,
        "the transaction may yet run again"
    );
    usage.keep();
    assert_eq!(usage.in_flight().refused_full, 1);
}

#[test]
fn what_is_rolled_back_was_never_counted() {
    let mut usage = usage();
    usage.admit(UPLOAD, 10).unwrap();
    usage.keep();
    let mark = usage.mark();
    usage.admit(PUSH, 20).unwrap();
    usage.release(UPLOAD, 1, 10);
    usage.undo(mark);
    let held = Held {
        messages: 1,
        bytes: 10,
    };
    assert_eq!(usage.in_flight().held, held);
    assert_eq!(usage.held.len(), 1);
    usage.release(UPLOAD, 0, 10);
    usage.release(UPLOAD, 1, 0);
    assert_eq!((usage.in_flight().held, usage.held.len()), (Held::default(), 0));
}

#[test]
fn a_domain_is_owed_the_ends_of_what_it_sends_until_it_takes_them() {
    let mut usage = usage();
    let b = Domain::new("b.example").unwrap();
    let sent = Parties {
        source: "app/x@b.example",
        ..UPLOAD
    };
    let end = Parties {
        hop: "as/b.example",
        ..STATUS
    };
    for _ in 0..3 {
        assert!(!usage.refuses_from(&b, 10));
        assert_eq!(code(usage.admit(sent, 10)), 202);
        usage.release(sent, 1, 10);
        usage.take(end, 10);
    }
    assert!(usage.refuses_from(&b, 10));
    let c = Domain::new("c.example").unwrap();
    assert!(!usage.refuses_from(&c, 10), "another domain");
    assert_eq!(code(usage.admit(UPLOAD, 10)), 202, "nobody here");
    usage.release(end, 0, 10);
    assert!(usage.refuses_from(&b, 10), "it has not told that it is done");
    usage.release(end, 1, 0);
    assert!(!usage.refuses_from(&b, 10));
    usage.keep();
    assert_eq!(usage.in_flight().refused_over_quota, 2);
}

#[test]
fn news_of_a_device_count_neither_for_it_nor_for_who_hears_them() {
    let mut usage = usage();
    let news = Parties {
        hop: "as/b.example",
        kind: MessageKind::Presence,
        ..UPLOAD
    };
    for _ in 0..3 {
        usage.take(news, 1);
    }
    assert_eq!(code(usage.admit(UPLOAD, 10)), 202);
    assert!(!usage.refuses_from(&Domain::new("b.example").unwrap(), 10));
}
