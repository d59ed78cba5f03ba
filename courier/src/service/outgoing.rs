//! What is to go out on the bus: items gathered into frames, bounded, oldest lost first.
//!
//! Losing is allowed here as on the bus itself: what is delivered is sent again, and answers are given again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use irsp_protocol::frame::{self, Item, Place};
use irsp_protocol::{Envelope, Server};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::metrics::Metrics;

/// A frame is closed once it is as long as this; one item may make it longer.
const FRAME_BYTES: usize = 64 << 10;
/// Frames that wait while the bus does not take them: a full window and its answers.
const WAITING_BYTES_MAX: usize = 32 << 20;

pub(super) struct Outgoing {
    bus: Sender<(Server, Bytes)>,
    open: BTreeMap<Server, BytesMut>,
    full: VecDeque<(Server, Bytes)>,
    full_bytes: usize,
    metrics: Arc<Metrics>,
}

impl Outgoing {
    pub(super) fn new(bus: Sender<(Server, Bytes)>, metrics: Arc<Metrics>) -> Outgoing {
        Outgoing {
            bus,
            open: BTreeMap::new(),
            full: VecDeque::new(),
            full_bytes: 0,
            metrics,
        }
    }

    pub(super) fn push(&mut self, to: Server, item: &Item) {
        self.append(to, |frame| frame::write(item, frame));
    }

    pub(super) fn deliver(&mut self, to: Server, from: Server, place: Place, envelope: &Envelope) {
        self.append(to, |frame| frame::write_delivery(from, place, envelope, frame));
    }

    fn append(&mut self, to: Server, write: impl FnOnce(&mut BytesMut)) {
        let open = self.open.entry(to).or_default();
        write(open);
        if open.len() >= FRAME_BYTES {
            let frame = open.split().freeze();
            self.close(to, frame);
        }
    }

    /// Gives the bus what it takes now. Says whether something is left that it does not take.
    pub(super) fn flush(&mut self) -> bool {
        loop {
            if self.full.is_empty() {
                self.close_open();
            }
            let Some((to, frame)) = self.full.pop_front() else {
                return false;
            };
            self.full_bytes -= frame.len();
            match self.bus.try_send((to, frame)) {
                Ok(()) => {
                    self.metrics.frames_sent.inc();
                }
                Err(TrySendError::Full((to, frame))) => {
                    self.full_bytes += frame.len();
                    self.full.push_front((to, frame));
                    return true;
                }
                Err(TrySendError::Closed(_)) => {
                    self.full.clear();
                    self.full_bytes = 0;
                    return false;
                }
            }
        }
    }

    /// Resolves when the bus takes frames again.
    pub(super) fn room(&self) -> impl Future<Output = ()> + Send + use<> {
        let bus = self.bus.clone();
        async move {
            // Closed or not: the next flush finds out.
            drop(bus.reserve().await);
        }
    }

    fn close_open(&mut self) {
        let open: Vec<(Server, Bytes)> = self
            .open
            .iter_mut()
            .filter(|(_, open)| !open.is_empty())
            .map(|(to, open)| (*to, open.split().freeze()))
            .collect();
        for (to, frame) in open {
            self.close(to, frame);
        }
    }

    fn close(&mut self, to: Server, frame: Bytes) {
        self.full_bytes += frame.len();
        self.full.push_back((to, frame));
        while self.full_bytes > WAITING_BYTES_MAX {
            let Some((_, oldest)) = self.full.pop_front() else {
                break;
            };
            self.full_bytes -= oldest.len();
            let lost = self.metrics.frames_lost.inc() + 1;
            if lost.is_power_of_two() {
                tracing::warn!(
                    frames = lost,
                    "the bus is too slow; frames were dropped and will be sent again"
                );
            }
        }
    }
}
