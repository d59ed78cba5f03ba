//! Principals x actions x topics, against a model that knows no rules of filters: it says for one concrete topic at a
//! time who may do what, and a filter is granted if every topic of a small universe that it matches may be heard.

use std::collections::BTreeSet;

use irsp_protocol::change::Rights;
use irsp_session::filter;

use super::*;
use crate::topics::split_share;

const MID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
/// A domain that some may send to; no other is linked.
const LINKED: &str = "linked.example";

/// Those who act. `ann` owns the lamp, `bob` shares it with rights that vary, `carl` has none; `all` hears and pushes
/// to everyone, `one` hears and pushes to the lamp and to bob, `none` nobody.
const ACTORS: [&str; 8] = [
    "dev/lamp",
    "dev/other",
    "usr/ann",
    "usr/bob",
    "usr/carl",
    "app/all",
    "app/one",
    "app/none",
];
/// Whose topics there are.
const OWNERS: [&str; 6] = [
    "dev/lamp",
    "dev/other",
    "usr/ann",
    "usr/bob",
    "app/all",
    "app/one",
];
/// Those of other domains: nobody publishes on their topics here.
const FOREIGN: [&str; 3] = [
    "dev/lamp@linked.example",
    "usr/ann@linked.example",
    "app/all@linked.example",
];
/// What the server itself publishes of them: uploads to applications of this domain that the operator lets in.
const LET_IN: [&str; 2] = [
    "v1/dev/lamp@linked.example/up/all/temp",
    "v1/dev/lamp@linked.example/up/one/temp",
];
/// Others by the same ids, whom at most `all` hears: they show a wildcard that reaches too far.
const WITNESSES: [&str; 9] = [
    "ext/lamp",
    "ext/bob",
    "ext/all",
    "app/lamp",
    "usr/lamp",
    "app/other",
    "app/ann",
    "app/bob",
    "dev/all",
];
/// What stands behind the owner.
const BRANCHES: [&str; 24] = [
    "up/all/temp",
    "up/one/temp",
    "up/none/temp",
    "up/all@far.example/temp",
    "ce/all",
    "ce/one",
    "status",
    "presence",
    "live/x",
    "down/all/MID/set",
    "ack/MID",
    "ack",
    "in/upload/dev/lamp/MID/temp",
    "in/message/app/one/MID/note",
    "in/presence/dev/lamp",
    "up/all@linked.example/temp",
    "to/dev/lamp@linked.example/set",
    "to/app/one@linked.example/note",
    "to/dev/lamp/set",
    "to/dev/other/set",
    "to/usr/bob/note",
    "to/app/one/note",
    "to/dev/lamp@far.example/set",
    "up/gone/temp",
];
/// What is no topic of the contract.
const OTHERS: [&str; 7] = [
    "$SYS/broker/load",
    "bus/app",
    "v2/dev/lamp/presence",
    "v1",
    "v1/dev",
    "v1/dev/lamp",
    "v1/dev/lamp/secret",
];

/// Who may send what to the linked domain.
const SENT_OUT: [(&str, MessageKind); 5] = [
    ("dev/lamp", MessageKind::Upload),
    ("usr/ann", MessageKind::Upload),
    ("usr/ann", MessageKind::Push),
    ("app/all", MessageKind::Push),
    ("app/one", MessageKind::Message),
];

/// The facts, as the rules ask for them.
struct House {
    bob: Rights,
}

impl House {
    /// Whom an application hears and pushes to, and whom it sends messages.
    fn reaches(application: &Id, whom: &Principal) -> bool {
        match (application.as_str(), whom.to_string().as_str()) {
            ("all", "app/one") => true,
            ("all", _) => matches!(whom.kind, Kind::Device | Kind::User),
            ("one", "dev/lamp" | "usr/bob") => true,
            _ => false,
        }
    }
}

impl Facts for House {
    fn has_right(&self, device: &Id, user: &Id, right: Right) -> bool {
        match (device.as_str(), user.as_str()) {
            ("lamp", "ann") => true,
            ("lamp", "bob") => self.bob.includes(right),
            _ => false,
        }
    }
    fn hears(&self, application: &Id, principal: &Principal) -> bool {
        House::reaches(application, principal)
    }
    fn hears_everyone(&self, application: &Id) -> bool {
        application.as_str() == "all"
    }
    fn may_push(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        let may = if from.kind == Kind::Application {
            self.hears(&from.id, to)
        } else {
            from == to || to.kind == Kind::Device && self.has_right(&to.id, &from.id, Right::Push)
        };
        may.then_some(()).ok_or(Status::FORBIDDEN)
    }
    fn may_message(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        let may = from.kind == Kind::Application && self.hears(&from.id, to);
        may.then_some(()).ok_or(Status::FORBIDDEN)
    }
    fn may_send_out(&self, kind: MessageKind, from: &Principal, to: &Address) -> Result<(), Status> {
        if to.domain.as_ref().is_none_or(|domain| domain.as_str() != LINKED) {
            return Err(Status::WRONG_DOMAIN);
        }
        let granted = SENT_OUT.contains(&(from.to_string().as_str(), kind));
        granted.then_some(()).ok_or(Status::FORBIDDEN)
    }
    fn check(&self, principal: &Principal) -> Result<(), Status> {
        match principal.id.as_str() {
            "gone" => Err(Status::DELETED),
            _ => Ok(()),
        }
    }
}

