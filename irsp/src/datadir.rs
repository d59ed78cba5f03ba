//! The data directory: whose it is, which format it has, and that no two processes run the same role in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use irsp_config::Files;
use irsp_protocol::Server;

use crate::failure::Failure;
use crate::write::{self, Readers};

/// The format this program writes. It rises when an older program could no longer read what we write.
pub(crate) const FORMAT: u32 = 1;

/// Roles of a data directory that are ours alone until this is dropped (the kernel drops it with the process).
#[derive(Debug)]
pub(crate) struct Claim {
    _locks: Vec<File>,
}

/// Makes the directory if it is missing, refuses a newer format, and takes the roles.
pub(crate) fn claim(files: &Files, servers: &[Server]) -> Result<Claim, Failure> {
    let root = files.root();
    let unusable = |source| Failure::DataDir {
        path: root.to_owned(),
        source,
    };
    write::private_dir(root).map_err(unusable)?;
    check_format(&files.format())?;
    let mut locks = Vec::new();
    for server in servers {
        let path = files.lock(server.as_str());
        let lock = open_lock(&path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => locks.push(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::InUse {
                    path: root.to_owned(),
                    holder: format!("{server} server"),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
    }
    Ok(Claim { _locks: locks })
}

/// Held while files of a first start are made, so that roles started together make them once.
pub(crate) fn first_start_lock(files: &Files) -> Result<File, Failure> {
    let unusable = |source| Failure::DataDir {
        path: files.root().to_owned(),
        source,
    };
    let lock = open_lock(&files.lock("first-start")).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    Ok(lock)
}

/// Refuses a directory written by a newer program; one without a format is new.
pub(crate) fn check_format(path: &Path) -> Result<(), Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Failure::file(path, "make it readable for this user")(source)),
    };
    let found: u32 = text.trim().parse().map_err(|_| Failure::FormatText {
        path: path.to_owned(),
    })?;
    if found > FORMAT {
        return Err(Failure::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(())
}

/// Notes the format in a new directory.
pub(crate) fn note_format(path: &Path) -> Result<(), Failure> {
    match write::new_file(path, format!("{FORMAT}\n").as_bytes(), Readers::All) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        noted => noted.map_err(Failure::file(
            path,
            "make the data directory writable for this user",
        )),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use irsp_config::Settings;

    use super::*;

    fn files(dir: &Path) -> Files {
        Settings {
            data_dir: dir.to_owned(),
            ..Settings::default()
        }
        .files()
    }

    #[test]
    fn a_role_is_run_by_one_process_and_others_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let account = claim(&files, &[Server::Account]).unwrap();
        let _message = claim(&files, &[Server::Message]).unwrap();
        let message = claim(&files, &Server::ALL).unwrap_err().to_string();
        let expected =
            "another irsp (account server) uses this data directory: stop it or choose another with --data";
        assert_eq!(message, format!("{}: {expected}", dir.path().display()));
        drop(account);
        claim(&files, &[Server::Account]).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        fs::write(files.format(), "2\n").unwrap();
        let message = claim(&files, &Server::ALL).unwrap_err().to_string();
        let path = files.format();
        let expected =
            "data format 2 is newer than 1, the newest this irsp knows: use a newer irsp or another --data";
        assert_eq!(message, format!("{}: {expected}", path.display()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "new").unwrap();
        let message = claim(&files, &Server::ALL).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "{}: is not a data format number: restore it from a backup",
                path.display()
            )
        );
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_refused_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let message = claim(&files(&path), &Server::ALL).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("data_dir = {}: ", path.display())),
                "{message}"
            );
            assert!(
                message.ends_with("make it writable for this user or choose another with --data"),
                "{message}"
            );
        }
    }
}
