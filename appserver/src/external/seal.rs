//! How signing secrets stand on disk: encrypted under a key made of the domain's `hash.key`, because signing needs them
//! in plain. A stolen `app.db` alone gives no secret; with `hash.key` (mode 0600) it does.

use irsp_directory::HashKey;
use irsp_protocol::Id;
use irsp_protocol::secret::SecretHash;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// The purpose of the key: another one of the same hash key opens nothing of ours.
const PURPOSE: &[u8] = b"irsp external signing secrets 1";

/// Seals and opens what one application's endpoint keeps secret. `Debug` shows no key.
#[derive(Clone, Debug)]
pub(crate) struct Seal(SecretHash);

impl Seal {
    pub(crate) fn new(hash: &HashKey) -> Seal {
        Seal(hash.hash(PURPOSE))
    }

    /// The nonce and the sealed bytes; they open for the same application only.
    pub(crate) fn seal(&self, random: &SystemRandom, app: &Id, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce)?;
        let mut sealed = plain.to_vec();
        self.key()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(app.as_str().as_bytes()),
            &mut sealed,
        )?;
        Ok([&nonce[..], &sealed].concat())
    }

    pub(crate) fn open(&self, app: &Id, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(app.as_str().as_bytes()),
            &mut sealed,
        )?;
        Ok(plain.to_vec())
    }

    fn key(&self) -> Result<LessSafeKey, Unspecified> {
        Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.0.0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_domain_and_application_open_it() {
        let (seal, random) = (Seal::new(&HashKey::new(&[7; 32])), SystemRandom::new());
        let (climate, billing) = (Id::new("climate").unwrap(), Id::new("billing").unwrap());
        let sealed = seal.seal(&random, &climate, b"whsec_plain").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"whsec_"));
        assert_eq!(seal.open(&climate, &sealed).unwrap(), b"whsec_plain");
        assert!(seal.open(&billing, &sealed).is_err());
        assert!(
            Seal::new(&HashKey::new(&[8; 32]))
                .open(&climate, &sealed)
                .is_err()
        );
        assert!(seal.open(&climate, &sealed[..5]).is_err());
    }
}
