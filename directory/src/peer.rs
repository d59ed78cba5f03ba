//! What may pass between this domain and another (clauses 8.5 to 8.7).
//!
//! | kind | out | in |
//! |---|---|---|
//! | upload | the sender's grant lets the foreign application hear it | the application hears the foreign sender |
//! | push | the application's `pushes` include the foreign receiver | the receiver's grant lets the foreign application push |
//! | push of a user | to a device | the device's grant lets the foreign user push |
//! | message | the application's `messages` include the foreign one | the application exists |
//! | presence | as an upload | as an upload |
//! | presence to a user | the device's grant lets the foreign user hear it | the user exists |
//!
//! And always the peer's policy for that direction. No such peer is 421, one that is being drained 503, what is not
//! granted 403; a stranger who may not push to a principal does not learn whether it exists, and no domain learns who our
//! users are.

use std::sync::Arc;

use irsp_protocol::peer::{Grant, Peer, PeerState};
use irsp_protocol::{Address, Domain, Id, Kind, MessageKind, Principal, Status};

use crate::directory::{Directory, State};

impl Directory {
    pub fn peer(&self, domain: &Domain) -> Option<Arc<Peer>> {
        self.read().peers.live(domain)
    }

    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.read().peers.all().cloned().collect()
    }

    pub fn grant(&self, principal: &Principal, to: &Address) -> Option<Arc<Grant>> {
        self.read().grants.live(&(principal.clone(), to.clone()))
    }

    /// The applications and users of other domains that hear a principal.
    pub fn heard_by(&self, principal: &Principal) -> Vec<Address> {
        let state = self.read();
        let heard_by = state.heard_by.get(principal);
        heard_by.into_iter().flatten().cloned().collect()
    }

    /// Whether a peer is told of presence at all. One that is being drained is, because what it holds would be wrong afterwards.
    pub fn tells_presence(&self, domain: &Domain) -> bool {
        let peer = self.peer(domain);
        peer.is_some_and(|peer| peer.outward.allows(MessageKind::Presence, None))
    }

    /// The grants that are wanted, of all there are.
    pub fn grants(&self, wanted: impl Fn(&Grant) -> bool) -> Vec<Arc<Grant>> {
        let state = self.read();
        state
            .grants
            .all()
            .filter(|grant| wanted(grant))
            .cloned()
            .collect()
    }

    /// Whether `from` of this domain may send it to `to` of another; the error is the status it is refused with.
    pub fn may_send_out(&self, kind: MessageKind, from: &Principal, to: &Address) -> Result<(), Status> {
        let state = self.read();
        let peer = to.domain.as_ref().and_then(|domain| state.peers.live(domain));
        let peer = peer.ok_or(Status::WRONG_DOMAIN)?;
        if peer.state == PeerState::Draining {
            return Err(Status::UNAVAILABLE);
        }
        state.check(from).map_err(|_| Status::FORBIDDEN)?;
        if !peer.outward.allows(kind, application(from)) || !fits(kind, from, &to.principal) {
            return Err(Status::FORBIDDEN);
        }
        let granted = match kind {
            MessageKind::Upload | MessageKind::Presence => {
                let grant = state.grants.live(&(from.clone(), to.clone()));
                grant.is_some_and(|grant| grant.hears)
            }
            // What a user may do with a device is the other domain's word: it was shared there.
            MessageKind::Push if from.kind == Kind::User => true,
            MessageKind::Push => state.find_application(&from.id)?.pushes.includes_address(to),
            MessageKind::Message => state.find_application(&from.id)?.messages.includes_address(to),
            MessageKind::Status | MessageKind::Directory => false,
        };
        if granted { Ok(()) } else { Err(Status::FORBIDDEN) }
    }

    /// Whether `from` of the other domain it names may send it to `to` of this one.
    pub fn may_come_in(&self, kind: MessageKind, from: &Address, to: &Principal) -> Result<(), Status> {
        let state = self.read();
        let peer = from.domain.as_ref().and_then(|domain| state.peers.live(domain));
        let peer = peer.ok_or(Status::WRONG_DOMAIN)?;
        if !peer.inward.allows(kind, application(to)) || !fits(kind, &from.principal, to) {
            return Err(Status::FORBIDDEN);
        }
        match kind {
            MessageKind::Presence if to.kind == Kind::User => {
                let known = state.find_user(&to.id);
                known.map(drop).map_err(|_| Status::FORBIDDEN)
            }
            MessageKind::Upload | MessageKind::Presence => {
                state.check(to)?;
                hears(&state, &to.id, from)
            }
            MessageKind::Push => {
                let grant = state.grants.live(&(to.clone(), from.clone()));
                match grant {
                    Some(grant) if grant.pushes => state.check(to),
                    Some(_) | None => Err(Status::FORBIDDEN),
                }
            }
            MessageKind::Message => state.check(to),
            MessageKind::Status | MessageKind::Directory => Err(Status::FORBIDDEN),
        }
    }
}

