use std::time::Duration;

use irsp_protocol::change::{Application, Cause, Device, Entity, EntityKey, User};
use irsp_protocol::credential::{Code, EndedLogin, Fingerprint, LoginId};

use super::*;
use crate::sample::{self, Household, NOON, application_of, device_of, principal, user_of, who};
use crate::token::{Claims, TokenSigner};

const HOUR: Duration = Duration::from_secs(3600);

/// The household, and the account server's signer whose key it has learnt.
fn house() -> (Household, TokenSigner) {
    let mut house = Household::new();
    let signer = TokenSigner::from_pkcs8(&TokenSigner::make().unwrap()).unwrap();
    house.put(Cause::Register, Entity::TokenKey(signer.token_key().clone()));
    (house, signer)
}

fn token(signer: &TokenSigner, sub: &str, iat: Timestamp) -> String {
    let claims = Claims {
        sub: who(sub),
        role: Role::User,
        iat,
        exp: iat.plus(HOUR),
        sid: None,
    };
    signer.sign(&claims).unwrap().expose().to_owned()
}

fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

impl Household {
    fn mqtt(&self, claimed: &str, password: &str) -> Result<Login, Status> {
        self.directory
            .authenticate(&who(claimed), password.as_bytes(), NOON)
    }

    fn http(&self, authorization: &str) -> Result<Login, Status> {
        self.directory.authorize_http(Some(authorization), NOON)
    }
}

#[test]
fn a_device_logs_in_with_its_code() {
    let (house, _) = house();
    let login = house.mqtt("dev/lamp-1", "code of lamp-1").unwrap();
    assert_eq!(
        login,
        Login {
            principal: who("dev/lamp-1"),
            role: None,
            generation: 1,
            credential: Credential::Secret(sample::key().hash(b"code of lamp-1")),
        }
    );
}

#[test]
fn wrong_codes_are_refused() {
    let (house, _) = house();
    for (claimed, password) in [
        ("dev/lamp-1", ""),
        ("dev/lamp-1", "code of lamp-2"),
        ("dev/lamp-1", "code of lamp-1 "),
        ("dev/lamp-3", "code of lamp-1"),
        ("dev/lamp-1", "key of climate"),
        ("dev/lamp-1", "admin-token"),
        ("usr/ann", "code of lamp-1"),
        ("app/climate", "code of lamp-1"),
        ("srv/message", "code of lamp-1"),
        ("as/home", "code of lamp-1"),
        ("ext/weather", "code of lamp-1"),
    ] {
        assert_eq!(
            house.mqtt(claimed, password),
            Err(Status::UNAUTHENTICATED),
            "{claimed} {password}"
        );
    }
    assert_eq!(
        house.directory.authenticate(&who("usr/ann"), &[0xff, 0xfe], NOON),
        Err(Status::UNAUTHENTICATED)
    );
}

#[test]
fn several_codes_open_until_each_ends() {
    let (mut house, _) = house();
    let hash = |text: &str| sample::key().hash(text.as_bytes());
    let ending = Code {
        hash: hash("old"),
        expires: Some(NOON.plus(HOUR)),
    };
    let device = Device {
        codes: vec![ending, Code::lasting(hash("new"))],
        ..device_of("lamp-1")
    };
    house.put(Cause::Modify, Entity::Device(device));
    let at = |code: &str, now| {
        let login = house
            .directory
            .authenticate(&who("dev/lamp-1"), code.as_bytes(), now);
        login.map(|login| login.credential)
    };
    assert_eq!(at("old", NOON), Ok(Credential::Secret(hash("old"))));
    assert_eq!(at("new", NOON), Ok(Credential::Secret(hash("new"))));
    assert_eq!(at("old", NOON.plus(HOUR)), Err(Status::UNAUTHENTICATED));
    assert_eq!(at("new", NOON.plus(HOUR)), Ok(Credential::Secret(hash("new"))));
}

