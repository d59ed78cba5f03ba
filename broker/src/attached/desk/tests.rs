use super::*;

fn id(n: u8) -> MessageId {
    MessageId::from_bytes([n; 16])
}

fn alone(member: &'static str) -> Candidate<&'static str> {
    Candidate { group: None, member }
}

fn of(group: &str, member: &'static str) -> Candidate<&'static str> {
    Candidate {
        group: Some(group.into()),
        member,
    }
}

/// A desk whose items are the senders' names, and what each client was given, in order.
#[derive(Default)]
struct Story {
    desk: Desk<&'static str, String>,
    given: Vec<(&'static str, u8)>,
}

impl Story {
    fn comes(&mut self, n: u8, source: &str, candidates: &[Candidate<&'static str>]) {
        let number = self
            .desk
            .take(id(n), source.parse().unwrap(), || source.to_owned());
        let given = self.desk.settle(number, candidates);
        self.given.extend(given.into_iter().map(|to| (to.member, n)));
    }

    /// The clients have changed.
    fn again(&mut self, candidates: &[Candidate<&'static str>]) {
        for number in self.desk.numbers() {
            let n = self.desk.open[&number].id.as_bytes()[0];
            let given = self.desk.settle(number, candidates);
            self.given.extend(given.into_iter().map(|to| (to.member, n)));
        }
    }

    fn given_to(&self, member: &str) -> Vec<u8> {
        self.given
            .iter()
            .filter(|(to, _)| *to == member)
            .map(|(_, n)| *n)
            .collect()
    }
}

#[test]
fn who_subscribes_alone_is_given_everything_once() {
    let mut story = Story::default();
    story.comes(1, "dev/a", &[alone("x")]);
    story.comes(1, "dev/a", &[alone("x")]);
    story.comes(2, "dev/b", &[alone("x"), alone("y")]);
    assert_eq!(story.given, [("x", 1), ("x", 2), ("y", 2)]);
    story.again(&[alone("x"), alone("y")]);
    assert_eq!(
        story.given_to("y"),
        [2, 1],
        "whoever comes later is given what is open"
    );
    story.desk.ended(id(1));
    story.desk.ended(id(2));
    assert!(story.desk.is_idle());
}

#[test]
fn a_group_shares_and_keeps_each_senders_order() {
    let group = [of("g", "x"), of("g", "y")];
    let mut story = Story::default();
    for n in 0..40 {
        story.comes(n, &format!("dev/{}", n % 4), &group);
    }
    let (x, y) = (story.given_to("x"), story.given_to("y"));
    assert_eq!((x.len(), y.len()), (20, 20), "the load is even");
    for sender in 0..4 {
        let of_x = x.iter().filter(|n| *n % 4 == sender).count();
        assert!(of_x == 0 || of_x == 10, "sender {sender} went to one member");
    }
    for n in 0..40 {
        story.desk.ended(id(n));
    }
    assert!(story.desk.is_idle());
}

#[test]
fn the_work_of_a_lost_member_goes_to_the_living_in_order() {
    let mut story = Story::default();
    for n in 1..=12 {
        story.comes(n, &format!("dev/{}", n % 3), &[of("g", "x"), of("g", "y")]);
    }
    let lost = story.given_to("x");
    let before = story.given_to("y");
    story.desk.ended(id(lost[0]));
    story.again(&[of("g", "y")]);
    let taken_over = story.given_to("y")[before.len()..].to_vec();
    assert_eq!(
        taken_over,
        lost[1..],
        "what was unanswered, in order, and nothing else"
    );
    story.again(&[of("g", "y"), of("g", "z")]);
    assert!(
        story.given_to("z").is_empty(),
        "a sender stays while it has something open"
    );
    story.comes(20, "dev/1", &[of("g", "y"), of("g", "z")]);
    assert!(story.given_to("z").is_empty());
    story.comes(21, "dev/new", &[of("g", "y"), of("g", "z")]);
    assert_eq!(
        story.given_to("z"),
        [21],
        "a new sender goes to whoever has least"
    );
}

#[test]
fn what_nobody_takes_is_open_until_somebody_does() {
    let mut story = Story::default();
    story.comes(1, "dev/a", &[]);
    assert_eq!(story.given, []);
    story.again(&[of("g", "x"), alone("z"), of("h", "x")]);
    assert_eq!(story.given, [("x", 1), ("z", 1), ("x", 1)]);
    story.again(&[]);
    story.again(&[of("g", "x")]);
    assert_eq!(story.given.len(), 4, "whoever comes back is given it again");
    story.desk.ended(id(1));
    assert!(story.desk.is_idle());
}

#[test]
fn what_a_member_has_left_behind_is_with_others_until_it_ends() {
    let mut story = Story::default();
    let both = [of("g", "x"), of("g", "y")];
    story.comes(1, "dev/a", &both[..1]);
    assert!(!story.desk.is_with_others(id(1), &"x"), "it has it");
    story.again(&both[1..]);
    assert_eq!(story.given, [("x", 1), ("y", 1)]);
    assert!(story.desk.is_with_others(id(1), &"x"));
    assert!(!story.desk.is_with_others(id(1), &"y"));
    story.comes(2, "dev/b", &[alone("z")]);
    assert!(
        !story.desk.is_with_others(id(2), &"x"),
        "nobody has it for the group"
    );
    story.desk.ended(id(1));
    assert!(!story.desk.is_with_others(id(1), &"x"));
}

#[test]
fn a_message_is_taken_back_only_from_whom_it_was_given_to_then() {
    let mut story = Story::default();
    let both = [of("g", "x"), of("g", "y")];
    story.comes(1, "dev/a", &both[..1]);
    let failed = story.desk.as_given(id(1)).unwrap();
    story.again(&both[1..]);
    assert_eq!(story.given, [("x", 1), ("y", 1)]);
    assert_eq!(story.desk.take_back(failed), None, "another works at it");
    let failed = story.desk.as_given(id(1)).unwrap();
    assert!(story.desk.take_back(failed).is_some());
    story.again(&both);
    assert_eq!(story.given.len(), 3);
    story.desk.clear();
    assert!(story.desk.is_idle());
    story.comes(1, "dev/a", &both[..1]);
    assert_eq!(
        story.desk.take_back(failed),
        None,
        "given anew to a client that came later"
    );
}
