//! Who may do what on which topic: one pure function for each direction.
//!
//! A filter is granted only if every topic it could match is granted, so a wildcard never reaches further than the
//! rights of whoever subscribes. What is not named here is refused.

use irsp_protocol::change::Right;
use irsp_protocol::topic::{Branch, Incoming};
use irsp_protocol::{Address, Domain, Id, Kind, MessageKind, Principal, Status, Topic};

/// What the rules need to know; the directory knows it.
pub(crate) trait Facts {
    /// Whether the user owns the device, or shares it with this right.
    fn has_right(&self, device: &Id, user: &Id, right: Right) -> bool;
    /// Whether the application may hear this principal.
    fn hears(&self, application: &Id, principal: &Principal) -> bool;
    /// Whether the application may hear everyone of the domain.
    fn hears_everyone(&self, application: &Id) -> bool;
    /// Whether the first may push to the second, or the refusal.
    fn may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status>;
    /// Whether the first may send the second a message, or the refusal.
    fn may_message(&self, from: &Principal, to: &Principal) -> Result<(), Status>;
    /// Whether the first may send such a message to the second, of another domain, or the refusal.
    fn may_send_out(&self, kind: MessageKind, from: &Principal, to: &Address) -> Result<(), Status>;
    /// Whether there is such a principal, or the refusal.
    fn check(&self, principal: &Principal) -> Result<(), Status>;
}

/// Whether `who` may publish on `topic`. The topic's own-domain addresses are already local.
pub(crate) fn publish(who: &Principal, topic: &Topic, facts: &impl Facts) -> Result<(), Status> {
    let owner = local(&topic.owner)?;
    match &topic.branch {
        Branch::Up { app, .. } | Branch::CloudEvent { app } => {
            own(who, owner)?;
            if !matches!(who.kind, Kind::Device | Kind::User) {
                return Err(Status::FORBIDDEN);
            }
            if app.domain.is_some() {
                return facts.may_send_out(MessageKind::Upload, who, app);
            }
            let app = &app.principal;
            facts.check(app)?;
            if facts.hears(&app.id, who) {
                Ok(())
            } else {
                Err(Status::FORBIDDEN)
            }
        }
        Branch::Ack { .. } | Branch::Answers => {
            own(who, owner)?;
            if matches!(who.kind, Kind::Device | Kind::User | Kind::Application) {
                Ok(())
            } else {
                Err(Status::FORBIDDEN)
            }
        }
        Branch::Live { .. } if who == owner => Ok(()),
        // What is kept of somebody who is gone would have no end.
        Branch::Live { .. } if may_publish_live(who, owner, facts) => facts.check(owner),
        Branch::To { destination, .. } => {
            own(who, owner)?;
            if !matches!(who.kind, Kind::Application | Kind::User) {
                return Err(Status::FORBIDDEN);
            }
            if destination.domain.is_some() {
                let kind = match destination.principal.kind {
                    Kind::Application => MessageKind::Message,
                    Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => {
                        MessageKind::Push
                    }
                };
                return facts.may_send_out(kind, who, destination);
            }
            let to = &destination.principal;
            match to.kind {
                Kind::Application => facts.may_message(who, to),
                Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => {
                    facts.may_push(who, to)
                }
            }
        }
        Branch::Live { .. } | Branch::Status | Branch::Down { .. } | Branch::In(_) | Branch::Presence => {
            Err(Status::FORBIDDEN)
        }
    }
}

/// Whether `who` may subscribe to `filter` (without its `$share/{group}/`).
pub(crate) fn subscribe(who: &Principal, filter: &str, facts: &impl Facts) -> Result<(), Status> {
    let mut levels = filter.split('/');
    let (Some("v1"), Some(kind), Some(id), Some(branch)) =
        (levels.next(), levels.next(), levels.next(), levels.next())
    else {
        return Err(Status::FORBIDDEN);
    };
    let kind = Kind::parse(kind).ok_or(Status::FORBIDDEN)?;
    let owner = match id {
        "+" => None,
        id => Some(Principal::new(kind, Id::new(id).map_err(|_| Status::FORBIDDEN)?)),
    };
    let granted = match (&owner, branch) {
        (Some(owner), "status" | "down" | "presence" | "live") if owner == who => true,
        (Some(owner), "in") if owner == who => kind == Kind::Application,
        (Some(owner), "presence") if who.kind == Kind::User => {
            kind == Kind::Device && facts.has_right(&owner.id, &who.id, Right::Presence)
        }
        (Some(owner), "up" | "ce" | "ack" | "live") if who.kind == Kind::User => {
            kind == Kind::Device && facts.has_right(&owner.id, &who.id, Right::Receive)
        }
        (owner, "up" | "ce" | "presence" | "live") if who.kind == Kind::Application => {
            let theirs = match branch {
                "up" | "ce" => levels.next() == Some(who.id.as_str()),
                _ => true,
            };
            let heard = match owner {
                Some(owner) => facts.hears(&who.id, owner),
                None => facts.hears_everyone(&who.id),
            };
            theirs && heard && matches!(kind, Kind::Device | Kind::User)
        }
        _ => false,
    };
    if granted { Ok(()) } else { Err(Status::FORBIDDEN) }
}