#[test]
fn a_device_is_known_by_a_certificate_that_is_registered() {
    let (mut house, _) = house();
    let (ca, other_ca) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
    let exact = Certificate::Exact {
        fingerprint: Fingerprint([3; 32]),
    };
    let named = Certificate::Named {
        ca,
        name: "lamp-2.devices".to_owned(),
    };
    for (name, certificate) in [("lamp-1", &exact), ("lamp-2", &named)] {
        let device = Device {
            certificates: vec![certificate.clone()],
            ..device_of(name)
        };
        house.put(Cause::Modify, Entity::Device(device));
    }
    let shown = |fingerprint: u8, ca, name: &str| ShownCertificate {
        fingerprint: Fingerprint([fingerprint; 32]),
        cas: vec![ca],
        names: vec!["some.other.name".to_owned(), name.to_owned()],
    };
    let login = |claimed: Option<&str>, shown: &ShownCertificate| {
        let claimed = claimed.map(who);
        let login = house
            .directory
            .authenticate_certificate(claimed.as_ref(), shown)?;
        Ok((login.principal.to_string(), login.credential))
    };
    let known = |device: &str, certificate: &Certificate| {
        Ok((device.to_owned(), Credential::Certificate(certificate.clone())))
    };
    for claimed in [None, Some("dev/lamp-1")] {
        assert_eq!(
            login(claimed, &shown(3, other_ca, "x")),
            known("dev/lamp-1", &exact)
        );
    }
    for claimed in [None, Some("dev/lamp-2")] {
        assert_eq!(
            login(claimed, &shown(9, ca, "lamp-2.devices")),
            known("dev/lamp-2", &named)
        );
    }
    // One certificate may stand for two devices; the name decides.
    let both = shown(3, ca, "lamp-2.devices");
    assert_eq!(login(Some("dev/lamp-2"), &both), known("dev/lamp-2", &named));
    for (claimed, shown) in [
        (None, shown(9, ca, "lamp-3.devices")),
        (None, shown(9, other_ca, "lamp-2.devices")),
        (Some("dev/lamp-2"), shown(3, ca, "x")),
        (Some("usr/ann"), shown(3, ca, "x")),
        (Some("dev/nobody"), shown(3, ca, "x")),
    ] {
        assert_eq!(
            login(claimed, &shown),
            Err(Status::UNAUTHENTICATED),
            "{claimed:?} {shown:?}"
        );
    }
    let disabled = Device {
        certificates: vec![exact.clone()],
        disabled: true,
        ..device_of("lamp-1")
    };
    house.put(Cause::Modify, Entity::Device(disabled));
    assert_eq!(
        house.directory.authenticate_certificate(None, &shown(3, ca, "x")),
        Err(Status::FORBIDDEN)
    );
    house.delete(principal("dev/lamp-2"));
    assert_eq!(
        house
            .directory
            .authenticate_certificate(None, &shown(9, ca, "lamp-2.devices")),
        Err(Status::UNAUTHENTICATED)
    );
}

#[test]
fn the_tokens_of_a_login_that_was_ended_are_refused() {
    let (mut house, signer) = house();
    let token = |login| {
        let claims = Claims {
            sub: who("usr/ann"),
            role: Role::User,
            iat: NOON,
            exp: NOON.plus(HOUR),
            sid: login,
        };
        signer.sign(&claims).unwrap().expose().to_owned()
    };
    let ended = EndedLogin {
        login: LoginId(1),
        until: NOON.plus(HOUR),
    };
    let user = User {
        ended_logins: vec![ended],
        ..user_of("ann")
    };
    house.put(Cause::Modify, Entity::User(user));
    assert_eq!(
        house.mqtt("usr/ann", &token(Some(LoginId(1)))),
        Err(Status::UNAUTHENTICATED)
    );
    for login in [Some(LoginId(2)), None] {
        let known = house.mqtt("usr/ann", &token(login)).unwrap();
        assert_eq!(known.credential, Credential::Login(login));
    }
}

#[test]
fn a_deleted_device_is_as_unknown_as_one_that_never_was() {
    let (mut house, _) = house();
    house.delete(principal("dev/lamp-1"));
    assert_eq!(
        house.mqtt("dev/lamp-1", "code of lamp-1"),
        Err(Status::UNAUTHENTICATED)
    );
}

