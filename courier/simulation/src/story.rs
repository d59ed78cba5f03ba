//! One story: a time of random steps and faults, then quiet, in which everything has to end, then judgement.

use std::collections::BTreeSet;
use std::time::Duration;

use irsp_protocol::Server as Name;

use crate::client::Wish;
use crate::fault::Fault;
use crate::home::Home;
use crate::link::Link;
use crate::oracle::Rule;
use crate::plan::Clocks;
use crate::world::{Failure, World};

/// How long the quiet time may last: a clock that jumped is noticed within minutes, and nothing waits for longer.
const QUIET_MAX: Duration = Duration::from_secs(2 * 3600);
/// Rounds in which nothing has moved, or time has not: more than that is spinning.
const ROUNDS_MAX: u32 = 20_000;

/// What happened in a story that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Messages accepted by all servers.
    pub accepted: u64,
    /// Messages from one domain to another that were done.
    pub abroad: u64,
    /// Links between domains that were made.
    pub links: u64,
    pub crashes: u64,
    /// True time that passed.
    pub passed: Duration,
}

/// Tells the story of a seed.
pub fn tell(seed: u64, fault: Option<Fault>) -> Result<Told, Failure> {
    let mut world = World::new(seed, fault)?;
    let mut crashes = 0;
    for _ in 0..world.plan.steps {
        crashes += step(&mut world)?;
    }
    settle(&mut world)?;
    let mut accepted = 0;
    for server in &world.servers {
        accepted += server
            .ledger()?
            .kinds
            .iter()
            .map(|kind| kind.accepted)
            .sum::<u64>();
    }
    Ok(Told {
        accepted,
        abroad: world.oracle.done_abroad(),
        links: world.links_made,
        crashes,
        passed: world.time.passed(),
    })
}

/// One random step; says how many processes it has ended.
fn step(world: &mut World) -> Result<u64, Failure> {
    if world.plan.domains > 1 && world.dice.chance(350) {
        world.link_step()?;
        return Ok(0);
    }
    let place = world.dice.place(world.servers.len());
    if world.sleeps(place) {
        pass(world);
        return Ok(0);
    }
    if world.dice.chance(world.plan.crashes) {
        if world.dice.chance(300) {
            world.commit_and_crash(place)?;
        } else {
            world.crash(place)?;
        }
        return Ok(1);
    }
    if world.dice.chance(world.plan.disk_faults)
        && let Some(server) = world.servers.get(place)
    {
        server.fill_disk(world.dice.chance(400))?;
    }
    if world.plan.clocks != Clocks::Steady && world.dice.chance(10) {
        world.jump(place);
    }
    // With many servers, one step each brings a message nowhere.
    if world.plan.domains > 1 && world.dice.chance(350) {
        turn(world, place)?;
        return Ok(0);
    }
    match world.dice.range(0, 99) {
        0..=19 => client(world)?,
        20..=24 => world.start_or_attach(place)?,
        25..=39 => world.commit(place)?,
        40..=59 => while world.dice.chance(700) && world.event(place)? {},
        60..=66 => world.read(place)?,
        67..=73 => {
            world.next_read(place)?;
        }
        74..=86 => while world.dice.chance(600) && world.receive(place)? {},
        87..=92 => {
            world.timer(place)?;
        }
        93..=94 => world.operate(place)?,
        _ => pass(world),
    }
    Ok(0)
}

/// A client does something.
fn client(world: &mut World) -> Result<(), Failure> {
    let device = world.dice.place(world.devices.len());
    let number = world.next_number();
    let Some(at) = world.devices.get(device).cloned() else {
        return Ok(());
    };
    if world.asleep.contains(&at.home) {
        return Ok(());
    }
    match world.dice.range(0, 19) {
        0 if world.plan.domains > 1 => {
            let to = world.plan.any_home(&mut world.dice);
            if to == at.home {
                return Ok(());
            }
            let wish = Wish::message(&mut world.dice, &world.plan, (at.home, to), number);
            world.wish(wish)
        }
        0..=4 => {
            let wish = Wish::upload(&mut world.dice, &world.plan, &at, number);
            world.wish(wish)
        }
        5..=9 => {
            let wish = Wish::push(&mut world.dice, &world.plan, &at, number);
            world.wish(wish)
        }
        10 => {
            world.change();
            Ok(())
        }
        11..=12 => {
            let numbers: Vec<u64> = world.wishes.keys().copied().collect();
            let nth = world.dice.place(numbers.len());
            numbers.get(nth).map_or(Ok(()), |number| world.ask(*number))
        }
        13..=15 => world.connect(device),
        16 => world.disconnect(device),
        _ => {
            let given = world.devices.get(device).map_or(0, |device| device.given.len());
            let nth = world.dice.place(given);
            world.answer(device, nth)
        }
    }
}

fn pass(world: &mut World) {
    let ms = match world.dice.range(0, 9) {
        0..=4 => world.dice.range(0, 50),
        5..=7 => world.dice.range(50, 1_000),
        8 => world.dice.range(1_000, 10_000),
        _ => world.dice.range(10_000, 60_000),
    };
    world.advance(Duration::from_millis(ms));
}

