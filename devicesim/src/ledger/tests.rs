use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Ten uploads of two devices: even numbers are `a`'s, odd ones `b`'s.
fn two_lanes() -> [Lane; 2] {
    let schedule = Schedule::new(1, 10.0, Duration::from_secs(1), 2);
    [Lane::new(id("a"), &schedule, 0), Lane::new(id("b"), &schedule, 1)]
}

/// Everything sent, acknowledged after 1 ms and reported done after 2 ms.
fn clean_run() -> [Lane; 2] {
    let mut lanes = two_lanes();
    for n in 0..10 {
        let lane = &mut lanes[(n % 2) as usize];
        assert_eq!(lane.sent(n), Told::First);
        assert_eq!(lane.acknowledged(n, MS), Told::First);
        assert_eq!(lane.status_for(None, 200), Some(n));
        lane.ended(n, 2 * MS);
    }
    lanes
}

fn shelf(numbers: impl IntoIterator<Item = u64>) -> Shelf {
    let mut shelf = Shelf::default();
    for n in numbers {
        shelf.put(n);
    }
    shelf
}

fn faults(store: &StoreAccount) -> Vec<(Fault, u64)> {
    store.findings.iter().map(|f| (f.fault, f.n)).collect()
}

#[test]
fn a_clean_run_has_no_finding() {
    let account = settle(&clean_run(), Some(&shelf(0..10)), Repeats::Forbidden).unwrap();
    assert_eq!((account.sent, account.resent, account.acknowledged), (10, 0, 10));
    assert_eq!(
        (
            account.unanswered,
            account.without_status,
            account.surplus_statuses
        ),
        (0, 0, 0)
    );
    assert_eq!(account.statuses, BTreeMap::from([(200, 10)]));
    assert_eq!(
        (account.to_acknowledged.max(), account.to_status.max()),
        (1000, 2000)
    );
    let store = account.store.unwrap();
    assert_eq!(
        store,
        StoreAccount {
            stored: 10,
            ..StoreAccount::default()
        }
    );
}

/// Latencies from microseconds to an hour come out as they went in, so that a slow platform looks slow.
#[test]
fn a_latency_is_reported_as_long_as_it_was() {
    for us in [1, 2_047, 2_048, 12_003, 1_000_000, 30_000_000, 3_600_000_000] {
        let mut lanes = two_lanes();
        for n in [0, 2, 4] {
            lanes[0].sent(n);
            lanes[0].acknowledged(n, Duration::from_micros(us));
            assert_eq!(lanes[0].status_for(None, 200), Some(n));
            lanes[0].ended(n, Duration::from_micros(us));
        }
        let account = settle(&lanes, None, Repeats::Allowed).unwrap();
        for histogram in [&account.to_acknowledged, &account.to_status] {
            for value in [histogram.min(), histogram.value_at_quantile(0.5), histogram.max()] {
                assert!(value.abs_diff(us) <= us / 1000, "{us} us became {value} us");
            }
        }
    }
}

#[test]
fn a_latency_beyond_the_range_stays_the_longest() {
    let mut lanes = two_lanes();
    lanes[0].sent(0);
    lanes[0].acknowledged(0, Duration::from_secs(86_400));
    let account = settle(&lanes, None, Repeats::Allowed).unwrap();
    assert!(account.to_acknowledged.value_at_quantile(0.5) >= u64::from(LATENCY_US_MAX) / 1001 * 1000);
}

#[test]
fn a_store_that_loses_repeats_and_invents_is_found_out_by_name() {
    let stored = [0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 17, 1 << 40];
    let account = settle(&clean_run(), Some(&shelf(stored)), Repeats::Allowed).unwrap();
    let store = account.store.unwrap();
    assert_eq!((store.lost, store.duplicated, store.invented), (1, 1, 2));
    let found = faults(&store);
    for fault in [(Fault::Lost, 3), (Fault::Duplicated, 4), (Fault::Invented, 17)] {
        assert!(found.contains(&fault), "{found:?}");
    }
    assert_eq!(store.findings[1].device.as_deref(), Some("dev/b"));
}

#[test]
fn what_was_not_acknowledged_is_not_lost() {
    let mut lanes = two_lanes();
    lanes[0].sent(0);
    lanes[1].sent(1);
    lanes[1].refused(1);
    let account = settle(&lanes, Some(&shelf([])), Repeats::Allowed).unwrap();
    assert_eq!((account.unanswered, account.refused), (1, 1));
    let store = account.store.unwrap();
    assert_eq!((store.lost, store.unacknowledged_and_not_stored), (0, 2));
}