#[test]
fn the_old_code_opens_nothing_after_a_reset() {
    let (mut house, _) = house();
    let reset = Device {
        codes: vec![Code::lasting(sample::key().hash(b"new code"))],
        generation: 2,
        ..device_of("lamp-1")
    };
    house.put(Cause::Reset, Entity::Device(reset));
    assert_eq!(
        house.mqtt("dev/lamp-1", "code of lamp-1"),
        Err(Status::UNAUTHENTICATED)
    );
    assert_eq!(house.mqtt("dev/lamp-1", "new code").unwrap().generation, 2);
}

#[test]
fn only_who_knows_the_code_hears_that_a_device_is_disabled() {
    let (mut house, _) = house();
    let disabled = Device {
        disabled: true,
        ..device_of("lamp-1")
    };
    house.put(Cause::Modify, Entity::Device(disabled));
    assert_eq!(house.mqtt("dev/lamp-1", "code of lamp-1"), Err(Status::FORBIDDEN));
    assert_eq!(house.mqtt("dev/lamp-1", "guess"), Err(Status::UNAUTHENTICATED));
}

#[test]
fn a_user_logs_in_with_a_token_over_both_doors() {
    let (house, signer) = house();
    let token = token(&signer, "usr/ann", NOON);
    let login = house.mqtt("usr/ann", &token).unwrap();
    assert_eq!(login.role, Some(Role::User));
    assert_eq!(house.http(&format!("Bearer {token}")), Ok(login.clone()));
    assert_eq!(house.http(&format!("bearer  {token} ")), Ok(login.clone()));
    assert_eq!(house.http(&basic(&format!("usr/ann:{token}"))), Ok(login));
    assert_eq!(house.mqtt("usr/bob", &token), Err(Status::UNAUTHENTICATED));
    assert_eq!(house.mqtt("dev/lamp-1", &token), Err(Status::UNAUTHENTICATED));
}

#[test]
fn the_role_is_the_directorys_not_the_tokens() {
    let (mut house, signer) = house();
    let token = token(&signer, "usr/ann", NOON);
    let promoted = User {
        role: Role::Operator,
        ..user_of("ann")
    };
    house.put(Cause::Modify, Entity::User(promoted));
    assert_eq!(house.mqtt("usr/ann", &token).unwrap().role, Some(Role::Operator));
}

#[test]
fn a_token_from_before_the_logout_is_refused_and_one_just_after_is_not() {
    let (house, signer) = house();
    let before = Timestamp::from_millis(NOON.as_millis() - 1);
    let after = Timestamp::from_millis(NOON.as_millis() + 1);
    assert_eq!(
        house.mqtt("usr/ann", &token(&signer, "usr/ann", before)),
        Err(Status::UNAUTHENTICATED)
    );
    assert!(house.mqtt("usr/ann", &token(&signer, "usr/ann", after)).is_ok());
}

#[test]
fn a_token_ends_with_its_user_and_with_its_key() {
    let (mut house, signer) = house();
    let ann = token(&signer, "usr/ann", NOON);
    let bob = token(&signer, "usr/bob", NOON);
    house.delete(principal("usr/ann"));
    assert_eq!(house.mqtt("usr/ann", &ann), Err(Status::UNAUTHENTICATED));
    let disabled = User {
        disabled: true,
        ..user_of("bob")
    };
    house.put(Cause::Modify, Entity::User(disabled));
    assert_eq!(house.mqtt("usr/bob", &bob), Err(Status::FORBIDDEN));
    house.put(Cause::Modify, sample::user("bob"));
    house.delete(EntityKey::TokenKey(signer.token_key().id.clone()));
    assert_eq!(house.mqtt("usr/bob", &bob), Err(Status::UNAUTHENTICATED));
}

