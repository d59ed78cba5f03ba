//! Counts what became of one publish's deliveries, and adds it up once at the end: a publish that a thousand sessions
//! hear costs no more counting than one that one hears.

use irsp_session::{Publish, QoS};

use crate::metrics::{Class, Dropped, Label as _, Metrics, Quality};

pub(super) struct Tally<'m> {
    metrics: &'m Metrics,
    class: Class,
    given: [u64; 3],
}

impl<'m> Tally<'m> {
    pub(super) fn new(metrics: &'m Metrics, publish: &Publish) -> Tally<'m> {
        Tally {
            metrics,
            class: Class::of(&publish.topic),
            given: [0; 3],
        }
    }

    /// A session was given the publish at this QoS, or not.
    pub(super) fn count(&mut self, given: Result<QoS, Dropped>) {
        match given {
            Ok(qos) => self.given[qos as usize] += 1,
            Err(cause) => {
                self.metrics.dropped.of(cause).inc();
            }
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        for (quality, count) in Quality::ALL.iter().zip(self.given) {
            if count > 0 {
                self.metrics.deliveries.of(self.class, *quality).inc_by(count);
            }
        }
    }
}
