use irsp_protocol::Status;
use irsp_protocol::change::{Cause, DirectoryPage, TokenKey};

use super::*;
use crate::follow::Step;
use crate::sample::{self, binding, delete, device, id, principal, put, user, who};

fn disk() -> Connection {
    let disk = Connection::open_in_memory().unwrap();
    disk.execute_batch(MIGRATION).unwrap();
    disk
}

fn loaded(disk: &Connection) -> Directory {
    let directory = Directory::new(sample::key());
    load(disk, &directory).unwrap();
    directory
}

fn batch(changes: &[Change]) -> ChangeBatch {
    ChangeBatch {
        changes: changes.to_vec(),
    }
}

#[test]
fn a_restart_finds_everything_again_and_what_is_gone_stays_gone() {
    let disk = disk();
    let key = TokenKey {
        id: "k/1".into(),
        public: "AAAA".into(),
    };
    let changes = [
        put(1, Cause::Register, device("lamp-1")),
        put(2, Cause::Register, device("lamp-2")),
        put(3, Cause::Register, user("ann")),
        put(4, Cause::Register, binding("lamp-1", "ann")),
        put(5, Cause::Register, Entity::TokenKey(key)),
        delete(6, principal("dev/lamp-2")),
    ];
    assert_eq!(take(&disk, &batch(&changes)).unwrap(), Verdict::Apply { skip: 0 });
    let kept = ["dev/lamp-1", "dev/lamp-2", "dev/lamp-3"].map(|it| has(&disk, &principal(it)).unwrap());
    assert_eq!(kept, [true, false, false]);
    let directory = loaded(&disk);
    assert_eq!(directory.applied(), 6);
    assert_eq!(directory.check(&who("dev/lamp-1")), Ok(()));
    assert_eq!(directory.check(&who("dev/lamp-2")), Err(Status::DELETED));
    assert!(directory.is_bound(&id("lamp-1"), &id("ann")));
    assert!(directory.token_key("k/1").is_some());
}

#[test]
fn a_repeated_or_early_batch_changes_nothing_on_disk() {
    let disk = disk();
    let register = put(1, Cause::Register, device("lamp-1"));
    take(
        &disk,
        &batch(&[register.clone(), delete(2, principal("dev/lamp-1"))]),
    )
    .unwrap();
    assert_eq!(take(&disk, &batch(&[register])).unwrap(), Verdict::Duplicate);
    let early = batch(&[put(4, Cause::Register, device("lamp-4"))]);
    assert_eq!(take(&disk, &early).unwrap(), Verdict::Gap);
    assert_eq!(take(&disk, &batch(&[])).unwrap(), Verdict::Malformed);
    let directory = loaded(&disk);
    assert_eq!(directory.applied(), 2);
    assert_eq!(directory.device(&id("lamp-1")), None);
    assert_eq!(directory.device(&id("lamp-4")), None);
}

#[test]
fn a_change_rolled_back_is_taken_when_it_comes_again() {
    let mut disk = disk();
    let change = batch(&[put(1, Cause::Register, device("lamp-1"))]);
    let transaction = disk.transaction().unwrap();
    take(&transaction, &change).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(applied(&disk).unwrap(), 0);
    assert_eq!(take(&disk, &change).unwrap(), Verdict::Apply { skip: 0 });
}

#[test]
fn a_sweep_names_what_it_removed() {
    let disk = disk();
    let known = [
        put(1, Cause::Register, device("lamp-1")),
        put(2, Cause::Register, device("lamp-2")),
        delete(3, principal("dev/lamp-3")),
    ];
    take(&disk, &batch(&known)).unwrap();
    let page = DirectoryPage {
        at: 9,
        entities: vec![(1, device("lamp-1"))],
        next: None,
    };
    let Step::Last { entities, sweep: end } = Follower::new(3).page(page) else {
        panic!("it was the last page");
    };
    merge(&disk, &entities).unwrap();
    assert_eq!(sweep(&disk, &end).unwrap(), [principal("dev/lamp-2")]);
    assert_eq!(applied(&disk).unwrap(), 9);
    assert_eq!(loaded(&disk).check(&who("dev/lamp-2")), Err(Status::DELETED));
}

#[test]
fn damaged_rows_are_errors_not_panics() {
    for row in [
        "('dev/lamp-1', 1, '{not json')",
        "('dev/lamp-1', -1, NULL)",
        "('nonsense', 1, NULL)",
        "('bind/lamp-1', 1, NULL)",
        "('dev/', 1, NULL)",
    ] {
        let disk = disk();
        disk.execute_batch(&format!("INSERT INTO directory VALUES {row}"))
            .unwrap();
        assert!(load(&disk, &Directory::new(sample::key())).is_err(), "{row}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_refused() {
    let disk = disk();
    assert!(put_change(&disk, u64::MAX).is_err());
    assert_eq!(applied(&disk).unwrap(), 0);
}

fn put_change(disk: &Connection, n: u64) -> Result<()> {
    super::put(disk, &put(n, Cause::Register, device("lamp-1")))
}
