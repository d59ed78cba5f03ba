use super::*;

fn key(principal: &str, client_id: &str) -> SessionKey {
    SessionKey::new(principal.parse().unwrap(), &client_id.into())
}

fn parked(mailbox: &Arc<Mailbox>) -> Parked {
    Parked {
        session: Session::new(),
        mailbox: Arc::clone(mailbox),
        backlog: Backlog::default(),
        expires: Instant::now() + std::time::Duration::from_secs(3600),
    }
}

async fn connected(sessions: &Sessions, principal: &str, client_id: &str) -> (Held, Arc<Mailbox>) {
    let held = sessions
        .claim(&key(principal, client_id))
        .await
        .expect("nobody else asks");
    let mailbox = Mailbox::for_tests(principal);
    held.occupy(&mailbox);
    (held, mailbox)
}

#[tokio::test]
async fn a_principal_has_its_own_sessions_and_no_others() {
    let sessions = Sessions::default();
    let mut kept = Vec::new();
    for (principal, client_id) in [
        ("usr/ann", "desk"),
        ("usr/ann", "phone"),
        ("usr/anna", "desk"),
        ("app/ann", "desk"),
        ("dev/ann", "any"),
    ] {
        kept.push(connected(&sessions, principal, client_id).await);
    }
    for (principal, count) in [
        ("usr/ann", 2),
        ("usr/anna", 1),
        ("app/ann", 1),
        ("dev/ann", 1),
        ("usr/an", 0),
    ] {
        let principal: Principal = principal.parse().unwrap();
        let found = sessions.mailboxes(&principal);
        assert_eq!(found.len(), count, "{principal}");
        assert!(found.iter().all(|mailbox| *mailbox.owner() == principal));
    }
}

#[tokio::test]
async fn pushes_are_heard_while_one_connected_session_is_subscribed_to_them() {
    let sessions = Sessions::default();
    let ann: Principal = "usr/ann".parse().unwrap();
    let (_desk, desk) = connected(&sessions, "usr/ann", "desk").await;
    let (_phone, phone) = connected(&sessions, "usr/ann", "phone").await;
    desk.subscribed(&"v1/usr/ann/status".into());
    assert!(!sessions.hear_pushes(&ann), "a status is no push");
    for filter in ["v1/usr/ann/down/#", "$share/g/v1/usr/ann/down/+/+/#"] {
        phone.subscribed(&filter.into());
        assert!(sessions.hear_pushes(&ann), "{filter}");
        phone.unsubscribed(filter);
        assert!(!sessions.hear_pushes(&ann), "{filter}");
    }
    desk.subscribed(&"v1/usr/ann/down/#".into());
    desk.disconnect();
    assert!(!sessions.hear_pushes(&ann), "who is away hears nothing");
}

#[tokio::test]
async fn nobody_goes_on_with_a_session_that_was_revoked_while_it_was_left() {
    let sessions = Sessions::default();
    let lamp: Principal = "dev/lamp-1".parse().unwrap();
    let (held, mailbox) = connected(&sessions, "dev/lamp-1", "").await;
    // The connection has ended and settles what it gave; then the order comes.
    mailbox.disconnect();
    assert_eq!(sessions.end_all(&lamp, End::Revoked).len(), 1);
    held.park(parked(&mailbox));
    let mut next = sessions.claim(&key("dev/lamp-1", "")).await.expect("the latest");
    assert!(next.take_parked().is_none());
}

#[tokio::test]
async fn a_session_that_was_left_goes_to_the_next_connection() {
    let sessions = Sessions::default();
    let (held, mailbox) = connected(&sessions, "usr/ann", "desk").await;
    held.park(parked(&mailbox));
    let mut next = sessions.claim(&key("usr/ann", "desk")).await.expect("the latest");
    let left = next.take_parked().expect("what was left");
    assert!(Arc::ptr_eq(&left.mailbox, &mailbox));
}

/// Whoever asks while another takes the session is either seen by it, or finds it: nobody waits for a connection
/// that was never told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_asks_while_another_occupies_ends_it() {
    for _ in 0..500 {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.claim(&key("dev/lamp-1", "")).await.expect("alone");
        let asks = Arc::clone(&sessions);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { asks.claim(&key("dev/lamp-1", "")).await.is_some() });
        let mailbox = Mailbox::for_tests("dev/lamp-1");
        first.occupy(&mailbox);
        // The predecessor goes when it is told to.
        let mut settled = Vec::new();
        while mailbox.take_orders(&mut settled).end.is_none() {
            mailbox.arrived().await;
        }
        first.vacate(&mailbox);
        assert!(tasks.join_next().await.expect("it asked").expect("no panic"));
    }
}
