//! Which subscriptions a topic name matches: a tree with one level of the filter per step.
//!
//! Matching walks the tree once and allocates only for what it finds. `+` and `#` stand in their own places
//! beside the literal children, and neither matches a first level that begins with `$` [MQTT-4.7.2-1].

use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;
use irsp_session::QoS;

use crate::sessions::mailbox::Mailbox;

/// One subscription of one session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) options: Options,
}

/// The options of a subscription [MQTT-3.8.3].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<u32>,
}

/// The subscription tree.
#[derive(Debug, Default)]
pub(crate) struct Index {
    root: Node,
    len: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    plus: Option<Box<Node>>,
    /// Subscriptions whose filter ends here.
    here: Subscribers,
    /// Subscriptions whose filter ends with `#` below here.
    below: Subscribers,
}

#[derive(Debug, Default)]
struct Subscribers {
    each: Vec<Subscription>,
    groups: Vec<Group>,
}

/// A shared subscription: one member hears each message [MQTT-4.8.2]. Keyed by (group, filter): the filter is the place
/// in the tree.
#[derive(Debug)]
struct Group {
    name: Box<str>,
    /// Group and filter: what tells this one from others.
    key: Arc<str>,
    members: Vec<Subscription>,
    turn: std::sync::atomic::AtomicUsize,
}

impl Index {
    /// Adds or replaces a subscription; `true` if it is new [MQTT-3.8.4-3].
    pub(crate) fn insert(&mut self, group: Option<&str>, filter: &str, subscription: Subscription) -> bool {
        let new = self.root.subscribers(filter).insert(group, filter, subscription);
        self.len += usize::from(new);
        new
    }

    /// Removes a subscription; `true` if there was one.
    pub(crate) fn remove(&mut self, group: Option<&str>, filter: &str, mailbox: &Mailbox) -> bool {
        let removed = self
            .root
            .remove(filter, &mut |subscribers| subscribers.remove(group, mailbox));
        self.len -= usize::from(removed);
        removed
    }

    /// Calls `found` for each subscription that matches, and once for each matching group with the member whose turn
    /// it is. One session may be found more than once.
    pub(crate) fn matches<'a>(&'a self, topic: &str, found: &mut dyn FnMut(&'a Subscription)) {
        self.root
            .matches(Some(topic), topic.starts_with('$'), &mut |here| {
                here.each_match(found)
            });
    }

