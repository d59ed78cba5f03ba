//! How much may be in flight, and how much is. The counters behind it stand in `store/usage.rs`.

/// What may be in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub messages_max: u64,
    /// Heads and data.
    pub bytes_max: u64,
}

/// Who may have how much in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A device or user, as sender and as receiver each; beyond it 429.
    pub principal: Quota,
    /// An application or another domain, which sends for many; beyond it 429.
    pub application: Quota,
    /// This server; beyond it 507.
    pub all: Quota,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            principal: Quota {
                messages_max: 10_000,
                bytes_max: 64 << 20,
            },
            application: Quota {
                messages_max: 2_000_000,
                bytes_max: 4 << 30,
            },
            all: Quota {
                messages_max: 5_000_000,
                bytes_max: 16 << 30,
            },
        }
    }
}

/// How much is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub messages: u64,
    pub bytes: u64,
}

/// What is in flight on a server, and how often something was refused for it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    pub held: Held,
    /// What may be.
    pub all: Quota,
    /// With 429.
    pub refused_over_quota: u64,
    /// With 507.
    pub refused_full: u64,
}
