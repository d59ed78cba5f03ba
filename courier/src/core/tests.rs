//! The core in conversation with a disk in memory, with time given by the test.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use irsp_protocol::{MessageKind, PushOptions};
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    server: Window {
        count: 4,
        bytes: 1000,
    },
    peer: Window {
        count: 4,
        bytes: 1000,
    },
    principal: Window {
        count: 4,
        bytes: 1000,
    },
    application: Window {
        count: 4,
        bytes: 1000,
    },
    retry_min: Duration::from_secs(1),
    retry_max: Duration::from_secs(4),
};

type Rows = Vec<(i64, Arc<Envelope>)>;

fn lamp() -> Principal {
    "dev/lamp-1".parse().unwrap()
}

fn lamp_hop() -> Hop {
    Hop::Principal(lamp())
}

const APP: Hop = Hop::Server(Server::App);

fn id(seq: i64) -> MessageId {
    MessageId::from_bytes((seq as u128).to_be_bytes())
}

fn envelope(seq: i64) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: id(seq),
        kind: MessageKind::Push,
        source: "app/climate".parse().unwrap(),
        destination: "dev/lamp-1".parse().unwrap(),
        channel: None,
        time: Timestamp::from_millis(0),
        expires: Timestamp::from_millis(1_000_000),
        sender_id: None,
        content_type: None,
        options: PushOptions::default(),
        attributes: Vec::new(),
        data: Bytes::from_static(b"on"),
    })
}

/// A core, the rows on its disk, and what it has sent.
struct World {
    core: Core,
    disk: BTreeMap<i64, Hop>,
    sent: Vec<i64>,
    /// Where each stood when it was sent.
    places: Vec<Place>,
    loads: Vec<Load>,
    next: i64,
    start: Instant,
    elapsed: Duration,
}

impl World {
    fn new() -> World {
        let mut world = World {
            core: Core::new(Server::Message, LIMITS, 1),
            disk: BTreeMap::new(),
            sent: Vec::new(),
            places: Vec::new(),
            loads: Vec::new(),
            next: 0,
            start: Instant::now(),
            elapsed: Duration::ZERO,
        };
        world.act();
        world.load_all();
        world
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start + self.elapsed,
            wall: Timestamp::from_millis(0).plus(self.elapsed),
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send { sendings, .. } => {
                    for sending in sendings {
                        self.sent.push(sending.place.seq);
                        self.places.push(sending.place);
                    }
                }
                Action::Load(load) => self.loads.push(load),
                Action::Remember { .. } => {}
            }
        }
    }

    fn load_all(&mut self) {
        while !self.loads.is_empty() {
            let load = self.loads.remove(0);
            let (rows, rest) = self.read(&load);
            let now = self.now();
            self.core.loaded(&load, rows, rest, now);
            self.act();
        }
    }

    fn read(&self, load: &Load) -> (Rows, Rest) {
        let mut waiting = self
            .disk
            .range(load.after + 1..)
            .filter(|(_, hop)| **hop == load.hop);
        let rows: Vec<_> = waiting
            .by_ref()
            .take(load.count)
            .map(|(seq, _)| (*seq, envelope(*seq)))
            .collect();
        let rest = match waiting.next() {
            None => Rest::Nothing,
            Some(_) => Rest::More,
        };
        (rows, rest)
    }

    fn store(&mut self, hop: &Hop) -> i64 {
        self.next += 1;
        self.disk.insert(self.next, hop.clone());
        let now = self.now();
        self.core.stored(hop, self.next, &envelope(self.next), now);
        self.act();
        self.next
    }

    fn leave(&mut self, hop: &Hop, seq: i64) {
        self.disk.remove(&seq);
        let now = self.now();
        self.core.left(hop, id(seq), Leaving::Answered, now);
        self.act();
    }

    fn present(&mut self) {
        self.core.present(lamp());
        self.act();
    }

    fn pass(&mut self, time: Duration) {
        self.elapsed += time;
        let now = self.now();
        self.core.handle_timeout(now);
        self.act();
    }

    fn taken(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.sent)
    }
}

