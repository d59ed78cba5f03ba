//! Lengths of time as a person writes them: `"500ms"`, `"30s"`, `"15m"`, `"24h"`; a clock's error with its sign.

use std::fmt;
use std::time::Duration;

use irsp_protocol::api::app::Period;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    pub const fn from_millis(ms: u64) -> Span {
        Span(Duration::from_millis(ms))
    }

    pub const fn as_duration(self) -> Duration {
        self.0
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// In the unit of observations.
    pub fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// So many times as long, to the millisecond.
    pub fn times(self, factor: f64) -> Span {
        Span::from_millis((self.0.as_millis() as f64 * factor).round() as u64)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(duration)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms % 1000 != 0 => write!(f, "{ms}ms"),
            ms => write!(f, "{}s", ms / 1000),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A bare number is refused: nobody can tell what it counts.
        let named = text.ends_with(['s', 'm', 'h', 'd']);
        let period = text.parse::<Period>().ok().filter(|_| named);
        period.map(|Period(duration)| Span(duration)).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no length of time such as 500ms, 30s, 15m or 24h"
            ))
        })
    }
}

/// By how much a clock is wrong: `"-2h"` is behind, `"90s"` ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    pub behind: bool,
    pub by: Span,
}

impl Skew {
    /// Milliseconds to add to the right time.
    pub fn as_millis(self) -> i64 {
        let ms = i64::try_from(self.by.0.as_millis()).unwrap_or(i64::MAX);
        if self.behind { -ms } else { ms }
    }
}

impl Serialize for Skew {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", if self.behind { "-" } else { "" }, self.by))
    }
}

impl<'de> Deserialize<'de> for Skew {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Skew, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (behind, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(&text)),
        };
        let by = Span::deserialize(serde::de::value::StrDeserializer::<D::Error>::new(rest))?;
        Ok(Skew { behind, by })
    }
}
