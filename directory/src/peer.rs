//! What may pass between this domain and another (clauses 8.5 to 8.7).
//!
//! | kind | out | in |
//! |---|---|---|
//! | upload | the sender's grant lets the foreign application hear it | the application hears the foreign sender |
//! | push | the application's `pushes` include the foreign receiver | the receiver's grant lets the foreign application push |
//! | message | the application's `messages` include the foreign one | the application exists |
//! | presence | as an upload | as an upload |
//!
//! And always the peer's policy for that direction. No such peer is 421, one that is being drained 503, what is not
//! granted 403; a stranger who may not push to a principal does not learn whether it exists.

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

    /// The applications of other domains that hear a principal.
    pub fn heard_by(&self, principal: &Principal) -> Vec<Address> {
        let state = self.read();
        let heard_by = state.heard_by.get(principal);
        heard_by.into_iter().flatten().cloned().collect()
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
    match kind {
        MessageKind::Upload | MessageKind::Presence => person(from) && app(to),
        MessageKind::Push => app(from) && person(to),
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
    use irsp_protocol::peer::{Policy, Trust};

    use super::*;
    use crate::sample::{Household, application_of, who};

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
        Peer {
            domain: Domain::new("b.example").unwrap(),
            trust: Trust::Authority(String::new()),
            urls: Vec::new(),
            inward: Policy::default(),
            outward: Policy::default(),
            rate_max: 10,
            out_rate_max: None,
            state: PeerState::Active,
        }
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
        let draining = Peer {
            state: PeerState::Draining,
            ..peer()
        };
        house.put(Cause::Modify, Entity::Peer(draining));
        assert_eq!(
            out(&house, MessageKind::Message, "app/climate", "app/shop@b.example"),
            Err(Status::UNAVAILABLE)
        );
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
                            | (MessageKind::Push, "app", "dev" | "usr")
                            | (MessageKind::Message, "app", "app")
                    );
                    let passes = out(&house, kind, from, to).is_ok();
                    assert!(fitting || !passes, "{kind:?} {from} {to}");
                }
            }
        }
        assert_eq!(
            out(&house, MessageKind::Push, "usr/ann", "dev/x@b.example"),
            Err(Status::FORBIDDEN)
        );
    }
}
