//! Refresh tokens: `{family}.{turn}`, two machine-made secrets. The family is that of one login and stays; the turn is
//! replaced at each use. So an old token is recognised without keeping it: the family is right and the turn is not.

use irsp_directory::HashKey;
use irsp_protocol::Secret;
use irsp_protocol::secret::SecretHash;

/// Longest text that is looked at, in bytes; ours have 69.
const LEN_MAX: usize = 128;

/// A refresh token as its holder shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    family: Secret,
    turn: Secret,
}

/// What is stored of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshHash {
    pub(crate) family: SecretHash,
    pub(crate) turn: SecretHash,
}

impl RefreshToken {
    pub(crate) fn new(family: Secret, turn: Secret) -> RefreshToken {
        RefreshToken { family, turn }
    }

    /// `None` for what we have not made.
    pub(crate) fn parse(text: &Secret) -> Option<RefreshToken> {
        let (family, turn) = text.expose().split_once('.')?;
        let ours = text.expose().len() <= LEN_MAX && !family.is_empty() && !turn.is_empty();
        ours.then(|| RefreshToken::new(Secret::new(family), Secret::new(turn)))
    }

    /// The next one of the same login.
    pub(crate) fn next(&self, turn: Secret) -> RefreshToken {
        RefreshToken::new(self.family.clone(), turn)
    }

    /// As it is handed out.
    pub(crate) fn text(&self) -> Secret {
        Secret::new(format!("{}.{}", self.family.expose(), self.turn.expose()))
    }

    pub(crate) fn hash(&self, key: &HashKey) -> RefreshHash {
        RefreshHash {
            family: key.hash(self.family.expose().as_bytes()),
            turn: key.hash(self.turn.expose().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_token_shares_the_family_and_not_the_turn() {
        let key = HashKey::new(&[7; 32]);
        let first = RefreshToken::new(Secret::new("aaaa-bbbb"), Secret::new("cccc"));
        let next = first.next(Secret::new("dddd"));
        assert_eq!(RefreshToken::parse(&next.text()), Some(next.clone()));
        assert_eq!(first.hash(&key).family, next.hash(&key).family);
        assert_ne!(first.hash(&key).turn, next.hash(&key).turn);
        assert_eq!(
            format!("{first:?}"),
            "RefreshToken { family: Secret, turn: Secret }"
        );
    }

    #[test]
    fn what_is_no_refresh_token_is_not_looked_up() {
        for text in [
            "",
            ".",
            "a.",
            ".b",
            "no-dot",
            &format!("a.{}", "b".repeat(LEN_MAX)),
        ] {
            assert_eq!(RefreshToken::parse(&Secret::new(text)), None, "{text}");
        }
    }
}