/// Whether a filter (with or without its `$share/{group}/`) is one for what the courier has for `who`: pushes, or of an
/// application what it receives while it is attached.
pub(crate) fn hears_pushes(who: &Principal, filter: &str) -> bool {
    let plain = filter.strip_prefix("$share/").map_or(Some(filter), |shared| {
        shared.split_once('/').map(|(_, plain)| plain)
    });
    let mut levels = plain.unwrap_or_default().split('/').skip(1);
    let own = levels.next() == Some(who.kind.as_str()) && levels.next() == Some(who.id.as_str());
    match who.kind {
        // Presence is announced, not handed over.
        Kind::Application => own && levels.next() == Some("in") && levels.next() != Some("presence"),
        Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => {
            own && levels.next() == Some("down")
        }
    }
}

/// Whether `who` may still hear a message on a topic: what waits is judged again when rights have changed.
pub(crate) fn may_hear(who: &Principal, topic: &str, domain: &Domain, facts: &impl Facts) -> bool {
    let Ok(mut topic) = Topic::parse(topic) else {
        return false;
    };
    localise(&mut topic, domain);
    if topic.owner.domain.is_none() {
        return subscribe(who, &topic.to_string(), facts).is_ok();
    }
    // Of other domains' principals only uploads to applications of this one are shown, to those that hear everyone.
    match &topic.branch {
        Branch::Up { app, .. } => {
            app.domain.is_none() && app.principal == *who && facts.hears_everyone(&who.id)
        }
        Branch::CloudEvent { .. }
        | Branch::Status
        | Branch::Down { .. }
        | Branch::Ack { .. }
        | Branch::Answers
        | Branch::In(_)
        | Branch::Presence
        | Branch::Live { .. }
        | Branch::To { .. } => false,
    }
}

/// A live topic is open to the users who may push to its device and the applications that hear its owner.
fn may_publish_live(who: &Principal, owner: &Principal, facts: &impl Facts) -> bool {
    match (who.kind, owner.kind) {
        (Kind::User, Kind::Device) => facts.has_right(&owner.id, &who.id, Right::Push),
        (Kind::Application, Kind::Device | Kind::User) => facts.hears(&who.id, owner),
        _ => false,
    }
}

fn own(who: &Principal, owner: &Principal) -> Result<(), Status> {
    if who == owner {
        Ok(())
    } else {
        Err(Status::FORBIDDEN)
    }
}

fn local(address: &Address) -> Result<&Principal, Status> {
    match address.domain {
        None => Ok(&address.principal),
        Some(_) => Err(Status::WRONG_DOMAIN),
    }
}

/// Writes addresses of our own domain without it, so that one principal has one spelling. Says whether there were any.
pub(crate) fn localise(topic: &mut Topic, domain: &Domain) -> bool {
    let mut found = false;
    let mut strip = |address: &mut Address| {
        if address.domain.as_ref() == Some(domain) {
            address.domain = None;
            found = true;
        }
    };
    strip(&mut topic.owner);
    match &mut topic.branch {
        Branch::Up { app, .. } | Branch::CloudEvent { app } => strip(app),
        Branch::To { destination, .. } => strip(destination),
        Branch::Down { from, .. } => strip(from),
        Branch::In(Incoming::Envelope { source, .. }) => strip(source),
        Branch::In(Incoming::Presence { of }) => strip(of),
        Branch::Status | Branch::Ack { .. } | Branch::Answers | Branch::Presence | Branch::Live { .. } => {}
    }
    found
}