fn hears(state: &State, application: &Id, from: &Address) -> Result<(), Status> {
    if state.find_application(application)?.hears.includes_address(from) {
        Ok(())
    } else {
        Err(Status::FORBIDDEN)
    }
}

/// Whether such principals send each other such messages at all.
fn fits(kind: MessageKind, from: &Principal, to: &Principal) -> bool {
    let person = |of: &Principal| matches!(of.kind, Kind::Device | Kind::User);
    let app = |of: &Principal| of.kind == Kind::Application;
    let shared =
        |device: &Principal, user: &Principal| device.kind == Kind::Device && user.kind == Kind::User;
    match kind {
        MessageKind::Upload => person(from) && app(to),
        MessageKind::Presence => person(from) && app(to) || shared(from, to),
        MessageKind::Push => app(from) && person(to) || shared(to, from),
        MessageKind::Message => app(from) && app(to),
        MessageKind::Status | MessageKind::Directory => false,
    }
}

/// The application of ours that takes part, if one does.
fn application(ours: &Principal) -> Option<&Id> {
    (ours.kind == Kind::Application).then_some(&ours.id)
}

#[cfg(test)]
mod tests {
    use irsp_protocol::change::{Application, Cause, Entity, EntityKey, Scope};
    use irsp_protocol::peer::Policy;

    use super::*;
    use crate::sample::{Household, application_of, peer_of, who};

    const KINDS: [MessageKind; 4] = [
        MessageKind::Upload,
        MessageKind::Push,
        MessageKind::Message,
        MessageKind::Presence,
    ];

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn peer() -> Peer {
        peer_of("b.example")
    }

    fn grant(hears: bool, pushes: bool) -> Entity {
        Entity::Grant(Grant {
            principal: who("dev/lamp-1"),
            to: at("app/shop@b.example"),
            hears,
            pushes,
        })
    }

    fn house(peer: Peer) -> Household {
        let mut house = Household::new();
        house.put(Cause::Register, Entity::Peer(peer));
        house
    }

    fn out(house: &Household, kind: MessageKind, from: &str, to: &str) -> Result<(), Status> {
        house.directory.may_send_out(kind, &who(from), &at(to))
    }

    fn inward(house: &Household, kind: MessageKind, from: &str, to: &str) -> Result<(), Status> {
        house.directory.may_come_in(kind, &at(from), &who(to))
    }

    #[test]
    fn a_device_is_heard_and_reached_by_a_foreign_application_while_it_is_granted() {
        let mut house = house(peer());
        let asked = |house: &Household| {
            (
                out(house, MessageKind::Upload, "dev/lamp-1", "app/shop@b.example").is_ok(),
                out(house, MessageKind::Presence, "dev/lamp-1", "app/shop@b.example").is_ok(),
                inward(house, MessageKind::Push, "app/shop@b.example", "dev/lamp-1").is_ok(),
            )
        };
        assert_eq!(asked(&house), (false, false, false));
        house.put(Cause::Register, grant(true, false));
        assert_eq!(asked(&house), (true, true, false));
        house.put(Cause::Modify, grant(false, true));
        assert_eq!(asked(&house), (false, false, true));
        for (from, to) in [
            ("app/other@b.example", "dev/lamp-1"),
            ("app/shop@b.example", "dev/nobody"),
        ] {
            assert_eq!(
                inward(&house, MessageKind::Push, from, to),
                Err(Status::FORBIDDEN),
                "{from} {to}"
            );
        }
        house.delete(grant(false, true).key());
        assert_eq!(asked(&house), (false, false, false));
    }

    #[test]
    fn an_application_hears_and_pushes_abroad_within_its_own_grants() {
        let mut house = house(peer());
        assert_eq!(
            inward(&house, MessageKind::Upload, "dev/x@b.example", "app/climate"),
            Ok(())
        );
        assert_eq!(
            out(&house, MessageKind::Push, "app/climate", "dev/x@b.example"),
            Ok(())
        );
        assert_eq!(
            inward(&house, MessageKind::Upload, "dev/x@b.example", "app/nobody"),
            Err(Status::NOT_FOUND)
        );
        let named = Scope::Only(vec![at("dev/x@b.example"), at("dev/lamp-1")]);
        let narrow = Application {
            hears: named.clone(),
            pushes: named,
            ..application_of("climate")
        };
        house.put(Cause::Modify, Entity::Application(narrow));
        for (device, right) in [
            ("dev/x@b.example", Ok(())),
            ("dev/lamp-1@b.example", Err(Status::FORBIDDEN)),
        ] {
            assert_eq!(
                inward(&house, MessageKind::Upload, device, "app/climate"),
                right,
                "{device}"
            );
            assert_eq!(
                out(&house, MessageKind::Push, "app/climate", device),
                right,
                "{device}"
            );
        }
    }

