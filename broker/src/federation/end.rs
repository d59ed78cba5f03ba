//! Why a link ends, and how it is told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irsp_protocol::Status;
use irsp_protocol::peer_link::{Goodbye, PartError};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::gate::Breach;
use super::metrics::Ending;

/// Why a link ends.
#[derive(Debug, Error)]
pub(super) enum Ended {
    #[error("we ended it")]
    Ours,
    #[error("another link took its place")]
    Replaced,
    #[error("the connection broke: {0}")]
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
            Ended::Ours => Ending::Ours,
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
            Ended::Ours => Status::UNAVAILABLE,
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

/// How a link is told to end.
#[derive(Clone, Debug)]
pub(crate) struct End {
    token: CancellationToken,
    replaced: Arc<AtomicBool>,
}

impl End {
    pub(super) fn new(stop: &CancellationToken) -> End {
        End {
            token: stop.child_token(),
            replaced: Arc::default(),
        }
    }

    pub(super) fn ours(&self) {
        self.token.cancel();
    }

    pub(super) fn replaced(&self) {
        self.replaced.store(true, Ordering::Release);
        self.token.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) async fn told(&self) -> Ended {
        self.token.cancelled().await;
        if self.replaced.load(Ordering::Acquire) {
            Ended::Replaced
        } else {
            Ended::Ours
        }
    }
}
