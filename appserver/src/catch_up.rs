//! What a server that comes late, or was restored from a backup, asks of the others: the directory of the account
//! server (clause 8.2) and the presence of the message server (clause 8.3.2). Asked again until answered.

use std::sync::Arc;
use std::time::Duration;

use irsp_courier::Courier;
use irsp_courier::store::{StoreError, forget_restored};
use irsp_directory::follow::{Follower, Step, Sweep};
use irsp_directory::{Directory, store as directory_store};
use irsp_protocol::change::Entity;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::{Principal, Server, Status};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::external::{self, External};
use crate::live::Feed;
use crate::store::presence::{self, Changes};

/// How long a server may take to reply with a page.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// Why catching up has to begin again.
#[derive(Debug, Error)]
enum CatchUpError {
    #[error("the {0} server does not reply")]
    Silent(Server),
    #[error("the {0} server cannot reply: {1}")]
    Unanswered(Server, Status),
    #[error("the {0} server replies to something else")]
    Beside(Server),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) struct CatchUp {
    pub(crate) courier: Courier,
    pub(crate) directory: Arc<Directory>,
    pub(crate) presence: Arc<Feed<Changes>>,
    pub(crate) rights_changed: watch::Sender<u64>,
    pub(crate) snapshot_wanted: Arc<Notify>,
    /// Told once the directory is complete: whose endpoints are open depends on it.
    pub(crate) external: Arc<External>,
    pub(crate) retry: Duration,
    pub(crate) stop: CancellationToken,
}

impl CatchUp {
    /// Reads a snapshot of the directory if none is held or the copy was restored, and whenever a change is missing.
    pub(crate) async fn follow_directory(&self) {
        // One that cannot be read is asked for too: a snapshot too many does no harm.
        let restored = self.courier.store().restored();
        if self.directory.applied() == 0 || !matches!(restored, Ok(None)) {
            self.snapshot_wanted.notify_one();
        }
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.snapshot_wanted.notified() => {}
            }
            let read = tokio::select! {
                () = self.stop.cancelled() => return,
                read = self.directory_snapshot() => read,
            };
            if let Err(error) = read {
                tracing::debug!(%error, "the directory is asked for again");
                self.snapshot_wanted.notify_one();
                if self.stopped_while_waiting().await {
                    return;
                }
            }
        }
    }

    /// Reads all presence once: news is durable at its sender, so this mends only what was lost here.
    pub(crate) async fn gather_presence(&self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                gathered = self.presence_snapshot() => match gathered {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(%error, "presence is asked for again"),
                },
            }
            if self.stopped_while_waiting().await {
                return;
            }
        }
    }

    async fn stopped_while_waiting(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = tokio::time::sleep(self.retry) => false,
        }
    }

    async fn directory_snapshot(&self) -> Result<(), CatchUpError> {
        let mut follower = Follower::new(self.directory.applied());
        let mut after = None;
        loop {
            let page = match self.ask(Server::Account, Question::Directory { after }).await? {
                Reply::Directory(page) => page,
                Reply::Courier(_) | Reply::Presence { .. } | Reply::Peers(_) | Reply::Unanswered(_) => {
                    return Err(CatchUpError::Beside(Server::Account));
                }
            };
            match follower.page(page) {
                Step::More {
                    entities,
                    after: next,
                } => {
                    self.merge(entities, None).await?;
                    after = Some(next);
                }
                Step::Last { entities, sweep } => {
                    let at = sweep.at();
                    self.merge(entities, Some(sweep)).await?;
                    tracing::info!(at, "the directory is complete");
                    return Ok(());
                }
            }
        }
    }

    /// Takes entities, and after the last ones what is gone, first on disk and then in memory.
    async fn merge(&self, entities: Vec<(u64, Entity)>, sweep: Option<Sweep>) -> Result<(), StoreError> {
        let page = Arc::new((entities, sweep));
        let stored = page.clone();
        self.courier
            .write(move |tx| {
                let (entities, sweep) = &*stored;
                directory_store::merge(tx.sql(), entities)?;
                if let Some(sweep) = sweep {
                    directory_store::sweep(tx.sql(), sweep)?;
                    // A restored copy does not know what it has missed; now it does.
                    forget_restored(tx.sql())?;
                }
                Ok(())
            })
            .await?;
        let (entities, sweep) = &*page;
        let is_last = sweep.is_some();
        let mut rights_lost = false;
        for (n, entity) in entities {
            rights_lost |= !self.directory.merge(*n, entity.clone()).is_empty();
        }
        if let Some(sweep) = sweep {
            rights_lost |= !self.directory.sweep(sweep).is_empty();
        }
        if rights_lost {
            self.rights_changed.send_modify(|count| *count += 1);
        }
        if is_last {
            self.external.doorbell.all_changed();
        }
        Ok(())
    }

    async fn presence_snapshot(&self) -> Result<(), CatchUpError> {
        let mut after: Option<Principal> = None;
        loop {
            let question = Question::Presence {
                after,
                of: Vec::new(),
            };
            let (page, next) = match self.ask(Server::Message, question).await? {
                Reply::Presence { page, next } => (page, next),
                Reply::Courier(_) | Reply::Directory(_) | Reply::Peers(_) | Reply::Unanswered(_) => {
                    return Err(CatchUpError::Beside(Server::Message));
                }
            };
            if !page.is_empty() {
                let directory = Arc::clone(&self.directory);
                self.courier
                    .write(move |tx| {
                        for news in &page {
                            if let Some(news) = presence::put(tx.sql(), news)? {
                                external::tell(tx, &directory, &news)?;
                            }
                        }
                        Ok(())
                    })
                    .await?;
                self.presence.wake();
            }
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn ask(&self, server: Server, question: Question) -> Result<Reply, CatchUpError> {
        match self.courier.ask(server, question, REPLY_WITHIN).await {
            None => Err(CatchUpError::Silent(server)),
            Some(Reply::Unanswered(status)) => Err(CatchUpError::Unanswered(server, status)),
            Some(
                reply @ (Reply::Courier(_) | Reply::Directory(_) | Reply::Presence { .. } | Reply::Peers(_)),
            ) => Ok(reply),
        }
    }
}
