//! The admin token: the first credential of a domain, in a file that only its owner may read.

use std::io;
use std::path::Path;

use irsp_directory::secret_file;
use irsp_protocol::Secret;
use ring::rand::SystemRandom;

use crate::code;

/// Shortest token that is taken: what an operator puts there by hand must not be guessable.
const LEN_MIN: usize = 26;

/// Reads the token, or makes it on the first start. It is one line of text.
pub(crate) fn admin_token(path: &Path, random: &SystemRandom) -> io::Result<Secret> {
    let bytes = secret_file(path, || {
        let token = code::generate(random).map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok(format!("{}\n", token.expose()).into_bytes())
    })?;
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let token = text.trim();
    if token.len() < LEN_MIN || token.contains(char::is_whitespace) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "it does not hold one line with a token of {LEN_MIN} characters or more; remove it to have a new one made"
            ),
        ));
    }
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let random = SystemRandom::new();
        let first = admin_token(&path, &random).unwrap();
        assert_eq!(admin_token(&path, &random).unwrap(), first);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_weak_or_damaged_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        for content in ["", "\n", "secret\n", "two words that together are long enough\n"] {
            std::fs::write(&path, content).unwrap();
            let error = admin_token(&path, &SystemRandom::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{content:?}");
        }
    }
}