/// No more faults: everybody is there, nothing is lost, and time passes until nothing is under way.
fn settle(world: &mut World) -> Result<(), Failure> {
    world.quiet = true;
    world.mute.clear();
    world.asleep.clear();
    for place in 0..world.servers.len() {
        if let Some(server) = world.servers.get_mut(place) {
            server.fill_disk(false)?;
            server.quiet();
            if server.process.is_none() {
                world.start(place)?;
            }
        }
    }
    if come_to_rest(world)? {
        return judge(world);
    }
    // A clock that jumps by months outlives the news of an end, and so does a short memory; its origin then waits for its
    // own clock.
    if world.plan.may_forget() {
        world.advance(world.plan.lifetime_by_any_clock());
        if come_to_rest(world)? {
            return judge(world);
        }
    }
    let mut left = String::new();
    for server in &world.servers {
        left.push_str(&format!("{}: {:?} ", server.site, server.in_flight()?));
    }
    Ok(world.oracle.broken(Rule::Stuck, left)?)
}

/// Moves everybody and time until nothing is under way; says whether it came to that.
fn come_to_rest(world: &mut World) -> Result<bool, Failure> {
    let end = world.time.passed() + QUIET_MAX;
    for round in 0..ROUNDS_MAX {
        if world.time.passed() > end {
            break;
        }
        let moved = everybody(world)?;
        if !moved && at_rest(world)? {
            return Ok(true);
        }
        if !moved {
            wait(world);
        }
        if round % 512 == 511 {
            for place in 0..world.servers.len() {
                world.check_disk(place)?;
            }
        }
    }
    Ok(false)
}

/// Everybody does what is to be done now. Says whether anything was.
fn everybody(world: &mut World) -> Result<bool, Failure> {
    let mut moved = false;
    let open: Vec<u64> = world
        .wishes
        .iter()
        .filter(|(_, wish)| !wish.asked)
        .map(|(number, _)| *number)
        .collect();
    for number in open {
        world.ask(number)?;
        moved = true;
    }
    for device in 0..world.devices.len() {
        if world.devices.get(device).is_some_and(|device| !device.present) {
            world.connect(device)?;
            moved = true;
        }
        while world
            .devices
            .get(device)
            .is_some_and(|device| !device.given.is_empty())
        {
            world.answer(device, 0)?;
            moved = true;
        }
    }
    moved |= world.link_all()?;
    for place in 0..world.servers.len() {
        moved |= turn(world, place)?;
    }
    Ok(moved)
}

/// A server does what is to be done now.
fn turn(world: &mut World, place: usize) -> Result<bool, Failure> {
    let mut moved = false;
    while world.receive(place)? {
        moved = true;
    }
    moved |= world.timer(place)?;
    world.commit(place)?;
    while world.event(place)? {
        moved = true;
    }
    world.read(place)?;
    moved |= world.next_read(place)?;
    Ok(moved)
}

/// Nothing is under way, asked for or in flight.
fn at_rest(world: &World) -> Result<bool, Failure> {
    let mut in_flight = 0;
    for server in &world.servers {
        in_flight += server.ledger()?.in_flight();
        let waiting = server
            .process
            .as_ref()
            .map_or(0, |process| process.courier.waiting_jobs());
        in_flight += u64::try_from(waiting).unwrap_or(u64::MAX);
    }
    let carries = world.links.iter().any(Link::carries);
    Ok(in_flight == 0 && world.wishes.is_empty() && !carries && world.bus.next_arrival().is_none())
}

/// Until the next frame or timer, or a little.
fn wait(world: &mut World) {
    let mut by = Duration::from_secs(60);
    if let Some(at) = world.bus.next_arrival() {
        by = by.min(at.saturating_sub(world.time.passed()));
    }
    for server in &world.servers {
        let wake = server
            .process
            .as_ref()
            .and_then(|process| process.courier.next_wake());
        if let Some(wake) = wake {
            by = by.min(wake.saturating_duration_since(server.now().instant));
        }
    }
    // A clock that is slow has to get there as well.
    world.advance(by + by / 16 + Duration::from_micros(100));
}

fn judge(world: &mut World) -> Result<(), Failure> {
    for place in 0..world.servers.len() {
        world.check_disk(place)?;
    }
    let (mut effects, mut departures, mut deletions) = (Vec::new(), Vec::new(), Vec::new());
    for server in &world.servers {
        let home = server.site.home;
        match server.site.server {
            Name::App => {
                effects.push((home, server.effects()?));
                departures.push((home, server.departures()?));
            }
            Name::Account => deletions.push((home, server.deletions()?)),
            Name::Message => {}
        }
    }
    world.oracle.judge(&effects)?;
    world.oracle.judge_departures(&deletions, &departures)?;
    for home in Home::all(world.plan.domains) {
        let mut last = BTreeSet::new();
        for server in world.servers.iter().filter(|server| server.site.home == home) {
            last.insert(server.last_change()?);
        }
        if world.plan.clocks != Clocks::Months && last.len() > 1 {
            return Ok(world
                .oracle
                .broken(Rule::Lost, format!("changes known in {home:?}: {last:?}"))?);
        }
    }
    world.check_memory()
}
