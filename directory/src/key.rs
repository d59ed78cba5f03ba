//! The key under which a domain hashes machine-made secrets: device codes, application keys, machine tokens.
//!
//! Such secrets have at least 128 random bits, so a keyed fast hash is enough: without the key a stolen database
//! gives nothing to search with, and with it there is nothing to guess.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use irsp_protocol::secret::SecretHash;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

const KEY_LEN: usize = 32;

/// The domain's hash key. `Debug` shows only the type's name.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    pub fn new(bytes: &[u8; KEY_LEN]) -> HashKey {
        HashKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the key, or makes it on the first start: 32 random bytes in a file only its owner may read.
    /// Servers of one domain that start together end up with the same key.
    pub fn read_or_make(path: &Path) -> io::Result<HashKey> {
        let bytes = secret_file(path, || {
            let mut bytes = [0; KEY_LEN];
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| io::Error::other("the system gives no random bytes"))?;
            Ok(bytes.to_vec())
        })?;
        let bytes = <&[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is not a hash key: it has {} bytes instead of {KEY_LEN}",
                    path.display(),
                    bytes.len()
                ),
            )
        })?;
        Ok(HashKey::new(bytes))
    }

    /// What is stored and compared instead of the secret: HMAC-SHA256.
    pub fn hash(&self, secret: &[u8]) -> SecretHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, secret).as_ref());
        SecretHash(hash)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// Longest secret file that is read; what is longer was not written by us.
const FILE_LEN_MAX: u64 = 4096;

/// The content of a secret file, made with mode 0600 if it is missing. The file appears whole or not at all: it is
/// written and synced under another name first, and whoever comes second takes what the first one made.
///
/// # Errors
/// What the system says of the file, or `make`.
pub fn secret_file(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let made = write_draft(&draft, &make()?).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    made.and(removed).map_err(|error| in_file(path, &error))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    read(path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut bytes))
        .map_err(|error| in_file(path, &error))?;
    Ok(bytes)
}

fn write_draft(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn in_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_hashes_the_same_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hash.key");
        let first = HashKey::read_or_make(&path).unwrap();
        let second = HashKey::read_or_make(&path).unwrap();
        assert_eq!(first.hash(b"code"), second.hash(b"code"));
        assert_ne!(first.hash(b"code"), first.hash(b"Code"));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hash.key");
        HashKey::read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn servers_that_start_together_share_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hash.key");
        // The second one finds the file only after it has made its own bytes.
        let second = secret_file(&path, || {
            fs::write(&path, [1; KEY_LEN])?;
            Ok(vec![2; KEY_LEN])
        });
        assert_eq!(second.unwrap(), [1; KEY_LEN]);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hash.key");
        for content in [&b""[..], b"short", &[0; 33]] {
            fs::write(&path, content).unwrap();
            let error = HashKey::read_or_make(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("hash.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = HashKey::read_or_make(Path::new("/nowhere/at/all/hash.key")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn the_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", HashKey::new(&[7; 32])), "HashKey");
    }
}