    /// Calls `found` for each subscription that matches, those of all members of the matching groups among them, each
    /// with its group's key.
    pub(crate) fn candidates<'a>(
        &'a self,
        topic: &str,
        found: &mut dyn FnMut(Option<&'a Arc<str>>, &'a Subscription),
    ) {
        self.root
            .matches(Some(topic), topic.starts_with('$'), &mut |here| {
                here.each
                    .iter()
                    .for_each(|subscription| found(None, subscription));
                for group in &here.groups {
                    let members = group.members.iter();
                    members.for_each(|member| found(Some(&group.key), member));
                }
            });
    }

    /// Calls `found` with the member whose turn it is of each matching group that is among `shared`: filters as a client wrote
    /// them.
    pub(crate) fn members_of<'a>(
        &'a self,
        shared: &[ByteString],
        topic: &str,
        found: &mut dyn FnMut(&'a Subscription),
    ) {
        let is_among = |group: &&Group| {
            let mut keys = shared.iter().filter_map(|filter| filter.strip_prefix("$share/"));
            keys.any(|key| *key == *group.key)
        };
        self.root
            .matches(Some(topic), topic.starts_with('$'), &mut |here| {
                let groups = here.groups.iter().filter(is_among);
                groups.filter_map(Group::choose).for_each(&mut *found);
            });
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Node {
    fn subscribers(&mut self, filter: &str) -> &mut Subscribers {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return &mut node.below,
                "+" => node.plus.get_or_insert_default(),
                literal => node.children.entry(literal.into()).or_default(),
            };
        }
        &mut node.here
    }

    /// Removes at the end of `filter` and prunes what became empty on the way back.
    fn remove(&mut self, filter: &str, take: &mut dyn FnMut(&mut Subscribers) -> bool) -> bool {
        let (level, rest) = first_level(filter);
        if level == "#" {
            return take(&mut self.below);
        }
        let Some(child) = (if level == "+" {
            self.plus.as_deref_mut()
        } else {
            self.children.get_mut(level)
        }) else {
            return false;
        };
        let removed = match rest {
            Some(rest) => child.remove(rest, take),
            None => take(&mut child.here),
        };
        if child.is_empty() {
            if level == "+" {
                self.plus = None;
            } else {
                self.children.remove(level);
            }
        }
        removed
    }

    /// Calls `visit` at each place where a matching filter ends.
    fn matches<'a>(&'a self, topic: Option<&str>, dollar: bool, visit: &mut dyn FnMut(&'a Subscribers)) {
        if !dollar {
            visit(&self.below);
        }
        let Some(topic) = topic else {
            return visit(&self.here);
        };
        let (level, rest) = first_level(topic);
        if let Some(child) = self.children.get(level) {
            child.matches(rest, false, visit);
        }
        if !dollar && let Some(child) = &self.plus {
            child.matches(rest, false, visit);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

impl Group {
    /// Whose turn it is. One that is connected and has room is preferred, and one that is away comes last: what it is given
    /// waits.
    fn choose(&self) -> Option<&Subscription> {
        let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let members = &self.members;
        let order = (0..members.len()).map(|step| &members[(turn.wrapping_add(step)) % members.len()]);
        order
            .clone()
            .find(|member| member.mailbox.is_connected() && !member.mailbox.is_full())
            .or_else(|| order.clone().find(|member| member.mailbox.is_connected()))
            .or_else(|| order.clone().next())
    }
}

impl Subscribers {
    fn insert(&mut self, group: Option<&str>, filter: &str, subscription: Subscription) -> bool {
        let members = match group {
            None => &mut self.each,
            Some(name) => {
                let at = self
                    .groups
                    .iter()
                    .position(|group| &*group.name == name)
                    .unwrap_or_else(|| {
                        self.groups.push(Group {
                            name: name.into(),
                            key: format!("{name}/{filter}").into(),
                            members: Vec::new(),
                            turn: 0.into(),
                        });
                        self.groups.len() - 1
                    });
                &mut self.groups[at].members
            }
        };
        match members
            .iter_mut()
            .find(|member| Arc::ptr_eq(&member.mailbox, &subscription.mailbox))
        {
            Some(member) => {
                *member = subscription;
                false
            }
            None => {
                members.push(subscription);
                true
            }
        }
    }

    fn remove(&mut self, group: Option<&str>, mailbox: &Mailbox) -> bool {
        let removed = match group {
            None => remove_from(&mut self.each, mailbox),
            Some(name) => match self.groups.iter_mut().find(|group| &*group.name == name) {
                Some(group) => remove_from(&mut group.members, mailbox),
                None => false,
            },
        };
        self.groups.retain(|group| !group.members.is_empty());
        removed
    }

    fn each_match<'a>(&'a self, found: &mut dyn FnMut(&'a Subscription)) {
        self.each.iter().for_each(&mut *found);
        self.groups.iter().filter_map(Group::choose).for_each(found);
    }

    fn is_empty(&self) -> bool {
        self.each.is_empty() && self.groups.is_empty()
    }
}

/// The first level, and the levels behind it. Levels are short: a search for one byte, not `split_once`, whose set-up costs more.
fn first_level(levels: &str) -> (&str, Option<&str>) {
    match levels.bytes().position(|byte| byte == b'/') {
        Some(at) => (&levels[..at], Some(&levels[at + 1..])),
        None => (levels, None),
    }
}

fn remove_from(members: &mut Vec<Subscription>, mailbox: &Mailbox) -> bool {
    match members
        .iter()
        .position(|member| std::ptr::eq(&*member.mailbox, mailbox))
    {
        Some(at) => {
            members.swap_remove(at);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(mailbox: &Arc<Mailbox>) -> Subscription {
        let options = Options {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        Subscription {
            mailbox: Arc::clone(mailbox),
            options,
        }
    }

    fn hears(filter: &str, topic: &str) -> bool {
        let mut index = Index::default();
        let mailbox = Mailbox::for_tests("usr/ann");
        index.insert(None, filter, subscription(&mailbox));
        let mut count = 0;
        index.matches(topic, &mut |_| count += 1);
        assert!(count <= 1);
        assert!(index.remove(None, filter, &mailbox));
        assert!(
            index.root.is_empty() && index.len() == 0,
            "{filter} leaves nothing behind"
        );
        count == 1
    }

    /// The examples of MQTT 5.0 chapter 4.7.
    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("#", "sport/tennis", true),
            ("#", "$SYS/monitor", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/+", "$SYS/monitor", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
        ] {
            assert_eq!(hears(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_group_hears_each_message_once_in_turn() {
        let mut index = Index::default();
        let (ann, bob) = (Mailbox::for_tests("usr/ann"), Mailbox::for_tests("usr/bob"));
        for mailbox in [&ann, &bob] {
            assert!(index.insert(Some("g"), "a/#", subscription(mailbox)));
            assert!(
                !index.insert(Some("g"), "a/#", subscription(mailbox)),
                "replaced, not doubled"
            );
        }
        let mut heard = [0, 0];
        for _ in 0..10 {
            index.matches("a/b", &mut |found| {
                heard[usize::from(Arc::ptr_eq(&found.mailbox, &bob))] += 1
            });
        }
        assert_eq!(heard, [5, 5]);
        assert!(index.remove(Some("g"), "a/#", &ann));
        index.matches("a/b", &mut |found| assert!(Arc::ptr_eq(&found.mailbox, &bob)));
    }
}
