//! What a client has given to the disk, and what is done once it is stored.

use std::sync::Arc;

use bytestring::ByteString;
use irsp_protocol::MessageId;
use irsp_session::{Publish, PublishToken, SubscribeToken, UnsubscribeToken};

use crate::sessions::backlog::CatchUp;

/// What is done once it is stored.
pub(super) enum Waiting {
    /// A publish is the courier's.
    Accepted {
        publish_token: PublishToken,
        publish: Arc<Publish>,
        /// Whether others may hear it.
        observed: bool,
        /// The sender's own id of a push, which it may have sent before.
        sender_id: Option<String>,
    },
    /// An answer is the courier's: what it answers does not come to this session again.
    Answered {
        publish_token: PublishToken,
        publish: Arc<Publish>,
        id: MessageId,
        /// An application has said that it may take it later.
        comes_again: bool,
    },
    /// A live publish is stored for the durable sessions that hear it.
    Live {
        publish_token: PublishToken,
        publish: Arc<Publish>,
    },
    /// An accepted publish is stored for its observers, too.
    Observed {
        publish_token: PublishToken,
    },
    Subscribed(Subscribed),
    Unsubscribed {
        token: UnsubscribeToken,
        reasons: Vec<u8>,
    },
    /// That the client has a QoS 2 delivery.
    Received {
        packet_id: u16,
    },
    /// That the client has ended its QoS 2 publish.
    Released {
        packet_id: u16,
    },
}

/// A SUBSCRIBE that is in effect and, for a durable session, waits for the disk.
pub(super) struct Subscribed {
    pub(super) token: SubscribeToken,
    pub(super) reasons: Vec<u8>,
    /// Why the first that is refused is, in words.
    pub(super) why: Option<&'static str>,
    pub(super) granted: Vec<ByteString>,
    pub(super) retained: Vec<CatchUp>,
    /// Whether pushes are among it.
    pub(super) listens: bool,
}
