//! Where a message goes next: a device or user is reached by its own session, an application by its delivery.
//!
//! | application | hop |
//! |---|---|
//! | hosted | the application server, which stores it |
//! | attached | the application's own session here, as a push goes to a device |
//! | of another domain | the link to that domain |
//! | external | the application server, which keeps it for the third party's service |

use irsp_courier::Hop;
use irsp_directory::Directory;
use irsp_protocol::change::Delivery;
use irsp_protocol::peer_link::PART_LEN_MAX;
use irsp_protocol::{Address, Envelope, Kind, Server, Status};

/// Data of an envelope to another domain: with its head and what shares its frame it fits one part of the link.
const ABROAD_BYTES_MAX: usize = PART_LEN_MAX - (256 << 10);

/// The next hop of an upload, push or message to `to`, whose own-domain address is local; the error is the status it is
/// refused with.
pub(crate) fn next_hop(to: &Address, directory: &Directory) -> Result<Hop, Status> {
    if let Some(domain) = &to.domain {
        return Ok(Hop::Peer(domain.clone()));
    }
    let to = &to.principal;
    match to.kind {
        Kind::Device | Kind::User => Ok(Hop::Principal(to.clone())),
        Kind::Application => match directory.delivery(&to.id)? {
            Delivery::Hosted | Delivery::External => Ok(Hop::Server(Server::App)),
            Delivery::Attached => Ok(Hop::Principal(to.clone())),
        },
        Kind::External | Kind::Peer | Kind::Server => Err(Status::NOT_FOUND),
    }
}

/// Refuses what the link to another domain cannot carry (413).
pub(crate) fn check_size(hop: &Hop, envelope: &Envelope) -> Result<(), Status> {
    match hop {
        Hop::Peer(_) if envelope.data.len() > ABROAD_BYTES_MAX => Err(Status::TOO_LARGE),
        Hop::Peer(_) | Hop::Server(_) | Hop::Principal(_) => Ok(()),
    }
}
