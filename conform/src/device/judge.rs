//! What pauses say about a device. Pure: it is given lengths of time.

use std::time::Duration;

/// A device that comes back sooner does not wait at all.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Whoever waits so long need not wait longer.
pub const PAUSE_LONG: Duration = Duration::from_secs(5);
/// The pauses before the same attempt of two rounds differ by this part of the longer one, at least once,
const JITTER_PART: f64 = 0.05;
/// and by more than what a busy machine adds.
const JITTER_MIN: Duration = Duration::from_millis(100);

/// No pause is next to nothing.
pub fn waits(pauses: &[Duration]) -> Result<(), String> {
    match pauses.iter().min() {
        Some(least) if *least >= PAUSE_MIN => Ok(()),
        _ => Err(format!(
            "a pause of {PAUSE_MIN:?} or more before each attempt, not {pauses:?}"
        )),
    }
}

/// Pauses grow while nothing succeeds: the last is twice the first, or long.
pub fn grows(pauses: &[Duration]) -> Result<(), String> {
    match (pauses.first(), pauses.last()) {
        (Some(first), Some(last)) if pauses.len() > 1 && (*last >= *first * 2 || *last >= PAUSE_LONG) => {
            Ok(())
        }
        _ => Err(format!(
            "pauses that double up to {PAUSE_LONG:?} or more, not {pauses:?}"
        )),
    }
}

/// Two rounds are not alike: devices that lost one server together do not come back together.
pub fn varies(one: &[Duration], other: &[Duration]) -> Result<(), String> {
    let differ = |(one, other): (&Duration, &Duration)| {
        let (one, other) = (one.as_secs_f64(), other.as_secs_f64());
        (one - other).abs() > (JITTER_PART * one.max(other)).max(JITTER_MIN.as_secs_f64())
    };
    if one.iter().zip(other).any(differ) {
        Ok(())
    } else {
        Err(format!(
            "pauses of two rounds that differ by chance, not {one:?} and {other:?}"
        ))
    }
}

/// A session that was taken over is fetched back slowly or not at all.
pub fn keeps_peace(pauses: &[Duration]) -> Result<(), String> {
    if pauses.is_empty() || pauses.iter().all(|pause| *pause >= PAUSE_LONG) {
        return Ok(());
    }
    waits(pauses).and_then(|()| grows(pauses))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(pauses: &[u64]) -> Vec<Duration> {
        pauses.iter().map(|ms| Duration::from_millis(*ms)).collect()
    }

    #[test]
    fn the_contracts_back_off_is_fine_and_a_tight_loop_is_not() {
        for good in [
            &[750, 1_600, 2_100, 7_900][..],
            &[150, 200, 300, 310],
            &[6_000, 5_100],
            &[60_000, 30_000],
        ] {
            assert_eq!((waits(&ms(good)), grows(&ms(good))), (Ok(()), Ok(())), "{good:?}");
        }
        for bad in [&[][..], &[3, 5, 4, 6], &[800, 20, 3_000]] {
            assert!(waits(&ms(bad)).is_err(), "{bad:?}");
        }
        for bad in [&[][..], &[500], &[500, 500, 500, 510], &[1_000, 4_000, 1_000]] {
            assert!(grows(&ms(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rounds_that_are_alike_have_no_jitter() {
        assert!(varies(&ms(&[500, 1_000, 2_000]), &ms(&[505, 1_010, 1_990])).is_err());
        assert!(varies(&ms(&[500, 1_000, 2_000]), &ms(&[505, 1_010, 1_500])).is_ok());
        assert!(varies(&ms(&[500, 1_000]), &ms(&[560, 1_090])).is_err());
        assert!(varies(&ms(&[500]), &[]).is_err());
    }

    #[test]
    fn who_fights_for_a_session_is_told_from_who_does_not() {
        for good in [&[][..], &[6_000, 5_500], &[400, 700, 1_500]] {
            assert!(keeps_peace(&ms(good)).is_ok(), "{good:?}");
        }
        for bad in [&[5, 8, 3][..], &[1_000, 1_000, 1_000]] {
            assert!(keeps_peace(&ms(bad)).is_err(), "{bad:?}");
        }
    }
}
