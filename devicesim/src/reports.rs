//! Reports on disk: whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

/// A report that could not be written. The run is over, and what it has shown is told all the same.
#[derive(Debug, Error)]
#[error("cannot write {path}: {error}", path = path.display())]
pub struct Unwritten {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Whether a report can be written there; nothing is changed. For before a run, so that a wrong path does not cost its
/// result.
pub fn check(path: &Path) -> Result<(), Unwritten> {
    let checked = match place(path) {
        Place::Device => Ok(()),
        Place::File { beside, .. } => File::create(&beside).and_then(|_| fs::remove_file(&beside)),
        Place::Directory => Err(ErrorKind::IsADirectory.into()),
    };
    unwritten(path, checked)
}

/// Writes a report: beside its place first, so that no half one is left and an old one stays until the new one is whole.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), Unwritten> {
    let written = match place(path) {
        Place::Device => File::options()
            .write(true)
            .open(path)
            .and_then(|mut device| device.write_all(bytes)),
        Place::File { beside, file } => {
            let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &file));
            if written.is_err() {
                // It may not even have been created.
                let _ = fs::remove_file(&beside);
            }
            written
        }
        Place::Directory => Err(ErrorKind::IsADirectory.into()),
    };
    unwritten(path, written)
}

/// Writes a report as JSON, see [`put`].
pub fn put_json(path: &Path, report: &impl Serialize) -> Result<(), Unwritten> {
    let json = serde_json::to_vec_pretty(report).map_err(|error| Unwritten {
        path: path.to_owned(),
        error: error.into(),
    })?;
    put(path, &json)
}

fn unwritten(path: &Path, done: io::Result<()>) -> Result<(), Unwritten> {
    done.map_err(|error| Unwritten {
        path: path.to_owned(),
        error,
    })
}

enum Place {
    /// Such as a terminal or a pipe: nothing can be put in its place.
    Device,
    File {
        beside: PathBuf,
        file: PathBuf,
    },
    Directory,
}

fn place(path: &Path) -> Place {
    // Where a link leads.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&file) {
        Ok(known) if known.is_dir() => Place::Directory,
        Ok(known) if !known.is_file() => Place::Device,
        Ok(_) | Err(_) => {
            let mut name = std::ffi::OsString::from(".");
            name.push(file.file_name().unwrap_or_default());
            name.push(format!(".{}", std::process::id()));
            Place::File {
                beside: file.with_file_name(name),
                file,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_or_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        check(&path).unwrap();
        assert!(!path.exists(), "a check leaves nothing");
        put(&path, b"old").unwrap();
        check(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        put(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        for wrong in [dir.path().to_owned(), dir.path().join("no/r.json")] {
            let said = check(&wrong).unwrap_err().to_string();
            assert!(said.contains("cannot write"), "{said}");
            put(&wrong, b"new").unwrap_err();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said() {
        let full = Path::new("/dev/full");
        check(full).unwrap();
        let said = put(full, b"new").unwrap_err().to_string();
        assert!(said.starts_with("cannot write /dev/full: "), "{said}");
    }
}
