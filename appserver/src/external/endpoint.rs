//! An application's endpoint: where it is, what it signs with, and whether anything is sent there.

use std::time::Duration;

use irsp_protocol::{Id, Timestamp};
use serde::{Deserialize, Serialize};

use super::signature::SigningSecret;
use super::target::Target;

/// Secrets that are live at one time. A further rotation ends the oldest.
const SECRETS_MAX: usize = 4;

/// How an event stands in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Binary,
    Structured,
}

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Mode::Binary => "binary",
            Mode::Structured => "structured",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Mode> {
        [Mode::Binary, Mode::Structured]
            .into_iter()
            .find(|mode| mode.as_str() == word)
    }
}

/// What stands behind an external application.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) app: Id,
    pub(crate) target: Target,
    pub(crate) mode: Mode,
    /// When it has shown that it reads what we sign and wants it; `None`: nothing is sent yet.
    pub(crate) confirmed: Option<Timestamp>,
    pub(crate) paused: bool,
    /// Whether it hears of presence.
    pub(crate) presence: bool,
    pub(crate) secrets: SigningSecrets,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
}

impl Endpoint {
    /// One that has no secret yet and is not confirmed.
    pub(crate) fn new(app: Id, target: Target, now: Timestamp) -> Endpoint {
        Endpoint {
            app,
            target,
            mode: Mode::default(),
            confirmed: None,
            paused: false,
            presence: false,
            secrets: SigningSecrets::default(),
            created: now,
            modified: now,
        }
    }

    /// Whether what waits may be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.confirmed.is_some() && !self.paused
    }

    pub(crate) const fn state(&self) -> &'static str {
        match (self.confirmed.is_some(), self.paused) {
            (false, _) => "unconfirmed",
            (true, false) => "confirmed",
            (true, true) => "paused",
        }
    }
}

/// The secrets of one endpoint, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct SigningSecrets(Vec<Live>);

#[derive(Clone, Debug)]
struct Live {
    secret: SigningSecret,
    made: Timestamp,
    /// When it ends; the newest has no end.
    until: Option<Timestamp>,
}

/// As it stands, sealed, on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    secret: String,
    made: i64,
    until: Option<i64>,
}

impl SigningSecrets {
    /// Those that hold now, the newest first.
    pub(crate) fn live(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        self.of_now(now).map(|live| &live.secret)
    }

    /// When each that holds now was made, and when it ends; the newest first.
    pub(crate) fn ages(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Option<Timestamp>)> {
        self.of_now(now).map(|live| (live.made, live.until))
    }

    fn of_now(&self, now: Timestamp) -> impl Iterator<Item = &Live> {
        (self.0.iter().rev()).filter(move |live| live.until.is_none_or(|until| now < until))
    }

    /// Adds a secret; the others hold for `overlap` more.
    pub(crate) fn rotate(&mut self, secret: SigningSecret, now: Timestamp, overlap: Duration) {
        let end = now.plus(overlap);
        self.0.retain(|live| live.until.is_none_or(|until| now < until));
        for live in &mut self.0 {
            live.until = Some(live.until.map_or(end, |until| until.min(end)));
        }
        self.0.retain(|live| live.until.is_none_or(|until| now < until));
        self.0.push(Live {
            secret,
            made: now,
            until: None,
        });
        let over = self.0.len().saturating_sub(SECRETS_MAX);
        self.0.drain(..over);
    }

    /// For sealing.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let stored: Vec<Stored> = (self.0.iter())
            .map(|live| Stored {
                secret: live.secret.text().expose().to_owned(),
                made: live.made.as_millis(),
                until: live.until.map(Timestamp::as_millis),
            })
            .collect();
        serde_json::to_vec(&stored)
    }

    /// What was sealed; `None` if it is none of ours.
    pub(crate) fn from_json(plain: &[u8]) -> Option<SigningSecrets> {
        let stored: Vec<Stored> = serde_json::from_slice(plain).ok()?;
        let each = |stored: Stored| {
            Some(Live {
                secret: SigningSecret::parse(&stored.secret).ok()?,
                made: Timestamp::from_millis(stored.made),
                until: stored.until.map(Timestamp::from_millis),
            })
        };
        stored
            .into_iter()
            .map(each)
            .collect::<Option<_>>()
            .map(SigningSecrets)
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

    fn secret() -> SigningSecret {
        SigningSecret::make(&SystemRandom::new()).unwrap()
    }

    fn live(secrets: &SigningSecrets, now: Timestamp) -> Vec<SigningSecret> {
        secrets.live(now).cloned().collect()
    }

    #[test]
    fn a_rotated_secret_holds_for_the_overlap_and_no_longer() {
        let (first, second, third) = (secret(), secret(), secret());
        let mut secrets = SigningSecrets::default();
        secrets.rotate(first.clone(), NOW, HOUR);
        secrets.rotate(second.clone(), NOW, HOUR);
        assert_eq!(live(&secrets, NOW), [second.clone(), first.clone()]);
        assert_eq!(live(&secrets, NOW.plus(HOUR)), std::slice::from_ref(&second));
        secrets.rotate(third.clone(), NOW, 5 * HOUR);
        assert_eq!(
            live(&secrets, NOW.plus(HOUR)),
            [third.clone(), second],
            "an end that was promised does not move"
        );
        let read = SigningSecrets::from_json(&secrets.to_json().unwrap()).unwrap();
        assert_eq!(live(&read, NOW), live(&secrets, NOW));
        secrets.rotate(first.clone(), NOW, Duration::ZERO);
        assert_eq!(
            live(&secrets, NOW),
            [first],
            "without overlap the old ones end at once"
        );
    }

    #[test]
    fn so_many_are_live_at_once() {
        let mut secrets = SigningSecrets::default();
        for _ in 0..10 {
            secrets.rotate(secret(), NOW, HOUR);
        }
        assert_eq!(live(&secrets, NOW).len(), SECRETS_MAX);
        assert!(SigningSecrets::from_json(b"[{}]").is_none());
    }
}
