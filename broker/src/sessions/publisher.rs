//! Whose a retained message is: No Local asks for it long after its publisher has gone.

use std::num::NonZeroU64;

use ring::digest::{SHA256, digest};

use super::SessionKey;

/// A client, by a hash of its session's key: the same for every connection and every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publisher(NonZeroU64);

impl Publisher {
    pub(crate) fn of(key: &SessionKey) -> Publisher {
        // An id has no `/` behind the first: two keys have two texts.
        let text = match &key.client_id {
            Some(client_id) => format!("{}/{client_id}", key.principal),
            None => key.principal.to_string(),
        };
        let hash = digest(&SHA256, text.as_bytes());
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Publisher(NonZeroU64::new(u64::from_be_bytes(first)).unwrap_or(NonZeroU64::MIN))
    }

    /// As it is stored.
    pub(crate) fn number(self) -> i64 {
        self.0.get().cast_signed()
    }

    pub(crate) fn from_number(number: i64) -> Option<Publisher> {
        NonZeroU64::new(number.cast_unsigned()).map(Publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(principal: &str, client_id: &str) -> Publisher {
        Publisher::of(&SessionKey::new(principal.parse().unwrap(), &client_id.into()))
    }

    #[test]
    fn a_publisher_is_known_by_principal_and_client_id_and_a_device_by_its_name() {
        let desk = publisher("app/desk", "one");
        assert_eq!(desk, publisher("app/desk", "one"));
        assert_ne!(desk, publisher("app/desk", "two"));
        assert_ne!(desk, publisher("usr/desk", "one"));
        assert_eq!(publisher("dev/lamp-1", "one"), publisher("dev/lamp-1", "two"));
        assert_eq!(Publisher::from_number(desk.number()), Some(desk));
        assert_eq!(desk.number(), -5_106_543_669_926_748_875, "it stands on disk");
    }
}
