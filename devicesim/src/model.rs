//! When a source sends, and which value: rates with jitter, the rhythm of a day, payload models. Pure.

pub(crate) mod trace;

use std::time::Duration;

use crate::dice::Dice;
use crate::scenario::{Payload, Uploads};

pub use trace::{Trace, TraceFault, trace};

/// Hours of a day.
const HOURS: f64 = 24.0;

/// A source of messages: each time it is asked, when the next one is due and what it says.
#[derive(Clone, Debug)]
pub struct Model {
    dice: Dice,
    every_s: f64,
    jitter: f64,
    rhythm: Option<Rhythm>,
    values: Values,
    /// The unjittered clock: seconds since the start, each as long as the rhythm makes it.
    at_s: f64,
    /// Between the message before and this one, on that clock; the first has none before it.
    before_s: Option<f64>,
}

#[derive(Clone, Debug)]
struct Rhythm {
    day_s: f64,
    hours: Vec<f64>,
}

#[derive(Clone, Debug)]
enum Values {
    Constant(f64),
    Walk { at: f64, min: f64, max: f64, step: f64 },
    Trace { trace: Trace, next: usize },
}

impl Rhythm {
    /// When so many seconds have passed on a clock that runs as fast as each hour is busy: through a busy hour fast, not
    /// at all through one without any upload.
    fn real(&self, clock_s: f64) -> f64 {
        let hour_s = self.day_s / HOURS;
        let in_a_day: f64 = self.hours.iter().map(|busy| busy * hour_s).sum();
        if in_a_day <= 0.0 {
            return clock_s;
        }
        let days = (clock_s / in_a_day).floor();
        let mut rest = clock_s - days * in_a_day;
        let mut at_s = days * self.day_s;
        for busy in &self.hours {
            if rest < busy * hour_s {
                return at_s + rest / busy;
            }
            rest -= busy * hour_s;
            at_s += hour_s;
        }
        at_s
    }
}

/// One message that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Since the start of the work.
    pub at: Duration,
    /// As JSON.
    pub value: String,
}

impl Model {
    /// `day` is how long a day of the rhythm lasts.
    pub fn new(uploads: &Uploads, day: Duration, mut dice: Dice, trace: Option<Trace>) -> Model {
        let values = match (&uploads.payload, trace) {
            (Payload::Replay { .. }, Some(trace)) if !trace.is_empty() => {
                let next = dice.below(trace.len());
                Values::Trace { trace, next }
            }
            (Payload::RandomWalk { min, max, step }, _) => Values::Walk {
                at: min + dice.unit() * (max - min),
                min: *min,
                max: *max,
                step: *step,
            },
            (Payload::Constant { value }, _) => Values::Constant(*value),
            (Payload::Replay { .. }, _) => Values::Constant(0.0),
        };
        let every_s = uploads.every.as_secs_f64();
        Model {
            at_s: dice.unit() * every_s,
            before_s: None,
            dice,
            every_s,
            jitter: uploads.jitter,
            rhythm: uploads.rhythm.clone().map(|hours| Rhythm {
                day_s: day.as_secs_f64().max(0.001),
                hours,
            }),
            values,
        }
    }

    /// A steady source without values, at its own phase.
    pub fn steady(every: Duration, jitter: f64, mut dice: Dice) -> Model {
        let every_s = every.as_secs_f64();
        Model {
            at_s: dice.unit() * every_s,
            before_s: None,
            dice,
            every_s,
            jitter,
            rhythm: None,
            values: Values::Constant(0.0),
        }
    }

    /// The next message.
    pub fn next_due(&mut self) -> Due {
        let (pause, value) = self.value();
        let step = match pause {
            Some(pause) => pause.as_secs_f64(),
            None => self.every_s,
        };
        // At most half way to its neighbours: they are sent in their order.
        let offset = (self.dice.unit() - 0.5) * self.jitter;
        let room = if offset < 0.0 {
            self.before_s.unwrap_or(step)
        } else {
            step
        };
        // What jitter moves before the beginning comes as long after it: a fleet then begins at the rate it goes on with.
        let at_s = (self.at_s + offset * room).abs();
        self.at_s += step;
        self.before_s = Some(step);
        let at_s = self.rhythm.as_ref().map_or(at_s, |rhythm| rhythm.real(at_s));
        Due {
            at: Duration::from_secs_f64(at_s),
            value,
        }
    }

    fn value(&mut self) -> (Option<Duration>, String) {
        match &mut self.values {
            Values::Constant(value) => (None, number(*value)),
            Values::Walk { at, min, max, step } => {
                *at = (*at + (self.dice.unit() * 2.0 - 1.0) * *step).clamp(*min, *max);
                (None, number(*at))
            }
            Values::Trace { trace, next } => {
                let (pause, value) = &trace[*next];
                *next = (*next + 1) % trace.len();
                (Some(*pause), value.clone())
            }
        }
    }
}