/// The model: one topic at a time.
struct Model {
    bob: Rights,
}

impl Model {
    /// Whether a user has a right to the owner of a topic.
    fn user_has(&self, user: &str, owner: &str, right: Right) -> bool {
        owner == "dev/lamp" && (user == "usr/ann" || user == "usr/bob" && self.bob.includes(right))
    }

    /// Whether an application hears the owner of a topic, a device or a user.
    fn app_hears(app: &str, owner: &str) -> bool {
        let heard = match app {
            "app/all" => true,
            "app/one" => ["dev/lamp", "usr/bob"].contains(&owner),
            _ => false,
        };
        heard && (owner.starts_with("dev/") || owner.starts_with("usr/"))
    }

    fn may_hear(&self, who: &str, topic: &str) -> bool {
        let Some((owner, branch)) = parts(topic) else {
            return false;
        };
        if owner.contains('@') {
            let app = branch.strip_prefix("up/").and_then(|rest| rest.split('/').next());
            return app.is_some_and(|app| who == format!("app/{app}"));
        }
        let itself = who == owner;
        let word = branch.split('/').next().unwrap_or_default();
        match word {
            "status" | "down" => itself,
            "presence" => {
                itself || self.user_has(who, &owner, Right::Presence) || Model::app_hears(who, &owner)
            }
            "live" => itself || self.user_has(who, &owner, Right::Receive) || Model::app_hears(who, &owner),
            "up" | "ce" => {
                let app = branch.split('/').nth(1).unwrap_or_default();
                self.user_has(who, &owner, Right::Receive)
                    || who == format!("app/{app}") && Model::app_hears(who, &owner)
            }
            "ack" => self.user_has(who, &owner, Right::Receive),
            "in" => itself && who.starts_with("app/"),
            _ => false,
        }
    }

    fn may_publish(&self, who: &str, topic: &str) -> bool {
        let Some((owner, branch)) = parts(topic).filter(|(owner, _)| !owner.contains('@')) else {
            return false;
        };
        let itself = who == owner;
        let app = who.starts_with("app/");
        let words: Vec<&str> = branch.split('/').collect();
        let sent_out = |kind| itself && SENT_OUT.contains(&(who, kind));
        match words[0] {
            "up" if words[1].ends_with(LINKED) => sent_out(MessageKind::Upload),
            "to" if words[2].ends_with(LINKED) && words[1] == "app" => sent_out(MessageKind::Message),
            "to" if words[2].ends_with(LINKED) => sent_out(MessageKind::Push),
            "up" | "ce" => itself && !app && Model::app_hears(&format!("app/{}", words[1]), who),
            "ack" => itself,
            "live" => itself || self.user_has(who, &owner, Right::Push) || Model::app_hears(who, &owner),
            "to" => {
                let to = format!("{}/{}", words[1], words[2]);
                let reaches = match app {
                    true => Model::app_hears(who, &to) || (who, to.as_str()) == ("app/all", "app/one"),
                    false => who == to || self.user_has(who, &to, Right::Push),
                };
                itself && !who.starts_with("dev/") && !to.contains('@') && reaches
            }
            _ => false,
        }
    }
}

/// Owner and branch of a topic of the contract.
fn parts(topic: &str) -> Option<(String, &str)> {
    let mut words = topic.splitn(4, '/');
    let (version, kind, id, branch) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (version == "v1").then(|| (format!("{kind}/{id}"), branch))
}

/// The topics of these owners.
fn topics(owners: &[&str]) -> Vec<String> {
    let of = |owner: &&str| {
        let owner = (*owner).to_owned();
        BRANCHES.map(|branch| format!("v1/{owner}/{}", branch.replace("MID", MID)))
    };
    owners.iter().flat_map(of).collect()
}

/// Whatever a filter may match: the topics, the same under a word and a version that the contract does not have, and
/// those of the witnesses.
fn universe() -> Vec<String> {
    let mut universe = topics(&OWNERS);
    universe.extend(topics(&WITNESSES));
    let secret = |topic: &String| {
        let levels = topic.split('/').enumerate();
        let levels: Vec<&str> = levels
            .map(|(n, level)| if n == 3 { "secret" } else { level })
            .collect();
        levels.join("/")
    };
    universe.extend(universe.iter().map(secret).collect::<BTreeSet<_>>());
    let other = topics(&["dev/lamp", "usr/bob", "app/all"]);
    universe.extend(other.iter().map(|topic| topic.replacen("v1/", "v2/", 1)));
    universe.extend(OTHERS.map(str::to_owned));
    universe.extend(LET_IN.map(str::to_owned));
    universe
}

