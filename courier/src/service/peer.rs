//! The courier's side of a link to another domain (clause 8.5): what it has to send there, gathered into frames, and what
//! came from there, handed in.
//!
//! A peer can delay only itself: its frames have a channel of their own, which loses what does not fit (it is sent
//! again), and no more than [`UNDER_WAY_MAX`] of what it sent wait for the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use irsp_protocol::frame::{self, Item, Place};
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Address, Domain, Envelope, MessageId, Server, Status};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::events::Command;
use super::shared::Shared;
use crate::metrics::Metrics;

/// A frame is closed once it is as long as this; one item may make it longer.
const FRAME_BYTES: usize = 64 << 10;
/// Frames for a link that it has not taken yet: a full window.
const FRAMES_MAX: usize = 64;
/// Frames of one peer whose effects are not on disk yet.
const UNDER_WAY_MAX: usize = 4;

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

/// A link's end of the courier. Dropped when the link is down: what waits stays on disk.
pub struct PeerPort {
    shared: Arc<Shared>,
    peer: Domain,
    ticket: u64,
    under_way: Arc<Semaphore>,
}

impl PeerPort {
    /// Opens the port; the receiver has the frames for the peer.
    pub(super) fn open(shared: &Arc<Shared>, peer: Domain) -> (PeerPort, mpsc::Receiver<Bytes>) {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let ticket = shared.tokens.fetch_add(1, Ordering::Relaxed);
        shared.command(Command::PeerLinked {
            peer: peer.clone(),
            ticket,
            outlet: Outlet {
                ticket,
                reporter: shared.reporter.clone(),
                frames,
                open: BytesMut::new(),
            },
        });
        let port = PeerPort {
            shared: Arc::clone(shared),
            peer,
            ticket,
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        };
        (port, outgoing)
    }

    /// Hands in what the peer has sent; waits while too much of it is not on disk yet.
    pub async fn take(&self, said: PeerFrame) {
        // The semaphore is never closed.
        if let Ok(permit) = Arc::clone(&self.under_way).acquire_owned().await {
            let peer = self.peer.clone();
            self.shared.command(Command::PeerSaid { peer, said, permit });
        }
    }
}

impl Drop for PeerPort {
    fn drop(&mut self) {
        self.shared.command(Command::PeerParted {
            peer: self.peer.clone(),
            ticket: self.ticket,
        });
    }
}

/// What goes out to one peer.
pub(super) struct Outlet {
    pub(super) ticket: u64,
    /// This server, with its domain.
    reporter: Address,
    frames: mpsc::Sender<Bytes>,
    open: BytesMut,
}

impl Outlet {
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
        if self.open.is_empty() {
            return;
        }
        match self.frames.try_send(self.open.split().freeze()) {
            Ok(()) => {
                metrics.frames_sent.inc();
            }
            Err(TrySendError::Full(_)) => {
                metrics.frames_lost.inc();
            }
            // The link has just gone; what it was to carry waits on disk.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    fn close_if_long(&mut self, metrics: &Metrics) {
        if self.open.len() >= FRAME_BYTES {
            self.flush(metrics);
        }
    }
}