    #[test]
    fn without_a_peer_nothing_passes_and_its_policy_narrows_each_direction() {
        let house = Household::new();
        assert_eq!(
            out(&house, MessageKind::Push, "app/climate", "dev/x@b.example"),
            Err(Status::WRONG_DOMAIN)
        );
        assert_eq!(
            inward(&house, MessageKind::Upload, "dev/x@b.example", "app/climate"),
            Err(Status::WRONG_DOMAIN)
        );
        let b = peer().domain;
        assert!(!house.directory.tells_presence(&b));
        let policy = |json: &str| -> Policy { serde_json::from_str(json).unwrap() };
        let strict = Peer {
            inward: policy(r#"{"kinds":["upload"],"applications":["other"]}"#),
            outward: policy(r#"{"kinds":["message"]}"#),
            ..peer()
        };
        let mut house = self::house(strict);
        assert_eq!(
            inward(&house, MessageKind::Upload, "dev/x@b.example", "app/climate"),
            Err(Status::FORBIDDEN)
        );
        assert_eq!(
            out(&house, MessageKind::Push, "app/climate", "dev/x@b.example"),
            Err(Status::FORBIDDEN)
        );
        assert_eq!(
            out(&house, MessageKind::Message, "app/climate", "app/shop@b.example"),
            Ok(())
        );
        assert!(!house.directory.tells_presence(&b));
        let draining = Peer {
            state: PeerState::Draining,
            ..peer()
        };
        house.put(Cause::Modify, Entity::Peer(draining));
        assert_eq!(
            out(&house, MessageKind::Message, "app/climate", "app/shop@b.example"),
            Err(Status::UNAVAILABLE)
        );
        assert!(house.directory.tells_presence(&b));
        house.delete(EntityKey::Peer(peer().domain));
        assert!(house.directory.peers().is_empty());
    }

    #[test]
    fn only_the_kinds_that_fit_their_ends_pass() {
        let mut house = house(peer());
        house.put(Cause::Register, grant(true, true));
        let people = ["dev/lamp-1", "usr/ann", "app/climate"];
        for kind in KINDS {
            for from in people {
                for to in ["dev/x@b.example", "usr/x@b.example", "app/shop@b.example"] {
                    let fitting = matches!(
                        (kind, &from[..3], &to[..3]),
                        (MessageKind::Upload | MessageKind::Presence, "dev" | "usr", "app")
                            | (MessageKind::Presence, "dev", "usr")
                            | (MessageKind::Push, "app", "dev" | "usr")
                            | (MessageKind::Push, "usr", "dev")
                            | (MessageKind::Message, "app", "app")
                    );
                    let passes = out(&house, kind, from, to).is_ok();
                    assert!(fitting || !passes, "{kind:?} {from} {to}");
                }
            }
        }
    }

    #[test]
    fn a_device_is_shared_with_a_foreign_user_for_presence_and_pushes_and_nothing_else() {
        let mut house = house(peer());
        let share = |hears, pushes| {
            Entity::Grant(Grant {
                principal: who("dev/lamp-1"),
                to: at("usr/bob@b.example"),
                hears,
                pushes,
            })
        };
        let asked = |house: &Household| {
            (
                out(house, MessageKind::Presence, "dev/lamp-1", "usr/bob@b.example").is_ok(),
                inward(house, MessageKind::Push, "usr/bob@b.example", "dev/lamp-1").is_ok(),
            )
        };
        assert_eq!(asked(&house), (false, false));
        house.put(Cause::Register, share(true, true));
        assert_eq!(asked(&house), (true, true));
        for (kind, from, to) in [
            (MessageKind::Push, "usr/eve@b.example", "dev/lamp-1"),
            (MessageKind::Push, "usr/bob@b.example", "dev/nobody"),
            (MessageKind::Push, "usr/bob@b.example", "usr/ann"),
            (MessageKind::Upload, "usr/bob@b.example", "dev/lamp-1"),
            (MessageKind::Message, "usr/bob@b.example", "dev/lamp-1"),
        ] {
            assert_eq!(
                inward(&house, kind, from, to),
                Err(Status::FORBIDDEN),
                "{from} {to}"
            );
        }
        assert_eq!(
            out(&house, MessageKind::Upload, "dev/lamp-1", "usr/bob@b.example"),
            Err(Status::FORBIDDEN),
            "uploads do not travel to users"
        );
        house.put(Cause::Modify, share(true, false));
        assert_eq!(asked(&house), (true, false));
        house.delete(share(true, false).key());
        assert_eq!(asked(&house), (false, false));
    }

    #[test]
    fn a_user_pushes_abroad_and_hears_of_foreign_devices_while_there_is_such_a_user() {
        let mut house = house(peer());
        let push = |house: &Household| out(house, MessageKind::Push, "usr/ann", "dev/x@b.example");
        let told = |house: &Household, to| inward(house, MessageKind::Presence, "dev/x@b.example", to);
        assert_eq!((push(&house), told(&house, "usr/ann")), (Ok(()), Ok(())));
        assert_eq!(told(&house, "usr/nobody"), Err(Status::FORBIDDEN));
        house.delete(EntityKey::Principal(who("usr/ann")));
        assert_eq!(
            (push(&house), told(&house, "usr/ann")),
            (Err(Status::FORBIDDEN), Err(Status::FORBIDDEN)),
            "who was deleted is nobody"
        );
    }
}
