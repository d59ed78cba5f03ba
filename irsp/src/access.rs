//! What commands that ask a running platform have in common on the command line.

use std::path::PathBuf;

use clap::Args;

/// How a command reaches a running platform.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// HTTP address of the application server.
    #[arg(
        long,
        default_value = "http://127.0.0.1:8080",
        env = "IRSP_URL",
        global = true
    )]
    pub(crate) url: String,
    /// The file of a token or an application's key; admin.token in the data directory unless given.
    #[arg(long, visible_alias = "admin-token", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// JSON instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}
