//! Why a link ends, and how it is told to.

use std::io;
use std::sync::{Arc, OnceLock};

use irsp_protocol::Status;
use irsp_protocol::peer_link::{Goodbye, PartError};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::gate::Breach;
use super::metrics::Ending;
use super::words;

/// Why we end a link while the server goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Cut {
    #[error("the operator has paused it")]
    Paused,
    #[error("the operator has changed its terms")]
    Terms,
    #[error("the operator has removed the peer")]
    Removed,
}

/// Why a link ends.
#[derive(Debug, Error)]
pub(super) enum Ended {
    #[error("this server stops")]
    Ours,
    #[error(transparent)]
    Cut(Cut),
    #[error("another link took its place")]
    Replaced,
    #[error("the connection broke: {}", words::of(.0))]
    Lost(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer fell silent")]
    Silent,
    #[error("the peer takes nothing")]
    Stuck,
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Breach(#[from] Breach),
    #[error("the peer said goodbye: {} {}", .0.code.code(), .0.reason)]
    Goodbye(Goodbye),
}

impl Ended {
    pub(super) fn cause(&self) -> Ending {
        match self {
            Ended::Ours | Ended::Cut(_) => Ending::Ours,
            Ended::Replaced => Ending::Replaced,
            Ended::Lost(_) | Ended::Closed => Ending::Lost,
            Ended::Silent | Ended::Stuck => Ending::Silent,
            Ended::Part(_) | Ended::Breach(_) => Ending::Breach,
            Ended::Goodbye(_) => Ending::Goodbye,
        }
    }

    pub(super) fn goodbye(&self) -> Option<Goodbye> {
        let code = match self {
            Ended::Lost(_) | Ended::Closed | Ended::Stuck | Ended::Goodbye(_) => return None,
            Ended::Ours | Ended::Cut(_) => Status::UNAVAILABLE,
            Ended::Replaced => Status::CONFLICT,
            Ended::Silent => Status::PEER_TIMED_OUT,
            Ended::Part(error) => error.status(),
            Ended::Breach(_) => Status::MALFORMED,
        };
        Some(Goodbye {
            code,
            reason: self.to_string(),
        })
    }
}

/// How a link is told to end. The first word counts.
#[derive(Clone, Debug)]
pub(crate) struct End {
    token: CancellationToken,
    why: Arc<OnceLock<Why>>,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    Replaced,
    Cut(Cut),
}

impl End {
    pub(super) fn new(stop: &CancellationToken) -> End {
        End {
            token: stop.child_token(),
            why: Arc::default(),
        }
    }

    pub(super) fn cut(&self, why: Cut) {
        self.with(Why::Cut(why));
    }

    pub(super) fn replaced(&self) {
        self.with(Why::Replaced);
    }

    fn with(&self, why: Why) {
        self.why.get_or_init(|| why);
        self.token.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) async fn told(&self) -> Ended {
        self.token.cancelled().await;
        match self.why.get() {
            Some(Why::Replaced) => Ended::Replaced,
            Some(Why::Cut(why)) => Ended::Cut(*why),
            None => Ended::Ours,
        }
    }
}