impl Facts for irsp_directory::Directory {
    fn has_right(&self, device: &Id, user: &Id, right: Right) -> bool {
        irsp_directory::Directory::has_right(self, device, user, right)
    }
    fn hears(&self, application: &Id, principal: &Principal) -> bool {
        self.application(application)
            .is_some_and(|app| app.hears.includes(principal))
    }
    fn hears_everyone(&self, application: &Id) -> bool {
        self.application(application)
            .is_some_and(|app| app.hears == irsp_protocol::change::Scope::Everyone)
    }
    fn may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        irsp_directory::Directory::may_push(self, from, to)
    }
    fn may_message(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        irsp_directory::Directory::may_message(self, from, to)
    }
    fn may_send_out(&self, kind: MessageKind, from: &Principal, to: &Address) -> Result<(), Status> {
        irsp_directory::Directory::may_send_out(self, kind, from, to)
    }
    fn check(&self, principal: &Principal) -> Result<(), Status> {
        irsp_directory::Directory::check(self, principal)
    }
}

#[cfg(test)]
mod matrix;

#[cfg(test)]
mod tests {
    use super::*;

    /// Device `lamp` is bound to `ann`; application `all` hears everyone, `one` only the lamp; all apps exist.
    struct House;
    impl Facts for House {
        fn has_right(&self, device: &Id, user: &Id, _: Right) -> bool {
            (device.as_str(), user.as_str()) == ("lamp", "ann")
        }
        fn hears(&self, application: &Id, principal: &Principal) -> bool {
            application.as_str() == "all" || principal.to_string() == "dev/lamp"
        }
        fn hears_everyone(&self, application: &Id) -> bool {
            application.as_str() == "all"
        }
        fn may_push(&self, from: &Principal, _: &Principal) -> Result<(), Status> {
            if from.id.as_str() == "bob" {
                Err(Status::FORBIDDEN)
            } else {
                Ok(())
            }
        }
        fn may_message(&self, from: &Principal, _: &Principal) -> Result<(), Status> {
            match from.kind {
                Kind::Application => Ok(()),
                Kind::Device | Kind::User | Kind::External | Kind::Peer | Kind::Server => {
                    Err(Status::FORBIDDEN)
                }
            }
        }
        fn may_send_out(&self, _: MessageKind, from: &Principal, to: &Address) -> Result<(), Status> {
            let linked = to
                .domain
                .as_ref()
                .is_some_and(|domain| domain.as_str() == "linked.example");
            match (linked, from.id.as_str()) {
                (false, _) => Err(Status::WRONG_DOMAIN),
                (true, "bob") => Err(Status::FORBIDDEN),
                (true, _) => Ok(()),
            }
        }
        fn check(&self, principal: &Principal) -> Result<(), Status> {
            if principal.id.as_str() == "none" {
                Err(Status::NOT_FOUND)
            } else {
                Ok(())
            }
        }
    }

    const MID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

    #[test]
    fn everyone_publishes_only_where_the_contract_says() {
        let (ok, no, gone, away) = (
            None,
            Some(Status::FORBIDDEN),
            Some(Status::NOT_FOUND),
            Some(Status::WRONG_DOMAIN),
        );
        for (who, topic, expected) in [
            ("dev/lamp", "v1/dev/lamp/up/all/temp".to_owned(), ok),
            ("dev/lamp", "v1/dev/other/up/all/temp".to_owned(), no),
            ("dev/other", "v1/dev/other/up/one/temp".to_owned(), no),
            ("dev/lamp", "v1/dev/lamp/up/none/temp".to_owned(), gone),
            ("dev/lamp", "v1/dev/lamp/up/all@far.example/temp".to_owned(), away),
            ("dev/lamp", "v1/dev/lamp@far.example/up/all/temp".to_owned(), away),
            ("dev/lamp", "v1/dev/lamp/ce/all".to_owned(), ok),
            ("dev/lamp", "v1/dev/lamp/status".to_owned(), no),
            ("dev/lamp", "v1/dev/lamp/presence".to_owned(), no),
            ("dev/lamp", format!("v1/dev/lamp/down/all/{MID}/x"), no),
            ("dev/lamp", format!("v1/dev/lamp/ack/{MID}"), ok),
            ("dev/other", format!("v1/dev/lamp/ack/{MID}"), no),
            ("usr/ann", format!("v1/dev/lamp/ack/{MID}"), no),
            ("dev/lamp", "v1/dev/lamp/live/x".to_owned(), ok),
            ("usr/ann", "v1/dev/lamp/live/x".to_owned(), ok),
            ("usr/bob", "v1/dev/lamp/live/x".to_owned(), no),
            ("app/one", "v1/dev/lamp/live/x".to_owned(), ok),
            ("app/one", "v1/dev/other/live/x".to_owned(), no),
            ("app/one", "v1/app/one/live/x".to_owned(), ok),
            ("app/one", "v1/app/all/live/x".to_owned(), no),
            ("dev/lamp", "v1/app/one/live/x".to_owned(), no),
            ("usr/ann", "v1/usr/ann/to/dev/lamp/x".to_owned(), ok),
            ("usr/bob", "v1/usr/bob/to/dev/lamp/x".to_owned(), no),
            ("usr/bob", "v1/usr/ann/to/dev/lamp/x".to_owned(), no),
            ("app/all", "v1/app/all/to/dev/lamp/x".to_owned(), ok),
            ("dev/lamp", "v1/dev/lamp/to/dev/other/x".to_owned(), no),
            ("app/all", "v1/app/all/up/all/x".to_owned(), no),
        ] {
            let topic = Topic::parse(&topic).unwrap();
            let who: Principal = who.parse().unwrap();
            assert_eq!(publish(&who, &topic, &House).err(), expected, "{who} {topic}");
        }
    }

