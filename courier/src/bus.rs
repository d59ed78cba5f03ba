//! The seam to the bus: a pair of bounded channels of frames. What moves the frames is the message server's
//! business (in process) or the binary's (over MQTT/TLS); it may lose, repeat or reorder them.

use bytes::Bytes;
use irsp_protocol::Server;
use tokio::sync::mpsc;

/// Frames under way in each direction before the sender waits.
const FRAMES_MAX: usize = 256;

/// A server's end: what its courier writes to and reads from.
#[derive(Debug)]
pub struct Link {
    pub outgoing: mpsc::Sender<(Server, Bytes)>,
    pub incoming: mpsc::Receiver<Incoming>,
}

/// The bus's end of a link.
#[derive(Debug)]
pub struct Attachment {
    pub outgoing: mpsc::Receiver<(Server, Bytes)>,
    pub incoming: mpsc::Sender<Incoming>,
}

/// What arrives on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Frame(Bytes),
    /// The bus was found again: what waits may be sent at once.
    Attached,
}

/// A link and the end the bus holds of it.
pub fn link() -> (Link, Attachment) {
    let (outgoing, from_link) = mpsc::channel(FRAMES_MAX);
    let (to_link, incoming) = mpsc::channel(FRAMES_MAX);
    (
        Link { outgoing, incoming },
        Attachment {
            outgoing: from_link,
            incoming: to_link,
        },
    )
}