#[test]
fn a_place_names_the_one_before_it_that_is_unanswered() {
    let mut world = World::new();
    let places = |world: &mut World| -> Vec<(i64, i64)> {
        world
            .places
            .drain(..)
            .map(|place| (place.seq, place.after))
            .collect()
    };
    let [one, two, three] = [world.store(&APP), world.store(&APP), world.store(&APP)];
    assert_eq!(places(&mut world), [(one, 0), (two, one), (three, two)]);
    world.leave(&APP, two);
    let now = world.now();
    world.core.heard(Server::App, now);
    world.act();
    assert_eq!(places(&mut world), [(one, 0), (three, one)]);
    world.leave(&APP, one);
    let four = world.store(&APP);
    assert_eq!(places(&mut world), [(four, three)]);
    world.leave(&APP, three);
    world.leave(&APP, four);
    let five = world.store(&APP);
    assert_eq!(places(&mut world), [(five, 0)]);
}

#[test]
fn what_is_stored_for_a_present_hop_goes_out_at_once() {
    let mut world = World::new();
    world.store(&APP);
    world.store(&APP);
    assert_eq!(world.taken(), [1, 2]);
}

#[test]
fn an_absent_hop_takes_no_memory_and_gets_everything_in_order_when_it_comes() {
    let mut world = World::new();
    for _ in 0..10 {
        world.store(&lamp_hop());
    }
    assert!(world.taken().is_empty() && world.core.principals.is_empty());
    world.present();
    world.load_all();
    assert_eq!(world.taken(), [1, 2, 3, 4]);
    for seq in 1..=10 {
        world.leave(&lamp_hop(), seq);
        world.load_all();
    }
    assert_eq!(world.taken(), [5, 6, 7, 8, 9, 10]);
}

#[test]
fn what_a_principal_left_unanswered_is_sent_again_when_it_returns_and_not_before() {
    let mut world = World::new();
    world.present();
    world.load_all();
    world.store(&lamp_hop());
    world.store(&lamp_hop());
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.taken(), [1, 2]);
    world.leave(&lamp_hop(), 1);
    world.core.absent(&lamp());
    world.present();
    world.load_all();
    assert_eq!(world.taken(), [2]);
}

#[test]
fn the_time_of_first_sending_outlives_a_takeover() {
    let mut world = World::new();
    world.present();
    world.load_all();
    world.store(&lamp_hop());
    let first = world.core.sent_at(&lamp_hop(), id(1));
    world.pass(Duration::from_secs(5));
    world.present();
    world.load_all();
    assert!(first.is_some());
    assert_eq!(world.core.sent_at(&lamp_hop(), id(1)), first);
}

#[test]
fn an_unanswered_envelope_is_repeated_with_growing_waits() {
    let mut world = World::new();
    world.store(&APP);
    world.taken();
    let mut waits = Vec::new();
    for _ in 0..5 {
        let wait = world.core.next_timeout().unwrap() - world.now().instant;
        world.pass(wait);
        assert_eq!(world.taken(), [1]);
        waits.push(wait.as_millis());
    }
    for (wait, full) in waits.iter().zip([1000, 2000, 4000, 4000, 4000]) {
        assert!((full * 3 / 4..=full).contains(wait), "{waits:?}");
    }
    world.leave(&APP, 1);
    assert_eq!(world.core.next_timeout(), None);
}

#[test]
fn a_server_that_is_heard_again_gets_everything_at_once() {
    let mut world = World::new();
    world.store(&APP);
    world.pass(Duration::from_secs(1));
    world.pass(Duration::from_secs(2));
    world.taken();
    let now = world.now();
    world.core.heard(Server::App, now);
    world.act();
    assert_eq!(world.taken(), [1]);
}

#[test]
fn what_is_stored_behind_a_full_window_of_a_server_is_not_read_back() {
    let mut world = World::new();
    for _ in 0..10 {
        world.store(&APP);
    }
    assert_eq!(world.taken(), [1, 2, 3, 4]);
    let waits = id(6);
    let now = world.now();
    world.disk.remove(&6);
    let gone = world.core.left(&APP, waits, Leaving::Unanswered, now);
    assert_eq!(gone.map(|envelope| envelope.id), Some(waits));
    for seq in [1, 2, 3, 4, 5] {
        world.leave(&APP, seq);
    }
    assert_eq!(world.taken(), [5, 7, 8, 9, 10]);
    assert!(world.loads.is_empty());
}

#[test]
fn what_is_stored_behind_a_full_window_of_a_principal_stays_on_disk() {
    let mut world = World::new();
    world.present();
    world.load_all();
    for _ in 0..5 {
        world.store(&lamp_hop());
    }
    world.leave(&lamp_hop(), 1);
    world.leave(&lamp_hop(), 2);
    assert_eq!((world.taken(), world.loads.len()), (vec![1, 2, 3, 4], 1));
}