#[test]
fn a_token_for_a_device_or_from_a_stranger_is_refused() {
    let (house, signer) = house();
    let for_device = token(&signer, "dev/lamp-1", NOON);
    assert_eq!(
        house.http(&format!("Bearer {for_device}")),
        Err(Status::UNAUTHENTICATED)
    );
    let stranger = TokenSigner::from_pkcs8(&TokenSigner::make().unwrap()).unwrap();
    let forged = token(&stranger, "usr/ann", NOON);
    assert_eq!(
        house.http(&format!("Bearer {forged}")),
        Err(Status::UNAUTHENTICATED)
    );
}

#[test]
fn an_expired_token_is_refused() {
    let (house, signer) = house();
    let token = token(&signer, "usr/ann", NOON);
    let header = format!("Bearer {token}");
    let at = |time| house.directory.authorize_http(Some(&header), time);
    assert!(at(Timestamp::from_millis(NOON.plus(HOUR).as_millis() - 1)).is_ok());
    assert_eq!(at(NOON.plus(HOUR)), Err(Status::UNAUTHENTICATED));
}

#[test]
fn the_admin_token_opens_both_doors_until_it_is_taken_back() {
    let (mut house, _) = house();
    let login = house.http("Bearer admin-token").unwrap();
    assert_eq!(
        (login.principal, login.role),
        (who("usr/root"), Some(Role::Admin))
    );
    assert!(house.mqtt("usr/root", "admin-token").is_ok());
    assert_eq!(house.mqtt("usr/ann", "admin-token"), Err(Status::UNAUTHENTICATED));
    let without = User {
        role: Role::Admin,
        ..user_of("root")
    };
    house.put(Cause::Modify, Entity::User(without));
    assert_eq!(house.http("Bearer admin-token"), Err(Status::UNAUTHENTICATED));
}

#[test]
fn an_application_logs_in_with_any_of_its_keys() {
    let (mut house, _) = house();
    let app = Application {
        keys: vec![sample::key().hash(b"first"), sample::key().hash(b"second")],
        ..application_of("climate")
    };
    house.put(Cause::Modify, Entity::Application(app));
    for key in ["first", "second"] {
        assert!(house.mqtt("app/climate", key).is_ok());
        assert!(house.http(&format!("Bearer {key}")).is_ok());
        assert!(house.http(&basic(&format!("app/climate:{key}"))).is_ok());
    }
    let old = "key of climate";
    assert_eq!(house.mqtt("app/climate", old), Err(Status::UNAUTHENTICATED));
    assert_eq!(house.http(&format!("Bearer {old}")), Err(Status::UNAUTHENTICATED));
    house.delete(principal("app/climate"));
    assert_eq!(house.http("Bearer first"), Err(Status::UNAUTHENTICATED));
}

#[test]
fn a_disabled_application_is_told_so() {
    let (mut house, _) = house();
    let disabled = Application {
        disabled: true,
        ..application_of("climate")
    };
    house.put(Cause::Modify, Entity::Application(disabled));
    assert_eq!(house.http("Bearer key of climate"), Err(Status::FORBIDDEN));
    assert_eq!(
        house.mqtt("app/climate", "key of climate"),
        Err(Status::FORBIDDEN)
    );
}

#[test]
fn a_device_code_opens_nothing_over_http() {
    let (house, _) = house();
    for authorization in ["Bearer code of lamp-1", &basic("dev/lamp-1:code of lamp-1")] {
        assert_eq!(house.http(authorization), Err(Status::UNAUTHENTICATED));
    }
}

#[test]
fn a_malformed_authorization_header_is_refused() {
    let (house, _) = house();
    assert_eq!(
        house.directory.authorize_http(None, NOON),
        Err(Status::UNAUTHENTICATED)
    );
    for authorization in [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "admin-token",
        "Token admin-token",
        "Basic ",
        "Basic !!!",
        "Basic admin-token",
        "Bearer a.b.c",
        "Bearer ..",
        &basic("app/climate"),
        &basic("climate:key of climate"),
        &basic("app/climate@home.example:key of climate"),
        &basic(":"),
        &format!("Bearer {}", "x".repeat(100_000)),
    ] {
        assert_eq!(
            house.http(authorization),
            Err(Status::UNAUTHENTICATED),
            "{authorization}"
        );
    }
}
