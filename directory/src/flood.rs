//! How many refused logins are written down: a flood of them must not fill the disk. Pure: the caller gives the time.

use irsp_protocol::Timestamp;

/// Lines at once after a quiet time.
const BURST: u32 = 100;
/// After that, one line in this time: at most some ten megabytes a day.
const EVERY_MS: u64 = 1_000;

/// A bucket that fills with time.
#[derive(Debug)]
pub struct Flood {
    lines: u32,
    filled: Timestamp,
    unwritten: u64,
}

impl Flood {
    pub fn new(now: Timestamp) -> Flood {
        Flood {
            lines: BURST,
            filled: now,
            unwritten: 0,
        }
    }

    /// Whether a line may be written now; if so, how many were not since the last.
    pub fn admit(&mut self, now: Timestamp) -> Option<u64> {
        // A clock set back fills nothing and holds up nothing for longer than it was set back.
        if now < self.filled {
            self.filled = now;
        }
        let due = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX) / EVERY_MS;
        if due > 0 {
            self.lines = u32::try_from(due)
                .unwrap_or(BURST)
                .saturating_add(self.lines)
                .min(BURST);
            self.filled = now;
        }
        if self.lines == 0 {
            self.unwritten += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.unwritten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_written_as_one_line_a_second_that_says_how_many_it_stands_for() {
        let at = Timestamp::from_millis;
        let mut flood = Flood::new(at(0));
        let written = (0..1_000).filter(|_| flood.admit(at(10)) == Some(0)).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(flood.admit(at(999)), None);
        assert_eq!(flood.admit(at(1_000)), Some(1_000 - u64::from(BURST) + 1));
        assert_eq!(flood.admit(at(1_001)), None);
        assert_eq!(flood.admit(at(3_600_000)), Some(1));
        assert_eq!(
            (0..1_000)
                .filter(|_| flood.admit(at(3_600_000)).is_some())
                .count(),
            BURST as usize - 1
        );
    }

    #[test]
    fn a_clock_set_back_silences_nothing() {
        let at = Timestamp::from_millis;
        let mut flood = Flood::new(at(1_000_000));
        while flood.admit(at(1_000_000)).is_some() {}
        assert_eq!(flood.admit(at(0)), None);
        assert!(flood.admit(at(1_000)).is_some());
    }
}
