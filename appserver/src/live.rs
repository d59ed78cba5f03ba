//! Live feeds: what the store has just taken in, told to every open stream in the order of its numbers.
//!
//! ```text
//! commit ──wake──▶ feeder ──reads what is new, once──▶ broadcast ──▶ streams
//!                                                                    └─ what a stream missed it reads from the store
//! ```
//!
//! Numbers are given by the database in the order of commits, and the feeder reads them from there, so a stream can
//! see from a batch's bounds whether it missed anything. A slow stream never holds up the feeder: the broadcast drops
//! its oldest batch, and the stream goes back to the store for it.

use std::sync::Arc;

use irsp_courier::store::{Store, StoreError};
use rusqlite::Connection;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// Batches a stream may be behind before it reads from the store instead.
const BATCHES_MAX: usize = 64;
/// Most entries read at a time.
const BATCH_MAX: usize = 256;

/// A numbered log in the store: uploads, or changes of presence.
pub(crate) trait Log: Send + Sync + 'static {
    type Entry: Send + Sync + 'static;
    /// Part of the log; the default is all of it.
    type Part: Clone + Default + Send + Sync + 'static;

    /// The number of the last entry ever written.
    fn last(conn: &Connection) -> Result<u64, StoreError>;
    /// At most `limit` entries of `part` beyond `after`, in order.
    fn read(
        conn: &Connection,
        part: &Self::Part,
        after: u64,
        limit: usize,
    ) -> Result<Page<Self::Entry>, StoreError>;
    fn number(entry: &Self::Entry) -> u64;
}

/// Some entries in order, and whether more follow.
#[derive(Debug)]
pub(crate) struct Page<E> {
    pub(crate) entries: Vec<E>,
    pub(crate) more: bool,
}

/// All entries beyond `after`, up to the number given with them, and whether more follow.
pub(crate) async fn read_on<L: Log>(
    store: &Store,
    part: L::Part,
    after: u64,
) -> Result<(Page<L::Entry>, u64), StoreError> {
    store
        .read(move |conn| {
            // Read first: whatever is written between the two reads has a greater number.
            let last = L::last(conn)?;
            let page = L::read(conn, &part, after, BATCH_MAX)?;
            let upto = match page.entries.last() {
                Some(entry) if page.more => L::number(entry),
                Some(entry) => L::number(entry).max(last),
                None => last,
            };
            Ok((page, upto.max(after)))
        })
        .await
}

/// All entries with `after < number <= upto`.
pub(crate) struct Batch<E> {
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) entries: Arc<[E]>,
}

impl<E> Clone for Batch<E> {
    fn clone(&self) -> Batch<E> {
        Batch {
            after: self.after,
            upto: self.upto,
            entries: self.entries.clone(),
        }
    }
}

/// One log's feed.
pub(crate) struct Feed<L: Log> {
    news: Notify,
    batches: broadcast::Sender<Batch<L::Entry>>,
}

impl<L: Log> Feed<L> {
    pub(crate) fn new() -> Feed<L> {
        Feed {
            news: Notify::new(),
            batches: broadcast::Sender::new(BATCHES_MAX),
        }
    }

    /// The log has grown. Never blocks; many calls make one read.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Batch<L::Entry>> {
        self.batches.subscribe()
    }

    /// Feeds until `stop`. What cannot be read just now is read at the next wake.
    pub(crate) async fn run(&self, store: Store, stop: CancellationToken) {
        let mut last = None;
        loop {
            match self.feed(&store, last).await {
                Ok(reached) => last = reached,
                Err(error) => tracing::warn!(%error, "the live feed cannot read the store"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.news.notified() => {}
            }
        }
    }

    /// Tells all beyond `last`; gives the number it reached. While nobody listens nothing is read and no number kept.
    async fn feed(&self, store: &Store, last: Option<u64>) -> Result<Option<u64>, StoreError> {
        if self.batches.receiver_count() == 0 {
            return Ok(None);
        }
        let Some(mut after) = last else {
            // Whoever has subscribed meanwhile sees from the bounds that it has to read up to here itself.
            let upto = store.read(L::last).await?;
            self.tell(upto, upto, Arc::from([]));
            return Ok(Some(upto));
        };
        loop {
            let (page, upto) = read_on::<L>(store, L::Part::default(), after).await?;
            self.tell(after, upto, page.entries.into());
            after = upto;
            if !page.more {
                return Ok(Some(after));
            }
        }
    }

    fn tell(&self, after: u64, upto: u64, entries: Arc<[L::Entry]>) {
        // An error says only that nobody listens.
        let _ = self.batches.send(Batch { after, upto, entries });
    }
}