/// A value with at most three digits behind the point.
fn number(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    serde_json::Number::from_f64(rounded).map_or_else(|| "null".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads(text: &str) -> Uploads {
        toml::from_str(&format!("channel = \"c\"\nevery = \"1s\"\n{text}")).unwrap()
    }

    fn model(text: &str, seed: u64) -> Model {
        Model::new(&uploads(text), Duration::from_secs(24), Dice::new(seed, 0), None)
    }

    fn times(model: &mut Model, count: usize) -> Vec<f64> {
        (0..count).map(|_| model.next_due().at.as_secs_f64()).collect()
    }

    #[test]
    fn without_jitter_it_is_a_metronome_at_its_own_phase() {
        let times = times(&mut model("", 3), 50);
        assert!(times[0] < 1.0);
        for pair in times.windows(2) {
            assert!((pair[1] - pair[0] - 1.0).abs() < 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn jitter_moves_each_by_at_most_half_of_it_and_keeps_the_rate() {
        let times = times(&mut model("jitter = 0.8", 3), 100);
        for (n, at) in times.iter().enumerate() {
            assert!((at - times[0] - n as f64).abs() <= 0.8, "{n} {at}");
        }
    }

    #[test]
    fn a_fleet_with_jitter_begins_at_the_rate_it_goes_on_with() {
        let mut tenths = [0u32; 20];
        for seed in 0..4_000 {
            for at in times(&mut model("jitter = 1.0", seed), 4) {
                if let Some(tenth) = tenths.get_mut((at * 10.0) as usize) {
                    *tenth += 1;
                }
            }
        }
        assert!(
            tenths.iter().all(|count| (330..470).contains(count)),
            "{tenths:?}"
        );
    }

    /// What is due before the one that was sent before it would be late from the beginning.
    #[test]
    fn whatever_the_rhythm_and_the_jitter_each_is_due_after_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "10,1\n5000,2\n100,3\n2000,4\n").unwrap();
        let rhythm = "rhythm = [0.1,0.1,3,3,0,0,9,0.1,1,1,1,1,1,1,1,1,1,2,3,3,2,2,1,0.5]";
        for seed in 0..200 {
            let replay = uploads(&format!(
                "jitter = 1.0\n{rhythm}\npayload = {{ model = \"replay\", file = \"t.csv\" }}"
            ));
            let trace = trace(&path).unwrap();
            let day = Duration::from_secs(24);
            for mut model in [
                model(&format!("jitter = 1.0\n{rhythm}"), seed),
                Model::new(&replay, day, Dice::new(seed, 0), Some(trace)),
            ] {
                let times = times(&mut model, 100);
                assert!(
                    times.windows(2).all(|pair| pair[0] <= pair[1]),
                    "{seed}: {times:?}"
                );
            }
        }
    }

    #[test]
    fn a_fleet_begins_at_the_rate_of_its_first_hour() {
        let rhythm = format!("jitter = 1.0\nrhythm = [{}]", ["0.1"; 24].join(","));
        let mut seconds = [0u32; 30];
        for seed in 0..1_000 {
            for at in times(&mut model(&rhythm, seed), 4) {
                if let Some(second) = seconds.get_mut(at as usize) {
                    *second += 1;
                }
            }
        }
        assert!(
            seconds.iter().all(|count| (65..140).contains(count)),
            "{seconds:?}"
        );
    }

    #[test]
    fn the_rhythm_says_how_many_fall_into_each_hour() {
        let hours: Vec<String> = (0..24)
            .map(|hour| {
                if hour == 7 {
                    "20.0"
                } else if hour < 12 {
                    "2.0"
                } else {
                    "0.0"
                }
                .to_owned()
            })
            .collect();
        let mut model = model(&format!("rhythm = [{}]", hours.join(",")), 1);
        let mut per_hour = [0; 24];
        loop {
            let at = model.next_due().at.as_secs_f64();
            if at >= 48.0 {
                break;
            }
            per_hour[at as usize % 24] += 1;
        }
        assert_eq!(per_hour[12..].iter().sum::<i32>(), 0, "{per_hour:?}");
        assert!((36..=44).contains(&per_hour[7]), "{per_hour:?}");
        assert!((2..=6).contains(&per_hour[3]), "{per_hour:?}");
    }

    #[test]
    fn a_walk_stays_within_its_bounds_and_its_step() {
        let mut model = model(
            "payload = { model = \"random-walk\", min = 10.0, max = 11.0, step = 0.25 }",
            9,
        );
        let values: Vec<f64> = (0..500)
            .map(|_| model.next_due().value.parse().unwrap())
            .collect();
        assert!(values.iter().all(|value| (10.0..=11.0).contains(value)));
        assert!(values.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= 0.2511));
        assert!(values.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_trace_is_replayed_with_its_pauses_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "# from a meter\n100,1.5\n\n300,{\"w\":2}\n").unwrap();
        let trace = trace(&path).unwrap();
        let text = "payload = { model = \"replay\", file = \"t.csv\" }";
        let mut model = Model::new(
            &uploads(text),
            Duration::from_secs(24),
            Dice::new(1, 0),
            Some(trace),
        );
        let dues: Vec<Due> = (0..5).map(|_| model.next_due()).collect();
        for pair in dues.windows(2) {
            let expected = if pair[0].value == "1.5" { 0.1 } else { 0.3 };
            let pause = (pair[1].at - pair[0].at).as_secs_f64();
            assert!((pause - expected).abs() < 1e-6, "{pair:?}");
            assert_ne!(pair[0].value, pair[1].value);
        }
        for (text, fault) in [
            ("abc", "line 1"),
            ("1,2\n3;4", "line 2"),
            ("1,}", "line 1"),
            ("", "no line"),
            ("0,1", "no time"),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = super::trace(&path).unwrap_err().to_string();
            assert!(said.contains(fault), "{text:?}: {said}");
        }
    }
}
