use irsp_protocol::Timestamp;
use irsp_protocol::change::Role;
use irsp_protocol::credential::{Code, EndedLogin, Fingerprint, LoginId};

use super::*;
use crate::consequence::Credential;
use crate::sample::{
    self, Household, application_of, binding, delete, device, device_of, id, peer_of, principal, put, share,
    user, user_of, who,
};

fn ends(who_is: &str, cause: Cause) -> Consequence {
    Consequence::EndSessions {
        principal: who(who_is),
        cause,
    }
}

fn logins_end<const N: usize>(who_is: &str, lost: [Credential; N]) -> Consequence {
    Consequence::EndLogins {
        principal: who(who_is),
        lost: lost.into(),
    }
}

fn queue_ends(who_is: &str) -> Consequence {
    Consequence::EndQueue {
        principal: who(who_is),
        status: Status::DELETED,
    }
}

#[test]
fn a_deleted_device_loses_its_sessions_and_its_queue_at_once() {
    let mut house = Household::new();
    assert_eq!(
        house.delete(principal("dev/lamp-1")),
        [ends("dev/lamp-1", Cause::Delete), queue_ends("dev/lamp-1")]
    );
    assert_eq!(house.directory.device(&id("lamp-1")), None);
    assert_eq!(house.directory.check(&who("dev/lamp-1")), Err(Status::DELETED));
    assert_eq!(
        house.directory.check(&who("dev/never-was")),
        Err(Status::NOT_FOUND)
    );
}

#[test]
fn a_reset_device_loses_its_sessions() {
    let mut house = Household::new();
    let reset = Device {
        codes: vec![Code::lasting(sample::key().hash(b"new code"))],
        generation: 2,
        ..device_of("lamp-1")
    };
    assert_eq!(
        house.put(Cause::Reset, Entity::Device(reset)),
        [ends("dev/lamp-1", Cause::Reset)]
    );
}

#[test]
fn disabling_ends_sessions_and_enabling_ends_none() {
    let mut house = Household::new();
    let disabled = || User {
        disabled: true,
        ..user_of("ann")
    };
    assert_eq!(
        house.put(Cause::Modify, Entity::User(disabled())),
        [ends("usr/ann", Cause::Modify)]
    );
    assert_eq!(house.directory.check(&who("usr/ann")), Err(Status::FORBIDDEN));
    assert_eq!(house.put(Cause::Modify, Entity::User(disabled())), []);
    assert_eq!(house.put(Cause::Modify, user("ann")), []);
    assert_eq!(house.directory.check(&who("usr/ann")), Ok(()));
}

#[test]
fn a_second_key_ends_nothing_and_a_revoked_one_ends_sessions() {
    let mut house = Household::new();
    let two_keys = || {
        let mut app = application_of("climate");
        app.keys.push(sample::key().hash(b"second key"));
        app
    };
    assert_eq!(house.put(Cause::Modify, Entity::Application(two_keys())), []);
    let mut second_only = two_keys();
    let first = second_only.keys.remove(0);
    assert_eq!(
        house.put(Cause::Modify, Entity::Application(second_only)),
        [logins_end("app/climate", [Credential::Secret(first)])]
    );
}

#[test]
fn a_certificate_or_code_that_goes_ends_what_was_opened_with_it() {
    let mut house = Household::new();
    let fingerprint = Fingerprint([1; 32]);
    let both = || Device {
        certificates: vec![Certificate::Exact { fingerprint }],
        ..device_of("lamp-1")
    };
    assert_eq!(house.put(Cause::Modify, Entity::Device(both())), []);
    let no_code = Device {
        codes: Vec::new(),
        ..both()
    };
    let code = Credential::Secret(both().codes[0].hash);
    assert_eq!(
        house.put(Cause::Modify, Entity::Device(no_code.clone())),
        [logins_end("dev/lamp-1", [code])]
    );
    let nothing = Device {
        certificates: Vec::new(),
        ..no_code
    };
    assert_eq!(
        house.put(Cause::Modify, Entity::Device(nothing)),
        [logins_end(
            "dev/lamp-1",
            [Credential::Certificate(Certificate::Exact { fingerprint })]
        )]
    );
}