/// Every topic with up to three of its levels replaced by `+`, whole or cut short by `#`.
fn filters(topics: &[String]) -> BTreeSet<String> {
    let mut filters = BTreeSet::from(["#".to_owned(), "+/#".to_owned(), "/#".to_owned()]);
    for topic in topics {
        let levels: Vec<&str> = topic.split('/').collect();
        for mask in 0_u32..1 << levels.len() {
            if mask.count_ones() > 3 {
                continue;
            }
            let masked: Vec<&str> = levels
                .iter()
                .enumerate()
                .map(|(i, level)| if mask & 1 << i == 0 { *level } else { "+" })
                .collect();
            filters.insert(masked.join("/"));
            for kept in 1..=levels.len() {
                filters.insert(format!("{}/#", masked[..kept].join("/")));
            }
        }
    }
    filters
}

/// All sets of rights.
fn sets_of_rights() -> impl Iterator<Item = Rights> {
    (0_u8..8).map(|set| {
        let chosen = Right::ALL.into_iter().enumerate();
        chosen
            .filter(|(i, _)| set & 1 << i != 0)
            .map(|(_, right)| right)
            .collect()
    })
}

#[test]
fn a_filter_is_granted_if_and_only_if_all_it_matches_may_be_heard() {
    let universe = universe();
    let mut seeds = topics(&["dev/lamp", "usr/bob", "app/all"]);
    seeds.extend(OTHERS.map(str::to_owned));
    let filters: Vec<(String, Vec<usize>)> = filters(&seeds)
        .into_iter()
        .map(|filter| {
            let matched = |(n, topic): (usize, &String)| filter::matches(&filter, topic).then_some(n);
            let matched = universe.iter().enumerate().filter_map(matched).collect();
            (filter, matched)
        })
        .collect();
    let (mut granted, mut refused) = (0, 0);
    for bob in sets_of_rights() {
        let (house, model) = (House { bob }, Model { bob });
        for actor in ACTORS {
            if actor != "usr/bob" && bob != Rights::default() {
                continue;
            }
            let who: Principal = actor.parse().unwrap();
            let hears: Vec<bool> = universe
                .iter()
                .map(|topic| model.may_hear(actor, topic))
                .collect();
            for (filter, matched) in &filters {
                let expected = !matched.is_empty() && matched.iter().all(|topic| hears[*topic]);
                let is = subscribe(&who, filter, &house).is_ok();
                assert_eq!(is, expected, "{actor} with {bob:?}: {filter}");
                match is {
                    true => granted += 1,
                    false => refused += 1,
                }
            }
        }
    }
    assert!(granted > 500 && refused > 50_000, "{granted} {refused}");
}

#[test]
fn a_shared_filter_is_judged_by_what_stands_behind_its_group() {
    let house = House {
        bob: Rights::default(),
    };
    for filter in filters(&topics(&["dev/lamp"])) {
        let shared = format!("$share/group/{filter}");
        assert_eq!(split_share(&shared), (Some("group"), filter.as_str()));
        for actor in ACTORS {
            let who: Principal = actor.parse().unwrap();
            assert!(
                subscribe(&who, &shared, &house).is_err(),
                "{shared} is no plain filter"
            );
        }
    }
}

#[test]
fn nobody_hears_who_is_named_of_another_domain() {
    let house = House {
        bob: Rights::default(),
    };
    for filter in filters(&topics(&FOREIGN)) {
        if !filter.contains("@linked.example") || filter.split('/').nth(2).is_some_and(|id| !id.contains('@'))
        {
            continue;
        }
        for actor in ACTORS {
            let who: Principal = actor.parse().unwrap();
            assert!(subscribe(&who, &filter, &house).is_err(), "{actor}: {filter}");
        }
    }
}

#[test]
fn a_publish_is_taken_if_and_only_if_the_model_says_so() {
    let (mut taken, mut refused) = (0, 0);
    for bob in sets_of_rights() {
        let (house, model) = (House { bob }, Model { bob });
        for actor in ACTORS {
            let who: Principal = actor.parse().unwrap();
            for text in universe().into_iter().chain(topics(&FOREIGN)) {
                let expected = model.may_publish(actor, &text);
                let is = match Topic::parse(&text) {
                    Ok(topic) => publish(&who, &topic, &house),
                    Err(_) => Err(Status::MALFORMED),
                };
                assert_eq!(is.is_ok(), expected, "{actor} with {bob:?}: {text}");
                if text.starts_with(&format!("v1/{actor}/to/")) && text.contains("@far.example") {
                    assert_ne!(is, Ok(()), "{text}");
                }
                if parts(&text).is_some_and(|(owner, _)| owner.contains('@')) {
                    assert!(
                        matches!(is, Err(Status::WRONG_DOMAIN | Status::MALFORMED)),
                        "{text}: {is:?}"
                    );
                }
                match is {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(taken > 100 && refused > 1_000, "{taken} {refused}");
}
