//! Keep Alive (3.1.2.10).

use std::time::{Duration, Instant};

/// When a silent client is given up: after one and a half keep-alive times without a packet [MQTT-3.1.2-22].
#[derive(Debug)]
pub(crate) struct KeepAlive {
    last: Instant,
    /// One and a half keep-alive times; zero: off.
    patience: Duration,
    /// Reading was paused since the last packet, so its silence says nothing.
    excused: bool,
}

impl KeepAlive {
    pub(crate) fn new(keep_alive: Duration, now: Instant) -> Self {
        Self {
            last: now,
            patience: keep_alive + keep_alive / 2,
            excused: false,
        }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.last = now;
        self.excused = false;
    }

    /// We stopped reading: what the client sends meanwhile is not seen.
    pub(crate) fn excuse(&mut self) {
        self.excused = true;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.patience.is_zero()).then(|| self.last + self.patience)
    }

    /// Whether the client is to be given up now. A client we did not listen to gets its time again.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|at| now < at) {
            return false;
        }
        if self.excused {
            self.heard(now);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_a_half_times() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::new(Duration::from_secs(10), start);
        assert_eq!(keep_alive.deadline(), Some(at(15)));
        assert!(!keep_alive.is_over(at(14)));
        keep_alive.heard(at(14));
        assert!(!keep_alive.is_over(at(28)));
        assert!(keep_alive.is_over(at(29)));
    }

    #[test]
    fn zero_is_off() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(Duration::ZERO, start);
        assert_eq!(keep_alive.deadline(), None);
        assert!(!keep_alive.is_over(start + Duration::from_secs(1_000_000)));
    }

    #[test]
    fn not_listening_excuses_silence() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keep_alive = KeepAlive::new(Duration::from_secs(10), start);
        keep_alive.excuse();
        assert!(!keep_alive.is_over(at(20)));
        assert!(!keep_alive.is_over(at(34)));
        assert!(keep_alive.is_over(at(35)));
    }
}
