//! What the first start leaves in the data directory, and every later one finds: the format and the
//! certificates. What belongs to one role (its store, the admin token, the hash key, the token key) that role makes.

use std::time::SystemTime;

use irsp_config::Settings;

use crate::failure::Failure;
use crate::{datadir, pki};

/// Whether a data directory was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    First,
    Later,
}

/// Makes what is missing.
pub(crate) fn prepare(settings: &Settings, now: SystemTime) -> Result<Start, Failure> {
    let files = settings.files();
    let _alone = datadir::first_start_lock(&files)?;
    let start = if files.format().exists() {
        Start::Later
    } else {
        Start::First
    };
    pki::prepare(settings, now)?;
    // Last: a start that was cut short before is still a first start.
    datadir::note_format(&files.format())?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use std::path::Path;

    use super::*;
    use crate::write;

    fn settings(dir: &Path) -> Settings {
        Settings {
            data_dir: dir.join("data"),
            ..Settings::default()
        }
    }

    /// Every file below a directory, with its content and mode.
    fn snapshot(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                found.insert(path.display().to_string(), (Vec::new(), mode));
                found.extend(snapshot(&path));
            } else {
                found.insert(path.display().to_string(), (fs::read(&path).unwrap(), mode));
            }
        }
        found
    }

    #[test]
    fn the_second_start_uses_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        write::private_dir(&settings.data_dir).unwrap();
        let now = SystemTime::now();
        let one = prepare(&settings, now).unwrap();
        let before = snapshot(dir.path());
        let two = prepare(&settings, now).unwrap();
        assert_eq!(snapshot(dir.path()), before);
        assert_eq!((one, two), (Start::First, Start::Later));
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        write::private_dir(&settings.data_dir).unwrap();
        prepare(&settings, SystemTime::now()).unwrap();
        for (path, (_, mode)) in snapshot(dir.path()) {
            if path.ends_with(".key") {
                assert_eq!(mode, 0o600, "{path}");
            }
            if path.ends_with("data") || path.ends_with("pki") {
                assert_eq!(mode, 0o700, "{path}");
            }
        }
    }
}