    #[test]
    fn what_waits_is_judged_by_its_topic() {
        let domain = Domain::new("home.example").unwrap();
        for (who, topic, hears) in [
            ("usr/ann", "v1/dev/lamp/live/x", true),
            ("usr/ann", "v1/dev/lamp@home.example/live/x", true),
            ("usr/bob", "v1/dev/lamp/live/x", false),
            ("app/one", "v1/dev/lamp/up/one/temp", true),
            ("app/one", "v1/dev/other/presence", false),
            ("app/all", "v1/dev/lamp@far.example/up/all/temp", true),
            ("app/all", "v1/dev/lamp@far.example/up/one/temp", false),
            ("app/all", "v1/dev/lamp@far.example/presence", false),
            ("app/one", "v1/dev/lamp@far.example/up/one/temp", false),
            ("app/all", "no topic", false),
        ] {
            let who: Principal = who.parse().unwrap();
            assert_eq!(may_hear(&who, topic, &domain, &House), hears, "{who} {topic}");
        }
    }

    #[test]
    fn a_filter_is_granted_only_if_all_it_could_match_is() {
        for (who, filter, granted) in [
            ("dev/lamp", "v1/dev/lamp/status", true),
            ("dev/lamp", "v1/dev/lamp/down/#", true),
            ("dev/lamp", "v1/dev/lamp/#", false),
            ("dev/lamp", "v1/dev/lamp/+", false),
            ("dev/lamp", "v1/dev/+/status", false),
            ("dev/lamp", "v1/dev/other/down/#", false),
            ("dev/lamp", "#", false),
            ("dev/lamp", "v1/#", false),
            ("dev/lamp", "$SYS/#", false),
            ("dev/lamp", "bus/#", false),
            ("usr/ann", "v1/dev/lamp/up/#", true),
            ("usr/ann", "v1/dev/lamp/presence", true),
            ("usr/ann", "v1/dev/lamp/live/#", true),
            ("usr/ann", "v1/dev/lamp/down/#", false),
            ("usr/ann", "v1/dev/lamp/status", false),
            ("usr/ann", "v1/dev/lamp/#", false),
            ("usr/ann", "v1/dev/lamp/+/x", false),
            ("usr/ann", "v1/dev/+/presence", false),
            ("usr/bob", "v1/dev/lamp/presence", false),
            ("usr/ann", "v1/usr/ann/down/#", true),
            ("usr/ann", "v1/usr/bob/down/#", false),
            ("app/all", "v1/dev/+/up/all/#", true),
            ("app/all", "v1/dev/+/up/one/#", false),
            ("app/all", "v1/dev/+/up/+/#", false),
            ("app/all", "v1/dev/+/up/#", false),
            ("app/all", "v1/dev/+/presence", true),
            ("app/all", "v1/dev/+/#", false),
            ("app/all", "v1/dev/lamp/down/#", false),
            ("app/all", "v1/dev/lamp/status", false),
            ("app/all", "v1/+/+/up/all/#", false),
            ("app/all", "v1/app/+/live/#", false),
            ("app/one", "v1/dev/lamp/up/one/#", true),
            ("app/one", "v1/dev/other/up/one/#", false),
            ("app/one", "v1/dev/+/up/one/#", false),
            ("app/one", "v1/dev/+/presence", false),
            ("app/one", "v1/app/one/status", true),
            ("app/one", "v1/app/all/status", false),
        ] {
            let who: Principal = who.parse().unwrap();
            assert_eq!(subscribe(&who, filter, &House).is_ok(), granted, "{who} {filter}");
        }
    }
}
