use super::*;

const PUBLISH_RATE_MAX: u32 = 5;

fn admission(connections_max: usize, per_address_max: usize, rate_max: u32) -> Arc<Admission> {
    Arc::new(Admission {
        connections_max,
        per_address_max,
        per_principal_max: 2,
        rate_max,
        publish_rate_max: PUBLISH_RATE_MAX,
        counts: Mutex::default(),
        guessing: Mutex::new(Guessing::new(Patience {
            free: 5,
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(2),
        })),
    })
}

fn peer(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 40_000)
}

#[test]
fn a_place_that_is_left_is_free() {
    let (admission, now) = (admission(2, 9, 1_000), Instant::now());
    let first = admission.admit(peer("10.0.0.1"), now).unwrap();
    let _second = admission.admit(peer("10.0.0.2"), now).unwrap();
    assert_eq!(
        admission.admit(peer("10.0.0.3"), now).unwrap_err(),
        TurnedAway::Full
    );
    drop(first);
    admission.admit(peer("10.0.0.3"), now).unwrap();
}

#[test]
fn one_address_does_not_take_the_place_of_another() {
    let (admission, now) = (admission(9, 2, 1_000), Instant::now());
    let _places = [1, 2].map(|_| admission.admit(peer("2001:db8::1"), now).unwrap());
    // The same network, another address of it.
    assert_eq!(
        admission.admit(peer("2001:db8::2"), now).unwrap_err(),
        TurnedAway::Address
    );
    admission.admit(peer("2001:db8:0:1::1"), now).unwrap();
    admission.admit(peer("10.0.0.1"), now).unwrap();
}

#[test]
fn an_address_comes_a_seconds_worth_at_once_and_then_at_its_rate() {
    let (admission, start) = (admission(9, 9, 4), Instant::now());
    for _ in 0..4 {
        admission.admit(peer("10.0.0.1"), start).unwrap();
    }
    assert_eq!(
        admission.admit(peer("10.0.0.1"), start).unwrap_err(),
        TurnedAway::Rate
    );
    admission.admit(peer("10.0.0.2"), start).unwrap();
    let later = start + Duration::from_millis(250);
    admission.admit(peer("10.0.0.1"), later).unwrap();
    assert_eq!(
        admission.admit(peer("10.0.0.1"), later).unwrap_err(),
        TurnedAway::Rate
    );
}

#[test]
fn addresses_that_are_gone_are_forgotten() {
    let (admission, start) = (admission(9, 9, 4), Instant::now());
    for n in 0..200 {
        drop(admission.admit(peer(&format!("10.0.0.{n}")), start).unwrap());
    }
    let later = start + Duration::from_secs(2);
    let _place = admission.admit(peer("10.0.1.1"), later).unwrap();
    assert_eq!(admission.counts().addresses.len(), 1);
}

#[test]
fn a_principal_has_so_many_connections() {
    let (admission, now) = (admission(9, 9, 9), Instant::now());
    let [ann, bob] = ["usr/ann", "usr/bob"].map(|name| name.parse::<Principal>().unwrap());
    let first = admission.admit_principal(&ann, now).unwrap();
    let _second = admission.admit_principal(&ann, now).unwrap();
    assert_eq!(
        admission.admit_principal(&ann, now).unwrap_err(),
        TurnedAway::Principal
    );
    drop(admission.admit_principal(&bob, now).unwrap());
    drop(first);
    drop(admission.admit_principal(&ann, now).unwrap());
    assert_eq!(admission.counts().principals.len(), 1);
}

#[test]
fn a_principals_connections_share_its_publishes_and_a_new_one_has_no_more() {
    let (admission, now) = (admission(9, 9, 9), Instant::now());
    let ann: Principal = "usr/ann".parse().unwrap();
    let first = admission.admit_principal(&ann, now).unwrap();
    let second = admission.admit_principal(&ann, now).unwrap();
    let ahead = now + Duration::from_secs(3_600);
    assert!((0..PUBLISH_RATE_MAX).all(|_| first.publishes().take(ahead).is_none()));
    assert!(second.publishes().take(ahead).is_some());
    drop((first, second));
    let third = admission.admit_principal(&ann, now).unwrap();
    assert!(third.publishes().take(ahead).is_some());
}