#[test]
fn a_repeat_by_the_sender_is_excused_only_where_the_platform_cannot_know_it() {
    for (sends, repeats, findings) in [
        (2, Repeats::Allowed, 0),
        (2, Repeats::Forbidden, 1),
        (1, Repeats::Allowed, 1),
    ] {
        let mut lanes = two_lanes();
        for _ in 0..sends {
            lanes[0].sent(4);
        }
        lanes[0].acknowledged(4, MS);
        let account = settle(&lanes, Some(&shelf([4, 4])), repeats).unwrap();
        assert_eq!(account.resent, sends - 1);
        let store = account.store.unwrap();
        assert_eq!(
            (store.duplicated, store.findings.len()),
            (1, findings),
            "{sends} {repeats:?}"
        );
    }
}

#[test]
fn a_status_ends_the_upload_it_names_or_else_the_oldest() {
    let mut lanes = two_lanes();
    let lane = &mut lanes[0];
    for n in [0, 2, 4] {
        lane.sent(n);
    }
    assert_eq!(lane.status_for(Some(2), 200), Some(2));
    lane.ended(2, MS);
    assert_eq!(
        lane.status_for(Some(2), 200),
        None,
        "a second status of the same upload"
    );
    assert_eq!(lane.status_for(Some(3), 200), None, "another device's upload");
    assert_eq!(lane.status_for(None, 404), Some(0));
    lane.ended(0, MS);
    assert_eq!(lane.status_for(None, 200), Some(4), "2 has its status already");
    lane.ended(4, MS);
    assert_eq!(lane.status_for(None, 200), None);
    let account = settle(&lanes, None, Repeats::Allowed).unwrap();
    assert_eq!(account.surplus_statuses, 3);
    assert_eq!(account.statuses, BTreeMap::from([(200, 5), (404, 1)]));
    assert!(account.store.is_none());
}

#[test]
fn numbers_that_are_not_the_lanes_own_change_nothing() {
    let mut lanes = two_lanes();
    for n in [1, 10, 11, u64::MAX] {
        assert_eq!(lanes[0].sent(n), Told::Again);
        assert_eq!(lanes[0].acknowledged(n, MS), Told::Again);
    }
    assert_eq!(settle(&lanes, None, Repeats::Allowed).unwrap().sent, 0);
}

#[test]
fn many_findings_are_counted_in_full_and_named_in_part() {
    let schedule = Schedule::new(1, 1000.0, Duration::from_secs(1), 1);
    let mut lane = Lane::new(id("a"), &schedule, 0);
    for n in 0..1000 {
        lane.sent(n);
        lane.acknowledged(n, MS);
    }
    let account = settle(&[lane], Some(&shelf([])), Repeats::Allowed).unwrap();
    let store = account.store.unwrap();
    assert_eq!((store.lost, store.findings.len()), (1000, FINDINGS_MAX));
}

proptest! {
    /// Whatever happens to each upload, every sent one is in exactly one class, and the faults are those injected.
    #[test]
    fn every_upload_is_accounted_for(fates in proptest::collection::vec((0u16..3, 0u8..3, 0u16..4), 1..200)) {
        let schedule = Schedule::new(3, fates.len() as f64, Duration::from_secs(1), 7);
        let mut lanes: Vec<Lane> = (0..7).map(|p| Lane::new(id("d"), &schedule, p)).collect();
        let mut shelf = Shelf::default();
        let (mut lost, mut duplicated, mut invented) = (0, 0, 0);
        for (n, (sends, answer, stored)) in fates.iter().enumerate() {
            let lane = &mut lanes[n % 7];
            for _ in 0..*sends {
                lane.sent(n as u64);
            }
            if *sends > 0 {
                match answer {
                    0 => {}
                    1 => { lane.acknowledged(n as u64, MS); }
                    _ => { lane.refused(n as u64); }
                }
            }
            for _ in 0..*stored {
                shelf.put(n as u64);
            }
            lost += u64::from(*sends > 0 && *answer == 1 && *stored == 0);
            duplicated += u64::from(*sends > 0 && *stored > 1);
            invented += u64::from(*sends == 0 && *stored > 0);
        }
        let account = settle(&lanes, Some(&shelf), Repeats::Allowed).unwrap();
        prop_assert_eq!(account.sent, account.acknowledged + account.refused + account.unanswered);
        prop_assert_eq!(account.acknowledged, account.to_acknowledged.len());
        let store = account.store.unwrap();
        prop_assert_eq!((store.lost, store.duplicated, store.invented), (lost, duplicated, invented));
    }
}
