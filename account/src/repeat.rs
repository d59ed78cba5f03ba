//! Requests that may come again: what an Idempotency-Key stands for, and the seal on the answer that is kept for it.
//!
//! The answer may hold a secret that is stored nowhere in plain text. So it is encrypted under a key made of the hash
//! key and the caller's Idempotency-Key, of which only a keyed hash is stored: without the caller, the database and
//! `hash.key` together open it only by guessing the Idempotency-Key.

use irsp_directory::HashKey;
use irsp_protocol::Principal;
use irsp_protocol::secret::SecretHash;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Longest Idempotency-Key, in bytes.
pub(crate) const KEY_LEN_MAX: usize = 255;

/// One caller's request under one Idempotency-Key.
#[derive(Clone, Debug)]
pub(crate) struct Repeat {
    /// Where it is looked up: caller and key.
    pub(crate) place: SecretHash,
    /// What was asked: method, path and body.
    pub(crate) request: SecretHash,
    seal: SecretHash,
}

impl Repeat {
    pub(crate) fn new(hash: &HashKey, who: &Principal, key: &[u8], asked: &[&[u8]]) -> Repeat {
        let who = who.to_string();
        let of = |purpose: &[u8], more: &[&[u8]]| {
            let mut text = Vec::new();
            for part in [purpose, who.as_bytes(), key].iter().chain(more) {
                // The length before each part: no two lists of parts are one text.
                text.extend_from_slice(&(part.len() as u64).to_be_bytes());
                text.extend_from_slice(part);
            }
            hash.hash(&text)
        };
        Repeat {
            place: of(b"repeat: place", &[]),
            request: of(b"repeat: request", asked),
            seal: of(b"repeat: seal", &[]),
        }
    }

    /// The nonce and the sealed answer.
    pub(crate) fn seal(&self, random: &SystemRandom, mut answer: Vec<u8>) -> Result<Vec<u8>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce)?;
        self.key()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut answer,
        )?;
        Ok([&nonce[..], &answer].concat())
    }

    /// The answer that was sealed.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, answer) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut answer = answer.to_vec();
        let plain =
            self.key()?
                .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut answer)?;
        Ok(plain.to_vec())
    }

    fn key(&self) -> Result<LessSafeKey, Unspecified> {
        Ok(LessSafeKey::new(UnboundKey::new(
            &CHACHA20_POLY1305,
            &self.seal.0,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use irsp_protocol::Id;

    use super::*;

    fn repeat(who: &str, key: &str, asked: &[&[u8]]) -> Repeat {
        let hash = HashKey::new(&[7; 32]);
        Repeat::new(
            &hash,
            &Principal::user(Id::new(who).unwrap()),
            key.as_bytes(),
            asked,
        )
    }

    #[test]
    fn only_the_same_caller_with_the_same_key_opens_the_answer() {
        let first = repeat("ann", "k-1", &[b"POST", b"/v1/devices", b"{}"]);
        let sealed = first.seal(&SystemRandom::new(), b"the code".to_vec()).unwrap();
        assert!(!sealed.windows(8).any(|window| window == b"the code"));
        let again = repeat("ann", "k-1", &[b"another", b"request"]);
        assert_eq!(again.open(&sealed).unwrap(), b"the code");
        for other in [repeat("bob", "k-1", &[]), repeat("ann", "k-2", &[])] {
            assert_ne!(other.place, first.place);
            assert!(other.open(&sealed).is_err());
        }
        assert!(again.open(&sealed[..NONCE_LEN - 1]).is_err());
    }

    #[test]
    fn another_request_is_another_hash() {
        let request = |asked: &[&[u8]]| repeat("ann", "k", asked).request;
        assert_eq!(request(&[b"a", b"b"]), request(&[b"a", b"b"]));
        assert_ne!(request(&[b"a", b"b"]), request(&[b"ab", b""]));
        assert_ne!(request(&[b"a", b"b"]), request(&[b"a", b"c"]));
    }
}
