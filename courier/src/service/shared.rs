//! What the callers of a courier and the task that runs its pump have in common.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use irsp_protocol::frame::Reply;
use irsp_protocol::receipt::{Receipt, Stage, StageReport};
use irsp_protocol::{Address, MessageId, Server};
use tokio::sync::{mpsc, oneshot};

use super::events::Command;
use super::jobs::Write;
use super::tail::Recorder;
use super::waiters::Waiters;
use crate::clock::Clock;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::store::{Admission, Store, StoreError, Tx, Usage, Writer, read_receipt};

pub(super) struct Shared {
    pub(super) server: Server,
    /// Who reports in receipts: `srv/message@home.example`.
    pub(super) reporter: Address,
    pub(super) store: Store,
    pub(super) writer: Writer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) usage: Arc<Mutex<Usage>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tail: Arc<Recorder>,
    /// Bounded by its callers: a session says once that it is there or gone, and answers no more than its window.
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) waiters: Waiters,
    pub(super) questions: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    pub(super) tokens: AtomicU64,
}

impl Shared {
    /// After the pump has stopped there is nobody to be told, and nothing left to be done.
    pub(super) fn command(&self, command: Command) {
        let _stopped = self.commands.send(command);
    }

    pub(super) fn replied(&self, token: u64, reply: Reply) {
        if let Some(tell) = lock(&self.questions).remove(&token) {
            // Whoever has stopped waiting misses nothing.
            let _gone = tell.send(reply);
        }
    }

    /// [`Courier::write`](super::Courier::write).
    pub(super) async fn write<R: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (tell, done) = oneshot::channel();
        let job = Write { f, value: None, tell };
        self.writer.submit(Box::new(job), Admission::Bounded);
        done.await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the writer has stopped".to_owned())))
    }

    /// What this server knows of a message.
    pub(super) async fn receipt(&self, id: MessageId) -> Result<Option<Receipt>, StoreError> {
        let reporter = self.reporter.clone();
        let found = self
            .store
            .read(move |sql| read_receipt(sql, id, &reporter))
            .await?;
        let Some((mut receipt, unsent)) = found else {
            return Ok(None);
        };
        if let Some(hop) = unsent {
            // The time of sending is written with the answer; until then only the pump knows it.
            let (tell, told) = oneshot::channel();
            self.command(Command::SentAt { hop, id, tell });
            if let Ok(Some(at)) = told.await {
                receipt.stages.push(StageReport {
                    stage: Stage::Sent,
                    time: at,
                    reporter: self.reporter.clone(),
                    code: None,
                });
            }
        }
        Ok(Some(receipt))
    }
}
