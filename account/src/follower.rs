//! Who follows this server (clause 8.2).

use irsp_protocol::Server;

/// The servers that keep a copy of the directory.
pub(crate) const FOLLOWERS: [Server; 2] = [Server::Message, Server::App];