#[test]
fn a_login_that_is_ended_ends_its_sessions_once() {
    let mut house = Household::new();
    let ended = |login| EndedLogin {
        login: LoginId(login),
        until: sample::NOON,
    };
    let with = |ended_logins| {
        Entity::User(User {
            ended_logins,
            ..user_of("ann")
        })
    };
    let ends = |login| logins_end("usr/ann", [Credential::Login(Some(LoginId(login)))]);
    assert_eq!(house.put(Cause::Modify, with(vec![ended(1)])), [ends(1)]);
    assert_eq!(
        house.put(Cause::Modify, with(vec![ended(1), ended(2)])),
        [ends(2)]
    );
    assert_eq!(
        house.put(Cause::Modify, with(vec![])),
        [],
        "nobody needs to remember it"
    );
}

#[test]
fn a_share_gives_what_it_names_and_loses_what_is_taken() {
    let mut house = Household::new();
    let has = |house: &Household| {
        Right::ALL.map(|right| house.directory.has_right(&id("lamp-1"), &id("bob"), right))
    };
    let lost = Consequence::RightsLost {
        device: id("lamp-1"),
        user: id("bob"),
    };
    let narrow = share("lamp-1", "bob", [Right::Presence]);
    assert_eq!(house.put(Cause::Register, narrow.clone()), []);
    assert_eq!(has(&house), [true, false, false]);
    let wide = share("lamp-1", "bob", [Right::Presence, Right::Push]);
    assert_eq!(house.put(Cause::Modify, wide), []);
    assert_eq!(has(&house), [true, false, true]);
    assert_eq!(house.put(Cause::Modify, narrow), std::slice::from_ref(&lost));
    assert_eq!(has(&house), [true, false, false]);
    assert_eq!(
        house.directory.devices_with_right(&id("bob"), Right::Presence),
        [id("lamp-1")]
    );
    assert_eq!(house.directory.devices_with_right(&id("bob"), Right::Receive), []);
    let key = share("lamp-1", "bob", []).key();
    assert_eq!(house.delete(key), [lost]);
    assert_eq!(has(&house), [false; 3]);
}

#[test]
fn refusing_older_tokens_or_changing_the_role_ends_a_users_sessions() {
    let mut house = Household::new();
    let later = sample::NOON.plus(std::time::Duration::from_secs(1));
    let logged_out = User {
        tokens_from: later,
        ..user_of("ann")
    };
    assert_eq!(
        house.put(Cause::Reset, Entity::User(logged_out.clone())),
        [ends("usr/ann", Cause::Reset)]
    );
    let operator = User {
        role: Role::Operator,
        ..logged_out
    };
    assert_eq!(
        house.put(Cause::Modify, Entity::User(operator)),
        [ends("usr/ann", Cause::Modify)]
    );
}

#[test]
fn an_unchanged_principal_has_no_consequences() {
    let mut house = Household::new();
    for entity in [device("lamp-1"), user("ann"), sample::application("climate")] {
        assert_eq!(house.put(Cause::Modify, entity), []);
    }
}

#[test]
fn a_binding_works_both_ways_until_it_is_removed() {
    let mut house = Household::new();
    house.put(Cause::Register, binding("lamp-2", "ann"));
    house.put(Cause::Register, binding("lamp-1", "bob"));
    assert_eq!(
        house.directory.bindings_of_user(&id("ann")),
        [id("lamp-1"), id("lamp-2")]
    );
    assert_eq!(
        house.directory.users_of_device(&id("lamp-1")),
        [id("ann"), id("bob")]
    );

    let key = binding("lamp-1", "ann").key();
    assert_eq!(
        house.delete(key.clone()),
        [Consequence::RightsLost {
            device: id("lamp-1"),
            user: id("ann")
        }]
    );
    assert!(!house.directory.is_bound(&id("lamp-1"), &id("ann")));
    assert!(house.directory.is_bound(&id("lamp-1"), &id("bob")));
    assert_eq!(house.directory.bindings_of_user(&id("ann")), [id("lamp-2")]);
    assert_eq!(house.delete(key), [], "it was gone already");
}

