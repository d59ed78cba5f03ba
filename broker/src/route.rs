//! Where a message goes next: a device or user is reached by its own session, an application by its delivery.
//!
//! | application | hop |
//! |---|---|
//! | hosted | the application server, which stores it |
//! | attached | the application's own session here, as a push goes to a device |
//! | external | 503: no gateway serves it yet |

use irsp_courier::Hop;
use irsp_directory::Directory;
use irsp_protocol::change::Delivery;
use irsp_protocol::{Kind, Principal, Server, Status};

/// The next hop of an upload, push or message to `to`; the error is the status it is refused with.
pub(crate) fn next_hop(to: &Principal, directory: &Directory) -> Result<Hop, Status> {
    match to.kind {
        Kind::Device | Kind::User => Ok(Hop::Principal(to.clone())),
        Kind::Application => match directory.delivery(&to.id)? {
            Delivery::Hosted => Ok(Hop::Server(Server::App)),
            Delivery::Attached => Ok(Hop::Principal(to.clone())),
            Delivery::External => Err(Status::UNAVAILABLE),
        },
        Kind::External | Kind::Peer | Kind::Server => Err(Status::NOT_FOUND),
    }
}
