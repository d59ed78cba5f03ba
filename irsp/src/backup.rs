//! `irsp backup` and `irsp restore`: a data directory as it stands, while it is in use; and its return.
//!
//! ```text
//! backup   data/*.db --online copy, checked--> to.partial/*.db;  keys, pki, format copied;  to.partial -> to
//! restore  from/*.db --checked, copied, marked as restored--> data/*.db.restoring;  then all renamed
//! ```
//!
//! Each database is one moment of itself. What a server handed to another between the copies of the two may be in
//! both or in neither; messages in both are recognised. A restored server knows by its mark that others may know more.

pub(crate) mod error;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use irsp_config::Settings;
use irsp_courier::store::{self, StoreError};
use irsp_protocol::{Server, Timestamp};

use crate::cli::RestoreOrder;
use crate::console;
use crate::datadir;
use crate::failure::Failure;
use crate::write;
use error::{BackupError, HASH_KEY};

/// The three servers' databases, in the order they are copied: an upload is in the message server's until the
/// application server has it.
const DATABASES: [(Server, &str); 3] = [
    (Server::Message, "message.db"),
    (Server::App, "app.db"),
    (Server::Account, "account.db"),
];
const FORMAT: &str = "format";

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File {
        path: path.to_owned(),
        source,
    }
}

/// Copies the data directory to `to`, which must not be there yet; it appears whole or not at all.
pub(crate) fn back_up(settings: &Settings, to: &Path) -> Result<(), Failure> {
    let files = settings.files();
    let root = files.root();
    if to.exists() {
        return Err(BackupError::Taken(to.to_owned()).into());
    }
    let databases: Vec<&str> = DATABASES
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| root.join(name).is_file())
        .collect();
    if databases.is_empty() {
        return Err(BackupError::NoData(root.to_owned()).into());
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(at(&partial))?;
    }
    write::private_dir(&partial).map_err(at(&partial))?;
    for name in &databases {
        let from = root.join(name);
        store::copy(&from, &partial.join(name)).map_err(|source| BackupError::Copy { path: from, source })?;
    }
    copy_plain_files(root, &partial)?;
    fs::rename(&partial, to).map_err(at(to))?;
    console::say(format_args!(
        "{}: {} of {}",
        to.display(),
        databases.join(", "),
        root.display()
    ));
    Ok(())
}

/// Puts a backup into the data directory, which no server may be using.
pub(crate) fn restore(settings: &Settings, order: &RestoreOrder) -> Result<(), Failure> {
    let files = settings.files();
    let (root, from) = (files.root(), order.from.as_path());
    let wanted = |server: &Server| order.only.is_empty() || order.only.contains(server);
    let chosen: Vec<(Server, &str)> = DATABASES
        .into_iter()
        .filter(|(server, name)| wanted(server) && from.join(name).is_file())
        .collect();
    if chosen.is_empty() {
        return Err(BackupError::NoBackup(from.to_owned()).into());
    }
    datadir::check_format(&from.join(FORMAT))?;
    for (server, name) in &chosen {
        let path = from.join(name);
        inspect(*server, &path).map_err(|source| BackupError::Refused { path, source })?;
    }
    let _claim = datadir::claim(&files, &Server::ALL)?;
    if !order.replace {
        for (_, name) in &chosen {
            let path = root.join(name);
            if path.exists() {
                return Err(BackupError::Present(path).into());
            }
        }
    }
    let whole = order.only.is_empty();
    if !whole {
        check_key(root, from)?;
    }
    let now = Timestamp::from(SystemTime::now());
    for (_, name) in &chosen {
        let draft = root.join(format!("{name}.restoring"));
        let refused = |source| BackupError::Refused {
            path: draft.clone(),
            source,
        };
        remove(&draft)?;
        store::copy(&from.join(name), &draft).map_err(refused)?;
        store::mark_restored(&draft, now).map_err(refused)?;
    }
    if whole {
        copy_plain_files(from, root)?;
    }
    for (_, name) in &chosen {
        let path = root.join(name);
        // A log that stays would be taken for the restored database's own.
        for log in [format!("{name}-wal"), format!("{name}-shm")] {
            remove(&root.join(log))?;
        }
        fs::rename(root.join(format!("{name}.restoring")), &path).map_err(at(&path))?;
        console::say(format_args!("{} is restored", path.display()));
    }
    File::open(root)
        .and_then(|dir| dir.sync_all())
        .map_err(at(root))?;
    Ok(())
}

