//! A few hundred stories, none of which may break a promise. A failing one is told again by its seed:
//! `SIMULATION_SEED=17 cargo test -p irsp-courier-simulation --test seeds`.

use irsp_courier_simulation::tell;

const SEEDS: u64 = 200;

fn seeds() -> Vec<u64> {
    match std::env::var("SIMULATION_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIMULATION_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

#[test]
fn no_story_breaks_a_promise() {
    let (mut accepted, mut crashes) = (0, 0);
    for seed in seeds() {
        match tell(seed, None) {
            Ok(told) => {
                accepted += told.accepted;
                crashes += told.crashes;
            }
            Err(failure) => panic!("SIMULATION_SEED={seed}: {failure}"),
        }
    }
    assert!(accepted > 0, "nothing was accepted in {crashes} crashes");
}

#[test]
fn a_seed_tells_the_same_story_again() {
    for seed in 0..20 {
        assert_eq!(tell(seed, None).unwrap(), tell(seed, None).unwrap());
    }
}
