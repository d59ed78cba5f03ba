//! Publishes that wait for the disk, of all clients together: what they may take of memory while the disk is slow.

use std::sync::atomic::{AtomicUsize, Ordering};

use irsp_session::Publish;

/// Bytes of payload that wait before no more is read from a client that has some waiting. One publish of each may always
/// wait, so nobody starves.
const BYTES_MAX: usize = 32 << 20;

/// How much waits.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    bytes: AtomicUsize,
}

/// What one publish takes until it is stored or given up.
#[derive(Debug)]
pub(super) struct Share<'e> {
    of: &'e UnderWay,
    bytes: usize,
}

impl UnderWay {
    pub(super) fn add(&self, publish: &Publish) -> Share<'_> {
        let bytes = publish.payload.len();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Share { of: self, bytes }
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < BYTES_MAX
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use irsp_session::QoS;

    use super::*;

    #[test]
    fn there_is_room_again_when_a_publish_is_stored() {
        let under_way = UnderWay::default();
        let large = Publish::new("t", vec![0; BYTES_MAX], QoS::AtLeastOnce);
        let share = under_way.add(&large);
        assert!(!under_way.has_room());
        drop(share);
        assert!(under_way.has_room());
    }
}
