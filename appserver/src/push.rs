//! A push or a message as it is asked for becomes an envelope, or is refused by a rule (clauses 8.3.3, 8.4). No clock
//! and no IO.

use irsp_protocol::api::app::{BodyError, PushRequest};
use irsp_protocol::expiry::ExpiryError;
use irsp_protocol::options::{self, OptionError};
use irsp_protocol::{
    Address, Domain, Envelope, Kind, MessageId, MessageKind, Principal, PushOptions, Status, Timestamp,
};
use thiserror::Error;

use crate::settings::PushLimits;

/// Longest media type, in bytes.
const CONTENT_TYPE_LEN_MAX: usize = 255;

/// Why a push is refused before anything is stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PushError {
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("the payload has {len} bytes and may have {max}")]
    TooLarge { len: usize, max: usize },
    #[error("a push goes to dev/... or usr/..., not to {0}; to an application POST /v1/message")]
    Destination(Address),
    #[error("a message goes to app/..., not to {0}; to a device or user POST /v1/push")]
    NoApplication(Address),
    #[error("{0} belongs to another domain")]
    WrongDomain(Address),
    #[error("only an admin may send from somebody else's address")]
    From,
    #[error("a push comes from app/... or usr/..., not from {0}")]
    Source(Principal),
    #[error("a message comes from app/..., not from {0}")]
    NotFromApplication(Principal),
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("a content_type has 1 to {CONTENT_TYPE_LEN_MAX} visible characters")]
    ContentType,
    #[error("the longest wait is {0} seconds")]
    WaitTooLong(u64),
}

impl PushError {
    pub(crate) fn status(&self) -> Status {
        match self {
            PushError::TooLarge { .. } => Status::TOO_LARGE,
            PushError::WrongDomain(_) => Status::WRONG_DOMAIN,
            PushError::From | PushError::Source(_) | PushError::NotFromApplication(_) => Status::FORBIDDEN,
            PushError::Expiry(error) => error.status(),
            PushError::Body(_)
            | PushError::Destination(_)
            | PushError::NoApplication(_)
            | PushError::Option(_)
            | PushError::ContentType
            | PushError::WaitTooLong(_) => Status::MALFORMED,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// To a device or a user (clause 8.3.3).
    Push,
    /// To another application (clause 8.4).
    Message,
}

/// Who asks, and what holds here and now.
pub(crate) struct Asking<'a> {
    pub(crate) what: What,
    pub(crate) caller: &'a Principal,
    pub(crate) admin: bool,
    pub(crate) domain: &'a Domain,
    pub(crate) limits: &'a PushLimits,
    pub(crate) id: MessageId,
    pub(crate) now: Timestamp,
}

impl Asking<'_> {
    /// The envelope that is asked for. Whether the sender may reach the destination is the directory's word.
    pub(crate) fn compose(&self, request: &PushRequest, to: &Address) -> Result<Envelope, PushError> {
        let source = self.source(request)?;
        let destination = self.localised(to);
        match (self.what, destination.principal.kind) {
            (What::Push, Kind::Device | Kind::User) | (What::Message, Kind::Application) => {}
            (What::Push, _) => return Err(PushError::Destination(to.clone())),
            (What::Message, _) => return Err(PushError::NoApplication(to.clone())),
        }
        let data = request.body().bytes()?;
        let max = self.limits.data_bytes_max;
        if data.len() > max {
            return Err(PushError::TooLarge { len: data.len(), max });
        }
        if request.wait.is_some_and(|wait| wait.0 > self.limits.wait_max) {
            return Err(PushError::WaitTooLong(self.limits.wait_max.as_secs()));
        }
        let json = || request.data.is_some().then(|| "application/json".to_owned());
        Ok(Envelope {
            id: self.id,
            kind: match self.what {
                What::Push => MessageKind::Push,
                What::Message => MessageKind::Message,
            },
            source: source.into(),
            destination,
            channel: Some(request.channel.clone()),
            time: self.now,
            expires: self.limits.expiry.until(
                self.now,
                request.expiry.map(|period| period.0),
                request.expires,
            )?,
            sender_id: request.id.as_deref().map(options::sender_id).transpose()?,
            content_type: content_type(request)?.or_else(json),
            options: PushOptions {
                supersede_key: request.supersede_key.clone(),
                only_if_epoch: request.only_if_epoch,
            },
            attributes: Vec::new(),
            data,
        })
    }

