use irsp_protocol::change::{Application, Cause, Device, Entity, Scope, User};

use super::*;
use crate::sample::{Household, application_of, binding, device_of, principal, user_of, who};

impl Household {
    fn push(&self, from: &str, to: &str) -> Result<(), Status> {
        self.directory.may_push(&who(from), &who(to))
    }
}

#[test]
fn an_application_pushes_within_its_scope() {
    let mut house = Household::new();
    assert_eq!(house.push("app/climate", "dev/lamp-1"), Ok(()));
    assert_eq!(house.push("app/climate", "usr/ann"), Ok(()));
    let narrow = Application {
        pushes: Scope::Only(vec![who("dev/lamp-1").into(), who("dev/lamp-9").into()]),
        ..application_of("climate")
    };
    house.put(Cause::Modify, Entity::Application(narrow));
    assert_eq!(house.push("app/climate", "dev/lamp-1"), Ok(()));
    assert_eq!(house.push("app/climate", "dev/lamp-2"), Err(Status::FORBIDDEN));
    assert_eq!(house.push("app/climate", "dev/lamp-9"), Err(Status::NOT_FOUND));
    assert_eq!(
        house.push("app/climate", "dev/nobody"),
        Err(Status::FORBIDDEN),
        "outside its scope it learns nothing"
    );
}

#[test]
fn an_application_hears_why_a_target_in_its_scope_takes_nothing() {
    let mut house = Household::new();
    assert_eq!(house.push("app/climate", "dev/nobody"), Err(Status::NOT_FOUND));
    house.delete(principal("dev/lamp-1"));
    assert_eq!(house.push("app/climate", "dev/lamp-1"), Err(Status::DELETED));
    let disabled = Device {
        disabled: true,
        ..device_of("lamp-2")
    };
    house.put(Cause::Modify, Entity::Device(disabled));
    assert_eq!(house.push("app/climate", "dev/lamp-2"), Err(Status::FORBIDDEN));
}

#[test]
fn an_application_that_is_gone_or_disabled_pushes_nothing() {
    let mut house = Household::new();
    assert_eq!(house.push("app/unknown", "dev/lamp-1"), Err(Status::FORBIDDEN));
    let disabled = Application {
        disabled: true,
        ..application_of("climate")
    };
    house.put(Cause::Modify, Entity::Application(disabled));
    assert_eq!(house.push("app/climate", "dev/lamp-1"), Err(Status::FORBIDDEN));
    house.delete(principal("app/climate"));
    assert_eq!(house.push("app/climate", "dev/lamp-1"), Err(Status::FORBIDDEN));
}

#[test]
fn a_user_pushes_to_bound_devices_and_to_oneself() {
    let mut house = Household::new();
    assert_eq!(house.push("usr/ann", "dev/lamp-1"), Ok(()));
    assert_eq!(house.push("usr/ann", "usr/ann"), Ok(()));
    house.delete(binding("lamp-1", "ann").key());
    assert_eq!(house.push("usr/ann", "dev/lamp-1"), Err(Status::FORBIDDEN));
}

#[test]
fn a_user_cannot_find_out_which_devices_exist() {
    let mut house = Household::new();
    house.delete(principal("dev/lamp-2"));
    for target in ["dev/lamp-1", "dev/lamp-2", "dev/nobody", "usr/ann", "app/climate"] {
        assert_eq!(house.push("usr/bob", target), Err(Status::FORBIDDEN), "{target}");
    }
}

#[test]
fn the_admin_hears_which_devices_exist_and_is_bound_to_none() {
    let mut house = Household::new();
    house.delete(principal("dev/lamp-2"));
    assert_eq!(house.push("usr/root", "dev/nobody"), Err(Status::NOT_FOUND));
    assert_eq!(house.push("usr/root", "dev/lamp-2"), Err(Status::DELETED));
    assert_eq!(house.push("usr/root", "dev/lamp-1"), Err(Status::FORBIDDEN));
}

#[test]
fn a_user_that_is_gone_or_disabled_pushes_nothing() {
    let mut house = Household::new();
    let disabled = User {
        disabled: true,
        ..user_of("ann")
    };
    house.put(Cause::Modify, Entity::User(disabled));
    assert_eq!(house.push("usr/ann", "dev/lamp-1"), Err(Status::FORBIDDEN));
    assert_eq!(house.push("usr/ann", "usr/ann"), Err(Status::FORBIDDEN));
    house.delete(principal("usr/ann"));
    assert_eq!(house.push("usr/ann", "dev/lamp-1"), Err(Status::FORBIDDEN));
}

#[test]
fn nobody_else_pushes_and_nothing_else_is_pushed_to() {
    let house = Household::new();
    for from in ["dev/lamp-1", "ext/weather", "as/home", "srv/app"] {
        assert_eq!(house.push(from, "dev/lamp-1"), Err(Status::FORBIDDEN), "{from}");
    }
    for to in ["app/climate", "ext/weather", "as/home", "srv/message"] {
        assert_eq!(house.push("app/climate", to), Err(Status::FORBIDDEN), "{to}");
    }
}
