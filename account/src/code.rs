//! Machine-made secrets: verification codes, application keys and the admin token.
//!
//! 28 symbols of 5 bits are 140 bits of entropy, drawn from the operating system. The alphabet is Crockford's in lower
//! case: no `i`, `l`, `o` or `u`, so that a code read aloud or typed from a label is not mistaken.

use irsp_protocol::Secret;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SYMBOLS: usize = 28;
const GROUP: usize = 4;

/// A new secret such as `7kq2-mx4w-9tc3-hnef-r8vz-0pyd-j6bg`. Fails only if the operating system gives no randomness.
pub(crate) fn generate(random: &SystemRandom) -> Result<Secret, Unspecified> {
    let mut bytes = [0u8; SYMBOLS];
    random.fill(&mut bytes)?;
    let mut text = String::with_capacity(SYMBOLS + SYMBOLS / GROUP);
    for (position, byte) in bytes.iter().enumerate() {
        if position > 0 && position % GROUP == 0 {
            text.push('-');
        }
        // 256 is a multiple of 32, so every symbol is equally likely.
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_long_readable_and_never_the_same() {
        let random = SystemRandom::new();
        let codes: HashSet<String> = (0..1_000)
            .map(|_| generate(&random).unwrap().expose().to_owned())
            .collect();
        assert_eq!(codes.len(), 1_000);
        for code in codes {
            assert_eq!(code.split('-').count(), SYMBOLS / GROUP, "{code}");
            assert!(code.split('-').all(|group| group.len() == GROUP), "{code}");
            assert!(code.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)), "{code}");
        }
    }

    #[test]
    fn the_alphabet_has_no_two_symbols_that_look_alike() {
        assert_eq!(ALPHABET.iter().collect::<HashSet<_>>().len(), 32);
        for confusable in b"ilouILOU" {
            assert!(!ALPHABET.contains(confusable));
        }
    }
}
