//! A small household for the tests: lamp-1 and lamp-2, ann who owns lamp-1, bob, the admin, and the application climate.

use irsp_protocol::change::{
    Answers, Application, Binding, Cause, Change, Delivery, Device, Entity, EntityKey, Retention, Right,
    Rights, Role, Scope, User,
};
use irsp_protocol::credential::Code;
use irsp_protocol::peer::{Peer, PeerState, Policy, Trust};
use irsp_protocol::{Domain, Id, Principal, Timestamp};

use crate::consequence::Consequence;
use crate::directory::Directory;
use crate::key::HashKey;

/// When the stories happen.
pub(crate) const NOON: Timestamp = Timestamp::from_millis(1_795_392_000_000);

/// A directory and the account server's next change number.
pub(crate) struct Household {
    pub(crate) directory: Directory,
    n: u64,
}

impl Household {
    pub(crate) fn new() -> Household {
        let mut house = Household {
            directory: Directory::new(key()),
            n: 0,
        };
        for entity in [
            device("lamp-1"),
            device("lamp-2"),
            user("ann"),
            user("bob"),
            Entity::User(User {
                role: Role::Admin,
                tokens: vec![key().hash(b"admin-token")],
                ..user_of("root")
            }),
            application("climate"),
            binding("lamp-1", "ann"),
        ] {
            assert_eq!(house.put(Cause::Register, entity), []);
        }
        house
    }

    pub(crate) fn put(&mut self, cause: Cause, entity: Entity) -> Vec<Consequence> {
        self.n += 1;
        self.directory.apply(&put(self.n, cause, entity))
    }

    pub(crate) fn delete(&mut self, key: EntityKey) -> Vec<Consequence> {
        self.n += 1;
        self.directory.apply(&delete(self.n, key))
    }
}

pub(crate) fn put(n: u64, cause: Cause, entity: Entity) -> Change {
    Change {
        n,
        cause,
        key: entity.key(),
        entity: Some(entity),
    }
}

pub(crate) fn delete(n: u64, key: EntityKey) -> Change {
    Change {
        n,
        cause: Cause::Delete,
        key,
        entity: None,
    }
}

pub(crate) fn key() -> HashKey {
    HashKey::new(&[42; 32])
}

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(crate) fn who(text: &str) -> Principal {
    text.parse().unwrap()
}

pub(crate) fn principal(text: &str) -> EntityKey {
    EntityKey::Principal(who(text))
}

/// Its code is `code of <id>`.
pub(crate) fn device_of(name: &str) -> Device {
    Device {
        id: id(name),
        codes: vec![Code::lasting(key().hash(format!("code of {name}").as_bytes()))],
        certificates: Vec::new(),
        answers: Answers::Ack,
        disabled: false,
        generation: 1,
    }
}

pub(crate) fn device(name: &str) -> Entity {
    Entity::Device(device_of(name))
}

pub(crate) fn user_of(name: &str) -> User {
    User {
        id: id(name),
        role: Role::User,
        disabled: false,
        tokens_from: NOON,
        tokens: Vec::new(),
        ended_logins: Vec::new(),
    }
}

pub(crate) fn user(name: &str) -> Entity {
    Entity::User(user_of(name))
}

/// Its key is `key of <id>`.
pub(crate) fn application_of(name: &str) -> Application {
    Application {
        id: id(name),
        keys: vec![key().hash(format!("key of {name}").as_bytes())],
        hears: Scope::Everyone,
        pushes: Scope::Everyone,
        messages: Scope::Everyone,
        delivery: Delivery::Hosted,
        answers: Answers::Ack,
        retention: Retention::default(),
        disabled: false,
        generation: 1,
    }
}

pub(crate) fn application(name: &str) -> Entity {
    Entity::Application(application_of(name))
}

pub(crate) fn binding(device: &str, user: &str) -> Entity {
    Entity::Binding(Binding {
        device: id(device),
        user: id(user),
        owner: true,
        rights: Rights::default(),
    })
}

pub(crate) fn share<const N: usize>(device: &str, user: &str, rights: [Right; N]) -> Entity {
    Entity::Binding(Binding {
        device: id(device),
        user: id(user),
        owner: false,
        rights: rights.into_iter().collect(),
    })
}

/// A peer on the usual terms.
pub(crate) fn peer_of(domain: &str) -> Peer {
    Peer {
        domain: Domain::new(domain).expect("a domain"),
        trust: Trust::Authority(String::new()),
        urls: Vec::new(),
        inward: Policy::default(),
        outward: Policy::default(),
        rate_max: 10,
        out_rate_max: None,
        state: PeerState::Active,
    }
}
