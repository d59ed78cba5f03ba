//! The oracle finds what is made wrong on purpose; otherwise its silence about the courier would mean nothing.

use irsp_courier_simulation::{Failure, Fault, Rule, tell};

/// Stories told until the fault shows.
const SEEDS: u64 = 500;

/// Whether a story with this fault is found to break this promise.
fn is_found(fault: Fault, rule: Rule) -> bool {
    (0..SEEDS).any(|seed| match tell(seed, Some(fault)) {
        Ok(_) => false,
        Err(Failure::Broken(violation)) => violation.rule == rule,
        Err(other) => panic!("{fault:?}, seed {seed}: {other}"),
    })
}

#[test]
fn every_fault_is_found_by_the_promise_it_breaks() {
    let expected = [
        (Fault::Forgetful, Rule::EffectTwice),
        (Fault::EarlyAck, Rule::Lost),
        (Fault::Dropped, Rule::Residue),
        (Fault::Revived, Rule::EndedTwice),
        (Fault::Eager, Rule::EffectTwice),
        (Fault::Wide, Rule::Window),
        (Fault::Heavy, Rule::Window),
        (Fault::Hasty, Rule::Spinning),
        (Fault::Once, Rule::Stuck),
        (Fault::Shuffled, Rule::Order),
        (Fault::Misreported, Rule::Disagreement),
        (Fault::Overtaken, Rule::Order),
        (Fault::Recounted, Rule::Residue),
        (Fault::Hoarding, Rule::Memory),
        (Fault::Archived, Rule::Memory),
        (Fault::Estranged, Rule::Disagreement),
        (Fault::Untold, Rule::Lost),
        (Fault::Crowded, Rule::Window),
    ];
    assert_eq!(expected.map(|(fault, _)| fault), Fault::ALL);
    for (fault, rule) in expected {
        assert!(is_found(fault, rule), "{fault:?} does not break {rule:?}");
    }
}
