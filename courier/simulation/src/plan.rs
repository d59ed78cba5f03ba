//! What a seed decides once: how bad the bus, the clocks and the machines are, and how the couriers are set.

use std::time::Duration;

use irsp_courier::Settings;

use crate::dice::Dice;
use crate::home::Home;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than any story with clocks that jump by hours.
const LONG: Duration = DAY.saturating_mul(60);

/// Fewer than a story has messages, and more.
const FEW: u64 = 10;
const MANY: u64 = 10_000_000;

/// How far the clocks that people read may be off the true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    Steady,
    Hours,
    /// Further than what is remembered: repeats may be taken for new, so only the rest is promised.
    Months,
}

impl Clocks {
    pub(crate) fn off_max(self) -> Duration {
        match self {
            Clocks::Steady => Duration::ZERO,
            Clocks::Hours => DAY / 4,
            Clocks::Months => 90 * DAY,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) domains: usize,
    pub(crate) settings: Settings,
    pub(crate) clocks: Clocks,
    /// Millionths.
    pub(crate) drift_max: i64,
    /// Receipts, and senders' ids with them, are forgotten within the story.
    pub(crate) forgets: bool,
    /// So are envelopes seen: repeats may be taken for new.
    pub(crate) forgets_seen: bool,
    pub(crate) steps: u64,
    /// Of a thousand frames.
    pub(crate) lost: u32,
    pub(crate) repeated: u32,
    pub(crate) late: u32,
    /// Of a thousand steps.
    pub(crate) crashes: u32,
    pub(crate) disk_faults: u32,
    /// Of a thousand effects.
    pub(crate) moods: u32,
    /// Of a thousand messages.
    pub(crate) short_lived: u32,
    /// Of a thousand occasions: that a link is cut, that two domains cannot reach each other, and that it stays so for
    /// long; that a message server takes no notice of its peers; that a domain stands still.
    pub(crate) cuts: u32,
    pub(crate) partitions: u32,
    pub(crate) absence: u32,
    pub(crate) mute: u32,
    /// Of a thousand frames of a link, to or from such a server.
    pub(crate) unheard: u32,
    pub(crate) pauses: u32,
    /// Messages a second to a peer.
    pub(crate) out_rate_max: Option<u32>,
}

impl Plan {
    pub(crate) fn new(dice: &mut Dice) -> Plan {
        let domains = dice.pick([1, 1, 2, 2, 3]);
        let clocks = dice.pick([
            Clocks::Steady,
            Clocks::Hours,
            Clocks::Hours,
            Clocks::Hours,
            Clocks::Months,
        ]);
        let (short, few_receipts, forgets_seen) = (dice.chance(150), dice.chance(100), dice.chance(150));
        let forgets = short || few_receipts;
        Plan {
            domains,
            settings: Settings {
                server_window: dice.pick([1, 2, 4, 16]),
                server_window_bytes: dice.pick([8, 64, 1 << 20]),
                peer_window: dice.pick([1, 2, 4, 16]),
                peer_window_bytes: dice.pick([8, 64, 1 << 20]),
                principal_window: dice.pick([1, 2, 8]),
                principal_window_bytes: dice.pick([8, 1 << 20]),
                retry_min: SECOND,
                retry_max: dice.pick([2, 8, 30]) * SECOND,
                receipt_retention: if short { 20 * SECOND } else { LONG },
                receipts_max: if few_receipts { FEW } else { MANY },
                seen_retention: LONG,
                seen_max: if forgets_seen { FEW } else { MANY },
                failures_max: dice.pick([2, 16]),
                custody_grace: dice.pick([5, 60]) * SECOND,
                ..Settings::default()
            },
            clocks,
            drift_max: dice.pick([0, 100, 20_000]),
            forgets,
            forgets_seen,
            steps: dice.pick([150, 300, 600]) * if domains > 1 { 3 } else { 1 },
            lost: dice.pick([0, 0, 50, 200, 500]),
            repeated: dice.pick([0, 50, 300]),
            late: dice.pick([0, 100, 400]),
            crashes: dice.pick([0, 5, 15, 40]),
            disk_faults: dice.pick([0, 0, 10]),
            moods: dice.pick([0, 0, 50, 300]),
            short_lived: dice.pick([0, 100, 500]),
            cuts: dice.pick([0, 20, 100, 300]),
            partitions: dice.pick([0, 100, 500]),
            absence: dice.pick([0, 500, 950]),
            mute: dice.pick([0, 0, 500]),
            unheard: dice.pick([500, 1000]),
            pauses: dice.pick([0, 0, 500]),
            out_rate_max: dice.pick([None, None, Some(1), Some(5)]),
        }
    }

    pub(crate) fn any_home(&self, dice: &mut Dice) -> Home {
        Home(dice.place(self.domains))
    }

    /// How long a message lives: short enough to expire, or longer than the story.
    pub(crate) fn lifetime(&self, dice: &mut Dice) -> Duration {
        if dice.chance(self.short_lived) {
            Duration::from_millis(dice.range(100, 20_000))
        } else {
            self.lifetime_max()
        }
    }

    /// Whether every repeat is recognised as one.
    pub(crate) fn remembers(&self) -> bool {
        self.clocks != Clocks::Months && !self.forgets_seen
    }

    /// Whether an end may be forgotten before anybody looks: a clock that jumps by months outdates its receipt at once.
    pub(crate) fn may_forget(&self) -> bool {
        self.forgets || self.clocks == Clocks::Months
    }

    /// Whether what has ended never begins anew: one of the two memories recognises every repeat.
    pub(crate) fn keeps_ends(&self) -> bool {
        self.clocks != Clocks::Months && !(self.forgets && self.forgets_seen)
    }

    /// The same of what was refused, which has no row: a clock that is put back lets what has expired, and was forgotten, come
    /// to life.
    pub(crate) fn keeps_refusals(&self) -> bool {
        self.keeps_ends() && (!self.forgets_seen || self.clocks == Clocks::Steady)
    }

    /// Whether no word that a server says to another is lost.
    pub(crate) fn hears_all(&self) -> bool {
        self.domains == 1 && self.lost == 0 && self.crashes == 0 && self.disk_faults == 0 && self.keeps_ends()
    }

    pub(crate) fn lifetime_max(&self) -> Duration {
        LONG / 2
    }

    /// True time after which the longest life has passed by every clock, the slow ones and those put back as well.
    pub(crate) fn lifetime_by_any_clock(&self) -> Duration {
        let lifetime = self.lifetime_max();
        let slow = lifetime / 1_000_000 * u32::try_from(self.drift_max).unwrap_or(0);
        lifetime + 2 * slow + 2 * self.clocks.off_max()
    }
}