#[test]
fn what_left_while_it_was_being_read_is_not_sent() {
    let mut world = World::new();
    world.store(&lamp_hop());
    world.store(&lamp_hop());
    world.present();
    let load = world.loads.remove(0);
    let (rows, rest) = world.read(&load);
    world.leave(&lamp_hop(), 1);
    let now = world.now();
    world.core.loaded(&load, rows, rest, now);
    world.act();
    assert_eq!(world.taken(), [2]);
}

#[test]
fn what_left_and_was_stored_anew_while_it_was_being_read_is_sent_once() {
    for read_before in [true, false] {
        let mut world = World::new();
        world.store(&lamp_hop());
        world.present();
        let load = world.loads.remove(0);
        let before = world.read(&load);
        world.leave(&lamp_hop(), 1);
        let now = world.now();
        world.core.stored(&lamp_hop(), 2, &envelope(1), now);
        let page = if read_before {
            before
        } else {
            (vec![(2, envelope(1))], Rest::Nothing)
        };
        world.core.loaded(&load, page.0, page.1, now);
        world.act();
        for load in std::mem::take(&mut world.loads) {
            let rows = vec![(2, envelope(1))]
                .into_iter()
                .filter(|(seq, _)| *seq > load.after);
            world.core.loaded(&load, rows.collect(), Rest::Nothing, now);
            world.act();
        }
        assert_eq!(world.taken(), [2], "read before: {read_before}");
    }
}

#[test]
fn what_is_stored_anew_is_sent_again_by_its_new_sending_alone() {
    let mut world = World::new();
    world.store(&APP);
    world.store(&APP);
    world.leave(&APP, 1);
    world.pass(Duration::from_millis(500));
    let now = world.now();
    world.core.stored(&APP, 3, &envelope(1), now);
    world.act();
    assert_eq!(world.taken(), [1, 2, 3]);
    world.pass(Duration::from_millis(600));
    assert_eq!(world.taken(), [2]);
    world.pass(Duration::from_millis(1450));
    assert_eq!(world.taken(), [3]);
}

#[test]
fn what_is_stored_while_the_disk_is_read_follows_in_order() {
    let mut world = World::new();
    world.store(&lamp_hop());
    world.present();
    let load = world.loads.remove(0);
    let (rows, rest) = world.read(&load);
    world.store(&lamp_hop());
    let now = world.now();
    world.core.loaded(&load, rows, rest, now);
    world.act();
    world.load_all();
    world.store(&lamp_hop());
    assert_eq!(world.taken(), [1, 2, 3]);
}

#[test]
fn an_answer_to_an_earlier_life_of_the_lane_is_ignored() {
    let mut world = World::new();
    world.store(&lamp_hop());
    world.present();
    let old = world.loads.remove(0);
    world.core.absent(&lamp());
    world.present();
    let (rows, rest) = world.read(&old);
    let now = world.now();
    world.core.loaded(&old, rows, rest, now);
    world.act();
    assert!(world.taken().is_empty());
    world.load_all();
    assert_eq!(world.taken(), [1]);
}

#[test]
fn a_failed_read_is_tried_again() {
    let mut world = World::new();
    world.store(&lamp_hop());
    world.present();
    let load = world.loads.remove(0);
    let now = world.now();
    world.core.load_failed(&load, now);
    world.pass(RELOAD_WAIT);
    world.load_all();
    assert_eq!(world.taken(), [1]);
}

#[derive(Clone, Debug)]
enum Step {
    Store,
    Answer(usize),
    Present,
    Absent,
    ReadStart,
    ReadEnd,
    Expire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Store),
        4 => (0usize..4).prop_map(Step::Answer),
        1 => Just(Step::Present),
        1 => Just(Step::Absent),
        2 => Just(Step::ReadStart),
        3 => Just(Step::ReadEnd),
        1 => (0usize..8).prop_map(Step::Expire),
    ]
}

