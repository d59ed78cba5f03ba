//! What passes between this courier and another domain's (clause 8.5): what it has to send there, gathered into frames,
//! and what came from there.
//!
//! A peer can delay only itself: its frames have a channel of their own. What the channel has no room for is held back here,
//! because what is lost waits long before it is sent again; beyond [`HELD_BYTES_MAX`] it is lost all the same.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use irsp_protocol::frame::{self, Item, Place};
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Address, Envelope, MessageId, Server, Status};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::metrics::Metrics;

/// A frame is closed once it is as long as this; one item may make it longer.
const FRAME_BYTES: usize = 64 << 10;

/// Frames for a link that it has not taken yet: a full window.
const FRAMES_MAX: usize = 64;
/// Frames of one peer whose effects are not on disk yet.
pub(super) const UNDER_WAY_MAX: usize = 4;

/// Frames held back for a slow link: two windows, so that only what a peer asks for again and again, and does not take, is
/// lost.
const HELD_BYTES_MAX: usize = 8 << 20;

/// What another domain has sent in one frame. Who sent it is the link's word, not the frame's.
#[derive(Debug, Default)]
pub struct PeerFrame {
    /// Envelopes with their places in its outbox.
    pub delivered: Vec<(Place, Envelope)>,
    /// Its answers to ours.
    pub answers: Vec<PeerAnswer>,
}

/// What another domain says to an envelope of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAnswer {
    pub id: MessageId,
    pub status: Status,
    pub answer: Option<Answer>,
    pub cause: Option<Cause>,
}

/// What goes out to one peer.
pub(super) struct Outlet {
    pub(super) ticket: u64,
    /// This server, with its domain.
    reporter: Address,
    frames: mpsc::Sender<Bytes>,
    open: BytesMut,
    /// What the link has not taken yet, in order.
    held: VecDeque<Bytes>,
}

impl Outlet {
    /// The receiver has the frames for the link.
    pub(super) fn open(ticket: u64, reporter: Address) -> (Outlet, mpsc::Receiver<Bytes>) {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let outlet = Outlet {
            ticket,
            reporter,
            frames,
            open: BytesMut::new(),
            held: VecDeque::new(),
        };
        (outlet, outgoing)
    }

    /// An envelope, with its addresses as a stranger reads them.
    pub(super) fn deliver(&mut self, place: Place, envelope: &Envelope, metrics: &Metrics) {
        let mut envelope = envelope.clone();
        envelope.source.domain = envelope.source.domain.or_else(|| self.reporter.domain.clone());
        frame::write_delivery(Server::Message, place, &envelope, &mut self.open);
        self.close_if_long(metrics);
    }

    pub(super) fn push(&mut self, item: &Item, metrics: &Metrics) {
        frame::write(item, &mut self.open);
        self.close_if_long(metrics);
    }

    /// Gives the link what has been gathered.
    pub(super) fn flush(&mut self, metrics: &Metrics) {
        if !self.open.is_empty() {
            let held: usize = self.held.iter().map(Bytes::len).sum();
            let frame = self.open.split().freeze();
            if held + frame.len() <= HELD_BYTES_MAX {
                self.held.push_back(frame);
            } else {
                metrics.frames_lost.inc();
            }
        }
        while let Some(frame) = self.held.pop_front() {
            match self.frames.try_send(frame) {
                Ok(()) => {
                    metrics.frames_sent.inc();
                }
                Err(TrySendError::Full(frame)) => {
                    self.held.push_front(frame);
                    return;
                }
                // The link has just gone; what it was to carry waits on disk.
                Err(TrySendError::Closed(_)) => self.held.clear(),
            }
        }
    }

    /// Whether the link has not taken all of it.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn close_if_long(&mut self, metrics: &Metrics) {
        if self.open.len() >= FRAME_BYTES {
            self.flush(metrics);
        }
    }
}
