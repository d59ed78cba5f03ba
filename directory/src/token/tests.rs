use std::time::Duration;

use super::*;
use crate::sample::{NOON, who};

fn signer() -> TokenSigner {
    TokenSigner::from_pkcs8(&TokenSigner::make().unwrap()).unwrap()
}

fn claims() -> Claims {
    Claims {
        sub: who("usr/ann"),
        role: Role::User,
        iat: Timestamp::from_millis(NOON.as_millis() + 123),
        exp: NOON.plus(Duration::from_secs(60)),
        sid: None,
    }
}

fn check(signer: &TokenSigner, token: &str) -> Result<Claims, TokenError> {
    let known = signer.token_key();
    verify(|kid| (kid == known.id).then_some(known), token, NOON)
}

/// A token with any header and claims, signed by `signer`'s key as if they were right.
fn signed(signer: &TokenSigner, header: &str, claims: &str) -> String {
    let body = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = jsonwebtoken::crypto::sign(body.as_bytes(), &signer.key, Algorithm::EdDSA).unwrap();
    format!("{body}.{signature}")
}

#[test]
fn a_token_says_what_was_signed_to_the_millisecond() {
    let signer = signer();
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(check(&signer, token.expose()).unwrap(), claims());
}

#[test]
fn the_same_key_file_gives_the_same_key_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.key");
    let first = TokenSigner::read_or_make(&path).unwrap();
    let second = TokenSigner::read_or_make(&path).unwrap();
    assert_eq!(first.token_key(), second.token_key());
    let token = first.sign(&claims()).unwrap();
    assert!(check(&second, token.expose()).is_ok());
}

#[test]
fn the_key_id_is_the_thumbprint_of_rfc_8037() {
    let public = URL_SAFE_NO_PAD
        .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        .unwrap();
    assert_eq!(
        token_key(&public).id,
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[test]
fn a_damaged_key_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.key");
    std::fs::write(&path, "not a key").unwrap();
    let error = TokenSigner::read_or_make(&path).unwrap_err();
    assert!(error.to_string().contains("token.key"), "{error}");
}

#[test]
fn a_token_expires() {
    let signer = signer();
    let token = signer.sign(&claims()).unwrap();
    let known = signer.token_key();
    let late = verify(|_| Some(known), token.expose(), claims().exp);
    assert!(matches!(late, Err(TokenError::Expired)));
}

#[test]
fn an_unknown_or_missing_key_verifies_nothing() {
    let (ours, other) = (signer(), signer());
    let token = other.sign(&claims()).unwrap();
    assert!(matches!(
        check(&ours, token.expose()),
        Err(TokenError::UnknownKey)
    ));
    // Another key under our key's id.
    let known = ours.token_key();
    let forged = verify(|_| Some(known), token.expose(), NOON);
    assert!(matches!(forged, Err(TokenError::Invalid(_))));
    let nameless = signed(&ours, r#"{"typ":"JWT","alg":"EdDSA"}"#, "{}");
    assert!(matches!(check(&ours, &nameless), Err(TokenError::UnknownKey)));
}

#[test]
fn every_change_to_a_token_is_noticed() {
    let signer = signer();
    let token = signer.sign(&claims()).unwrap();
    let token = token.expose();
    for at in 0..token.len() {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(check(&signer, &changed).is_err(), "byte {at}");
        assert!(check(&signer, &token[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn other_algorithms_are_refused() {
    let signer = signer();
    let kid = &signer.token_key().id;
    let body = serde_json::to_string(&claims()).unwrap();
    for alg in ["none", "HS256", "RS256", "ES256"] {
        let header = format!(r#"{{"typ":"JWT","alg":"{alg}","kid":"{kid}"}}"#);
        assert!(check(&signer, &signed(&signer, &header, &body)).is_err(), "{alg}");
    }
    // The public key is no shared secret.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.clone());
    let secret = EncodingKey::from_secret(signer.token_key().public.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
    assert!(check(&signer, &confused).is_err());
}

#[test]
fn claims_of_another_shape_are_refused() {
    let signer = signer();
    let header = format!(
        r#"{{"typ":"JWT","alg":"EdDSA","kid":"{}"}}"#,
        signer.token_key().id
    );
    for body in [
        "{}",
        "[]",
        "null",
        r#"{"sub":"usr/ann","role":"user","iat":1}"#,
        r#"{"sub":"ann","role":"user","iat":1,"exp":9e9}"#,
        r#"{"sub":"usr/ann","role":"king","iat":1,"exp":9e9}"#,
        r#"{"sub":"usr/ann","role":"user","iat":"now","exp":9e9}"#,
        r#"{"sub":"usr/ann","role":"user","iat":1,"exp":1e999}"#,
    ] {
        assert!(check(&signer, &signed(&signer, &header, body)).is_err(), "{body}");
    }
}

#[test]
fn a_token_of_any_length_is_refused_before_it_is_read() {
    let token = "x".repeat(TOKEN_LEN_MAX + 1);
    assert!(matches!(check(&signer(), &token), Err(TokenError::TooLong)));
    for text in ["", ".", "..", "...", "a.b.c", "eyJ9.e30.", "\0.\0.\0"] {
        assert!(check(&signer(), text).is_err(), "{text:?}");
    }
}

#[test]
fn the_private_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", signer()), "TokenSigner");
}