fn inspect(server: Server, path: &Path) -> Result<(), StoreError> {
    match server {
        Server::Message => irsp_broker::inspect(path),
        Server::App => irsp_appserver::inspect(path),
        Server::Account => irsp_account::inspect(path),
    }
}

/// A single database goes only beside the key its secrets are hashed with.
fn check_key(root: &Path, from: &Path) -> Result<(), BackupError> {
    let (here, there) = (root.join(HASH_KEY), from.join(HASH_KEY));
    if here.is_file() && there.is_file() {
        let here_bytes = fs::read(&here).map_err(at(&here))?;
        let there_bytes = fs::read(&there).map_err(at(&there))?;
        if here_bytes != there_bytes {
            return Err(BackupError::OtherKey(here));
        }
    }
    Ok(())
}

/// Keys, certificates and the format: everything but databases, locks and drafts. Modes are kept.
fn copy_plain_files(from: &Path, to: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&source))?;
        if kind.is_dir() {
            write::private_dir(&target).map_err(at(&target))?;
            copy_plain_files(&source, &target)?;
        } else if kind.is_file() && is_plain(&entry.file_name().to_string_lossy()) {
            fs::copy(&source, &target).map_err(at(&source))?;
            File::open(&target)
                .and_then(|file| file.sync_all())
                .map_err(at(&target))?;
        }
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let endings = [
        ".db",
        ".db-wal",
        ".db-shm",
        ".db-journal",
        ".lock",
        ".draft",
        ".restoring",
    ];
    !endings.iter().any(|ending| name.ends_with(ending))
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path) -> Settings {
        Settings {
            data_dir: dir.to_owned(),
            ..Settings::default()
        }
    }

    fn order(from: &Path) -> RestoreOrder {
        RestoreOrder {
            from: from.to_owned(),
            only: Vec::new(),
            replace: false,
        }
    }

    #[test]
    fn what_is_no_data_and_what_is_no_backup_is_refused_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
        fs::create_dir(&data).unwrap();
        let refused = back_up(&settings(&data), &to).unwrap_err().to_string();
        assert!(refused.contains("no database"), "{refused}");
        let refused = restore(&settings(&to), &order(&data)).unwrap_err().to_string();
        assert!(refused.contains("name a backup"), "{refused}");
        assert!(!to.exists());
    }

    #[test]
    fn a_newer_format_a_running_server_and_present_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
        fs::create_dir(&backup).unwrap();
        fs::write(backup.join("account.db"), "").unwrap();
        fs::write(backup.join(FORMAT), "2\n").unwrap();
        let refused = |backup: &Path| restore(&settings(&data), &order(backup)).unwrap_err().to_string();
        assert!(refused(&backup).contains("newer"));
        assert!(!data.exists());
        fs::write(backup.join(FORMAT), "1\n").unwrap();
        let running = datadir::claim(&settings(&data).files(), &[Server::Message]).unwrap();
        assert!(refused(&backup).contains("another irsp"));
        drop(running);
        fs::write(data.join("account.db"), "").unwrap();
        assert!(refused(&backup).contains("--replace"));
    }

    #[test]
    fn secrets_keep_their_modes_and_locks_stay_where_they_are() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
        fs::create_dir_all(data.join("pki")).unwrap();
        fs::write(data.join("account.db"), "").unwrap();
        fs::write(data.join("account.lock"), "").unwrap();
        fs::write(data.join("pki/ca.key"), "secret").unwrap();
        fs::set_permissions(data.join("pki/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
        back_up(&settings(&data), &to).unwrap();
        let mode = fs::metadata(to.join("pki/ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!to.join("account.lock").exists());
        let refused = back_up(&settings(&data), &to).unwrap_err().to_string();
        assert!(refused.contains("is there already"), "{refused}");
    }
}
