//! Why there is no backup, or nothing was restored.

use std::io;
use std::path::PathBuf;

use irsp_courier::store::StoreError;
use thiserror::Error;

/// The key that all stored hashes are made with; named where a backup was made with another.
pub(super) const HASH_KEY: &str = "hash.key";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    #[error("{}: there is no database in it: name a data directory with --data", .0.display())]
    NoData(PathBuf),
    #[error("{}: is there already: name a directory that is not", .0.display())]
    Taken(PathBuf),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: cannot be copied: {source}", path.display())]
    Copy { path: PathBuf, source: StoreError },
    #[error("{}: cannot be restored: {source}", path.display())]
    Refused { path: PathBuf, source: StoreError },
    #[error("{}: there is no database in it that is asked for: name a backup", .0.display())]
    NoBackup(PathBuf),
    #[error("{}: is there already: --replace puts the backup in its place", .0.display())]
    Present(PathBuf),
    #[error(
        "{} is not the {HASH_KEY} the backup was made with: its secrets would mean nothing here; restore all of it",
        .0.display()
    )]
    OtherKey(PathBuf),
}