#[test]
fn an_old_or_repeated_change_does_nothing() {
    let directory = Directory::new(sample::key());
    let register = put(1, Cause::Register, device("lamp-1"));
    let gone = delete(2, principal("dev/lamp-1"));
    assert_eq!(directory.apply(&register), []);
    assert_eq!(directory.apply(&gone).len(), 2);
    assert_eq!(directory.apply(&gone), []);
    assert_eq!(
        directory.apply(&register),
        [],
        "the deleted device does not come back"
    );
    assert_eq!(directory.device(&id("lamp-1")), None);
    assert_eq!(directory.applied(), 2);
}

#[test]
fn a_device_registered_again_is_a_new_one() {
    let mut house = Household::new();
    house.delete(principal("dev/lamp-1"));
    assert_eq!(house.put(Cause::Register, device("lamp-1")), []);
    assert_eq!(house.directory.check(&who("dev/lamp-1")), Ok(()));
}

#[test]
fn a_stale_snapshot_entry_neither_overwrites_nor_revives() {
    let mut house = Household::new();
    house.delete(principal("dev/lamp-1"));
    assert_eq!(house.directory.merge(1, device("lamp-1")), []);
    assert_eq!(house.directory.check(&who("dev/lamp-1")), Err(Status::DELETED));
}

#[test]
fn a_missed_reset_is_seen_in_the_snapshot() {
    let house = Household::new();
    let reset = Device {
        generation: 2,
        ..device_of("lamp-1")
    };
    assert_eq!(
        house.directory.merge(99, Entity::Device(reset)),
        [ends("dev/lamp-1", Cause::Reset)]
    );
}

#[test]
fn deleting_what_never_was_leaves_a_trace_and_no_consequence() {
    let mut house = Household::new();
    assert_eq!(house.delete(principal("dev/ghost")), []);
    assert_eq!(house.directory.check(&who("dev/ghost")), Err(Status::DELETED));
    assert_eq!(house.delete(principal("srv/message")), []);
    assert_eq!(house.directory.check(&who("srv/message")), Err(Status::NOT_FOUND));
}

#[test]
fn times_before_1970_do_not_overflow_a_generation() {
    let mut house = Household::new();
    let ancient = User {
        tokens_from: Timestamp::from_millis(-5),
        ..user_of("ann")
    };
    assert_eq!(
        house.put(Cause::Modify, Entity::User(ancient)),
        [ends("usr/ann", Cause::Modify)]
    );
}

#[test]
fn who_hears_others_of_another_domain_hears_them_anew() {
    let mut house = Household::new();
    let peer = |name: &str| Entity::Peer(peer_of(name));
    house.put(Cause::Register, peer("b.example"));
    house.put(Cause::Register, peer("c.example"));
    let mut hears = |named: Option<&[&str]>| {
        let list = |named: &[&str]| named.iter().map(|name| name.parse().unwrap()).collect();
        let app = Application {
            hears: named.map_or(Scope::Everyone, |named| Scope::Only(list(named))),
            ..application_of("climate")
        };
        let follows = house.put(Cause::Modify, Entity::Application(app));
        let domains = follows.iter().filter_map(|one| {
            if let Consequence::Hears { domain } = one {
                return Some(domain.to_string());
            }
            None
        });
        let mut domains: Vec<_> = domains.collect();
        domains.sort();
        assert_eq!(domains.len(), follows.len(), "nothing else follows");
        domains
    };
    assert_eq!(hears(None), Vec::<String>::new(), "as before");
    assert_eq!(hears(Some(&["dev/x@b.example"])), ["b.example", "c.example"]);
    assert_eq!(
        hears(Some(&["dev/x@b.example", "dev/lamp-1"])),
        Vec::<String>::new()
    );
    assert_eq!(hears(Some(&["dev/y@b.example"])), ["b.example"]);
    assert_eq!(hears(None), ["b.example", "c.example"]);
}
