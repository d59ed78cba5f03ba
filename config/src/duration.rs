//! Durations as a person writes them: `"500ms"`, `"30s"`, `"15m"`, `"18h"`, `"7d"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use thiserror::Error;

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a duration: write a whole number and a unit (ms, s, m, h or d), such as \"30s\"")]
pub struct NotADuration;

/// The units, each with its length in milliseconds; longest first, for printing.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads one number and one unit; a bare number is refused, because nobody can tell what it counts.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(NotADuration)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| NotADuration)?;
    let (_, length) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or(NotADuration)?;
    number
        .checked_mul(*length)
        .map(Duration::from_millis)
        .ok_or(NotADuration)
}

/// Writes a duration in the longest unit that needs no fraction, so that it reads as it was written.
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = UNITS
        .iter()
        .find(|(_, length)| millis != 0 && millis.is_multiple_of(*length));
    let (unit, length) = exact.unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / length)
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(NotADuration))?;
    parse(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        for (text, millis) in [
            ("1ms", 1),
            ("1500ms", 1_500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("18h", 64_800_000),
            ("7d", 604_800_000),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(duration));
            assert_eq!(format(duration), text);
        }
        assert_eq!(parse(" 30 s "), Ok(Duration::from_secs(30)));
        assert_eq!(format(Duration::ZERO), "0s");
        assert_eq!(format(Duration::from_secs(60)), "1m");
    }

    #[test]
    fn what_is_not_a_number_and_a_unit_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5h",
            "30 seconds",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(text), Err(NotADuration), "{text:?}");
        }
    }
}