    /// On whose behalf it is sent.
    pub(crate) fn source(&self, request: &PushRequest) -> Result<Principal, PushError> {
        let source = match &request.from {
            None => self.caller.clone(),
            Some(from) => self.own(from)?,
        };
        if source != *self.caller && !self.admin {
            return Err(PushError::From);
        }
        match (self.what, source.kind) {
            (_, Kind::Application) | (What::Push, Kind::User) => Ok(source),
            (What::Push, _) => Err(PushError::Source(source)),
            (What::Message, _) => Err(PushError::NotFromApplication(source)),
        }
    }

    /// An address; our own domain is left out.
    fn localised(&self, address: &Address) -> Address {
        Address {
            principal: address.principal.clone(),
            domain: address.domain.clone().filter(|domain| domain != self.domain),
        }
    }

    /// The principal of an address in our own domain.
    pub(crate) fn own(&self, address: &Address) -> Result<Principal, PushError> {
        match &address.domain {
            Some(domain) if domain != self.domain => Err(PushError::WrongDomain(address.clone())),
            Some(_) | None => Ok(address.principal.clone()),
        }
    }
}

fn content_type(request: &PushRequest) -> Result<Option<String>, PushError> {
    match &request.content_type {
        Some(text)
            if text.is_empty()
                || text.len() > CONTENT_TYPE_LEN_MAX
                || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) =>
        {
            Err(PushError::ContentType)
        }
        text => Ok(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use irsp_protocol::api::receivers::Receivers;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_000);

    fn compose(caller: &str, admin: bool, json: &str) -> Result<Envelope, PushError> {
        ask(What::Push, caller, admin, json)
    }

    fn ask(what: What, caller: &str, admin: bool, json: &str) -> Result<Envelope, PushError> {
        let limits = PushLimits {
            data_bytes_max: 20,
            ..PushLimits::default()
        };
        let asking = Asking {
            what,
            caller: &caller.parse().unwrap(),
            admin,
            domain: &Domain::new("home.example").unwrap(),
            limits: &limits,
            id: MessageId::from_bytes([7; 16]),
            now: NOW,
        };
        let request: PushRequest = serde_json::from_str(json).unwrap();
        match &request.to {
            Receivers::One(to) => asking.compose(&request, to),
            several @ (Receivers::Many(_) | Receivers::DevicesOf(_)) => panic!("several: {several:?}"),
        }
    }

    fn push(rest: &str) -> Result<Envelope, PushError> {
        compose(
            "app/climate",
            false,
            &format!(r#"{{"to":"dev/lamp-1","channel":"set",{rest}}}"#),
        )
    }

    #[test]
    fn a_push_says_who_to_whom_what_and_until_when() {
        let envelope = push(r#""data":{"on": true},"expiry":"60s","id":"17""#).unwrap();
        assert_eq!(envelope.source.to_string(), "app/climate");
        assert_eq!(envelope.destination.to_string(), "dev/lamp-1");
        assert_eq!(envelope.data, r#"{"on": true}"#, "JSON keeps its spelling");
        assert_eq!(envelope.content_type.as_deref(), Some("application/json"));
        assert_eq!(envelope.sender_id.as_deref(), Some("17"));
        assert_eq!(envelope.expires.since(NOW).as_secs(), 60);
        let envelope = push(r#""text":"on""#).unwrap();
        assert_eq!(envelope.content_type, None);
        assert_eq!(envelope.expires.since(NOW), PushLimits::default().expiry.default);
        assert!(envelope.options.is_empty());
        let envelope = push(r#""text":"on","supersede_key":"power","only_if_epoch":3"#).unwrap();
        assert_eq!(envelope.options.supersede_key.unwrap().as_str(), "power");
        assert_eq!(envelope.options.only_if_epoch.unwrap().get(), 3);
        let own = r#"{"to":"dev/lamp-1@home.example","channel":"set","text":""}"#;
        assert_eq!(
            compose("usr/ann", false, own).unwrap().destination.to_string(),
            "dev/lamp-1"
        );
    }

    #[test]
    fn every_refusal_has_its_code() {
        let id = format!(r#""text":"","id":"{}""#, "x".repeat(options::KEY_LEN_MAX + 1));
        for (rest, code) in [
            (r#""content_type":"x""#, 400),
            (r#""text":"","data":1"#, 400),
            (r#""data_base64":"?""#, 400),
            (r#""text":"123456789012345678901""#, 413),
            (
                r#""text":"","expiry":"60s","expires":"2027-01-01T00:00:00Z""#,
                400,
            ),
            (r#""text":"","expiry":"31d""#, 400),
            (r#""text":"","expiry":0"#, 408),
            (r#""text":"","expires":"2020-01-01T00:00:00Z""#, 408),
            (r#""text":"","id":"""#, 400),
            (r#""text":"","id":"a\nb""#, 400),
            (id.as_str(), 400),
            (r#""text":"","content_type":"a\r\nb""#, 400),
            (r#""text":"","wait":"61s""#, 400),
            (r#""text":"","from":"app/other""#, 403),
        ] {
            assert_eq!(push(rest).unwrap_err().status().code(), code, "{rest}");
        }
        for (to, code) in [("app/climate", 400), ("srv/app", 400)] {
            let json = format!(r#"{{"to":"{to}","channel":"set","text":""}}"#);
            assert_eq!(
                compose("app/climate", false, &json).unwrap_err().status().code(),
                code,
                "{to}"
            );
        }
    }

    #[test]
    fn a_message_goes_from_application_to_application() {
        let to = |to: &str| format!(r#"{{"to":"{to}","channel":"invoice","data":7}}"#);
        let envelope = ask(What::Message, "app/climate", false, &to("app/billing")).unwrap();
        assert_eq!(envelope.kind, MessageKind::Message);
        assert_eq!(envelope.destination.to_string(), "app/billing");
        for (caller, destination, code) in [
            ("app/climate", "dev/lamp-1", 400),
            ("usr/ann", "app/billing", 403),
        ] {
            let refused = ask(What::Message, caller, false, &to(destination)).unwrap_err();
            assert_eq!(refused.status().code(), code, "{caller} to {destination}");
        }
        let from = r#"{"from":"app/climate","to":"app/billing","channel":"invoice","text":""}"#;
        let spoken = ask(What::Message, "usr/root", true, from).unwrap();
        assert_eq!(spoken.source.to_string(), "app/climate");
    }

    #[test]
    fn only_an_admin_speaks_for_others_and_only_for_applications_and_users() {
        let from = |from: &str| format!(r#"{{"from":"{from}","to":"dev/lamp-1","channel":"set","text":""}}"#);
        let source = |result: Result<Envelope, PushError>| result.map(|envelope| envelope.source.to_string());
        assert_eq!(
            source(compose("usr/root", true, &from("app/climate"))).unwrap(),
            "app/climate"
        );
        assert_eq!(
            source(compose("usr/ann", false, &from("usr/ann"))).unwrap(),
            "usr/ann"
        );
        assert_eq!(compose("usr/ann", false, &from("usr/bob")), Err(PushError::From));
        let device = compose("usr/root", true, &from("dev/lamp-1"));
        assert!(matches!(device, Err(PushError::Source(_))));
    }
}