proptest! {
    /// Whatever happens between reads and writes: within one presence everything is sent once and in order, the
    /// window is kept, and in the end nothing is left behind.
    #[test]
    fn a_principal_gets_everything_in_order_and_nothing_twice(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        let hop = lamp_hop();
        let mut reading: Option<(Load, Rows, Rest)> = None;
        let mut under_way: BTreeSet<i64> = BTreeSet::new();
        let mut last = 0;
        let mut there = false;
        for step in steps {
            match step {
                Step::Store => {
                    world.store(&hop);
                }
                Step::Answer(n) => {
                    if let Some(seq) = under_way.iter().nth(n).copied() {
                        under_way.remove(&seq);
                        world.leave(&hop, seq);
                    }
                }
                Step::Expire(n) => {
                    if let Some(seq) = world.disk.keys().nth(n).copied() {
                        under_way.remove(&seq);
                        world.leave(&hop, seq);
                    }
                }
                Step::Present => {
                    world.present();
                    (there, last) = (true, 0);
                    under_way.clear();
                }
                Step::Absent => {
                    world.core.absent(&lamp());
                    world.act();
                    there = false;
                    under_way.clear();
                }
                Step::ReadStart => {
                    if reading.is_none() && !world.loads.is_empty() {
                        let load = world.loads.remove(0);
                        let (rows, rest) = world.read(&load);
                        reading = Some((load, rows, rest));
                    }
                }
                Step::ReadEnd => {
                    if let Some((load, rows, rest)) = reading.take() {
                        let now = world.now();
                        world.core.loaded(&load, rows, rest, now);
                        world.act();
                    }
                }
            }
            for seq in world.taken() {
                prop_assert!(there, "sent {seq} to nobody");
                prop_assert!(seq > last, "sent {seq} after {last}");
                prop_assert!(world.disk.contains_key(&seq), "sent {seq}, which has left");
                last = seq;
                under_way.insert(seq);
            }
            prop_assert!(under_way.len() <= LIMITS.principal.count);
        }
        if let Some((load, rows, rest)) = reading.take() {
            let now = world.now();
            world.core.loaded(&load, rows, rest, now);
            world.act();
        }
        world.core.absent(&lamp());
        world.taken();
        world.present();
        world.load_all();
        let waiting: Vec<i64> = world.disk.keys().copied().collect();
        let mut got = Vec::new();
        loop {
            let sent = world.taken();
            if sent.is_empty() {
                break;
            }
            for seq in &sent {
                world.leave(&hop, *seq);
                world.load_all();
            }
            got.extend(sent);
        }
        prop_assert_eq!(got, waiting);
    }
}

#[derive(Clone, Debug)]
enum Turn {
    /// Stores so many.
    Store(usize),
    /// The nth of those under way is answered.
    Answer(usize),
    /// The nth of those on disk ends, sent or not.
    Expire(usize),
    ReadStart,
    ReadEnd,
    ReadFails,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (1usize..4).prop_map(Turn::Store),
        1 => (20usize..50).prop_map(Turn::Store),
        8 => (0usize..4).prop_map(Turn::Answer),
        2 => (0usize..40).prop_map(Turn::Expire),
        2 => Just(Turn::ReadStart),
        3 => Just(Turn::ReadEnd),
        1 => Just(Turn::ReadFails),
    ]
}

proptest! {
    /// A server gets everything once and in order, whether it waited in memory or on disk, and never what has left; its
    /// window is kept, and in the end nothing is left behind.
    #[test]
    fn a_server_gets_everything_in_order_from_memory_and_from_disk(steps in prop::collection::vec(turn(), 0..150)) {
        let mut world = World::new();
        let mut reading: Option<(Load, Rows, Rest)> = None;
        let mut under_way: BTreeSet<i64> = BTreeSet::new();
        let mut last = 0;
        let steps = steps.into_iter().chain([Turn::ReadEnd, Turn::ReadStart, Turn::ReadEnd]);
        for step in steps {
            match step {
                Turn::Store(count) => for _ in 0..count {
                    world.store(&APP);
                },
                Turn::Answer(n) => {
                    if let Some(seq) = under_way.iter().nth(n).copied() {
                        under_way.remove(&seq);
                        world.leave(&APP, seq);
                    }
                }
                Turn::Expire(n) => {
                    if let Some(seq) = world.disk.keys().nth(n).copied() {
                        under_way.remove(&seq);
                        world.leave(&APP, seq);
                    }
                }
                Turn::ReadStart => {
                    if reading.is_none() && !world.loads.is_empty() {
                        let load = world.loads.remove(0);
                        let (rows, rest) = world.read(&load);
                        reading = Some((load, rows, rest));
                    }
                }
                Turn::ReadEnd => {
                    if let Some((load, rows, rest)) = reading.take() {
                        let now = world.now();
                        world.core.loaded(&load, rows, rest, now);
                        world.act();
                    }
                }
                Turn::ReadFails => {
                    if let Some((load, _, _)) = reading.take() {
                        let now = world.now();
                        world.core.load_failed(&load, now);
                        // Not so long that anything is sent again.
                        world.core.reload_at = Some(now.instant);
                        world.pass(Duration::ZERO);
                    }
                }
            }
            for seq in world.taken() {
                prop_assert!(seq > last, "sent {seq} after {last}");
                prop_assert!(world.disk.contains_key(&seq), "sent {seq}, which has left");
                last = seq;
                under_way.insert(seq);
            }
            prop_assert!(under_way.len() <= LIMITS.server.count);
        }
        loop {
            world.load_all();
            for seq in world.taken() {
                prop_assert!(seq > last, "sent {seq} after {last}");
                last = seq;
                under_way.insert(seq);
            }
            let Some(seq) = under_way.pop_first() else {
                break;
            };
            world.leave(&APP, seq);
        }
        prop_assert!(world.disk.is_empty(), "{:?} are not sent", world.disk);
    }
}

