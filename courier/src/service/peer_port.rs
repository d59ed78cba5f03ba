//! The courier's side of a link to another domain (clause 8.5): it opens with the link, hands in what comes, and says when
//! the link is down.
//!
//! A peer can delay only itself: no more than [`UNDER_WAY_MAX`] of what it sent wait for the disk.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use irsp_protocol::Domain;
use tokio::sync::{Semaphore, mpsc};

use super::events::Command;
use super::peer::{Outlet, PeerFrame, UNDER_WAY_MAX};
use super::shared::Shared;

/// A link's end of the courier. Dropped when the link is down: what waits stays on disk.
pub struct PeerPort {
    shared: Arc<Shared>,
    peer: Domain,
    ticket: u64,
    under_way: Arc<Semaphore>,
}

impl PeerPort {
    /// Opens the port; the receiver has the frames for the peer.
    pub(super) fn open(
        shared: &Arc<Shared>,
        peer: Domain,
        rate_max: Option<NonZeroU32>,
    ) -> (PeerPort, mpsc::Receiver<Bytes>) {
        let ticket = shared.tokens.fetch_add(1, Ordering::Relaxed);
        let (outlet, outgoing) = Outlet::open(ticket, shared.reporter.clone());
        shared.command(Command::PeerLinked {
            peer: peer.clone(),
            ticket,
            rate_max,
            outlet,
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