#[test]
fn what_expires_says_nothing_of_whether_the_other_side_lives() {
    let mut world = World::new();
    let sent = |world: &mut World, wait_ms: u64| {
        world.pass(Duration::from_millis(wait_ms));
        world.taken().len()
    };
    let one = world.store(&APP);
    assert_eq!((sent(&mut world, 0), sent(&mut world, 1_000)), (1, 1));
    // From here on the wait is two seconds, less a quarter at most.
    world.disk.remove(&one);
    let now = world.now();
    world.core.left(&APP, id(one), Leaving::Unanswered, now);
    let two = world.store(&APP);
    assert_eq!((sent(&mut world, 0), sent(&mut world, 1_000)), (1, 0));
    assert_eq!(sent(&mut world, 1_000), 1);
    world.leave(&APP, two);
    world.store(&APP);
    assert_eq!((sent(&mut world, 0), sent(&mut world, 1_000)), (1, 1));
}

#[test]
fn what_has_expired_holds_up_what_is_behind_it_until_it_has_ended() {
    let mut world = World::new();
    let (one, two) = (world.store(&lamp_hop()), world.store(&lamp_hop()));
    world.present();
    let load = world.loads.remove(0);
    let now = world.now();
    world.core.loaded(&load, Vec::new(), Rest::Expired, now);
    world.act();
    assert!(world.loads.is_empty(), "nothing spins meanwhile");
    world.leave(&lamp_hop(), one);
    world.load_all();
    assert_eq!(world.taken(), [two]);

    let three = world.store(&lamp_hop());
    assert_eq!(world.taken(), [three], "caught up");
    world.present();
    let load = world.loads.remove(0);
    let now = world.now();
    world.core.loaded(&load, Vec::new(), Rest::Expired, now);
    world.act();
    // Its clock has jumped back, so nothing has ended.
    world.pass(RELOAD_WAIT);
    world.load_all();
    assert_eq!(world.taken(), [two, three]);
}

#[test]
fn a_paced_peer_is_sent_a_second_at_once_and_the_rest_in_order_at_its_rate() {
    let mut world = World::new();
    let peer = Domain::new("b.example").unwrap();
    let hop = Hop::Peer(peer.clone());
    for _ in 0..5 {
        world.store(&hop);
    }
    world.core.linked(peer, NonZeroU32::new(2), 1);
    world.act();
    world.load_all();
    assert_eq!(world.taken(), [1, 2]);
    for seq in 1..=5 {
        world.leave(&hop, seq);
        world.load_all();
        if (2..5).contains(&seq) {
            assert!(world.taken().is_empty(), "an answer makes no room in the pace");
            world.pass(Duration::from_millis(499));
            world.load_all();
            assert!(world.taken().is_empty());
            world.pass(Duration::from_millis(1));
            world.load_all();
            assert_eq!(world.taken(), [seq + 1]);
        }
    }
    assert_eq!(
        (world.store(&hop), world.taken()),
        (6, vec![]),
        "what is stored while nobody waits keeps the pace too"
    );
    world.elapsed += Duration::from_secs(1);
    assert_eq!(
        (world.store(&hop), world.taken()),
        (7, vec![]),
        "it stands behind what waits"
    );
    let turn = world.core.next_timeout();
    assert!(
        turn.is_some_and(|turn| turn <= world.now().instant),
        "whose turn has come"
    );
    world.pass(Duration::ZERO);
    world.load_all();
    assert_eq!(world.taken(), [6, 7]);
    world.pass(LIMITS.retry_max);
    assert!(world.taken().is_empty(), "a link is given time to answer");
}
