//! Who may send a message to whom (clause 8.4), and how an application receives.
//!
//! | from | to | |
//! |---|---|---|
//! | application | application in its `messages` grant | 404, 410 or 403 if that one is unknown, deleted or disabled |
//! | application | any other | 403 |
//! | anyone else | | 403: devices and users upload |

use irsp_protocol::change::{Delivery, Retention};
use irsp_protocol::{Id, Kind, Principal, Status};

use crate::directory::Directory;

impl Directory {
    /// Whether `from` may send `to` a message; the error is the status it ends with.
    pub fn may_message(&self, from: &Principal, to: &Principal) -> Result<(), Status> {
        if from.kind != Kind::Application || to.kind != Kind::Application {
            return Err(Status::FORBIDDEN);
        }
        let state = self.read();
        // A sender that is gone may do nothing; that it is gone is not the receiver's status.
        state.check(from).map_err(|_| Status::FORBIDDEN)?;
        if !state.find_application(&from.id)?.messages.includes(to) {
            return Err(Status::FORBIDDEN);
        }
        state.check(to)
    }

    /// The attached applications that hear a principal.
    pub fn attached_hearing(&self, principal: &Principal) -> Vec<Id> {
        let state = self.read();
        state
            .attached()
            .filter(|app| app.hears.includes(principal))
            .map(|app| app.id.clone())
            .collect()
    }

    /// The applications for which less is kept than the server keeps.
    pub fn retentions(&self) -> Vec<(Id, Retention)> {
        let state = self.read();
        state
            .applications()
            .filter(|app| !app.retention.keeps_all())
            .map(|app| (app.id.clone(), app.retention))
            .collect()
    }

    /// How an application receives uploads and messages; else 404, or 410 if it was deleted.
    pub fn delivery(&self, application: &Id) -> Result<Delivery, Status> {
        Ok(self.read().find_application(application)?.delivery)
    }
}

#[cfg(test)]
mod tests {
    use irsp_protocol::change::{Application, Cause, Entity, Scope};

    use super::*;
    use crate::sample::{Household, application, application_of, principal, who};

    impl Household {
        fn message(&self, from: &str, to: &str) -> Result<(), Status> {
            self.directory.may_message(&who(from), &who(to))
        }
    }

    fn house() -> Household {
        let mut house = Household::new();
        house.put(Cause::Register, application("billing"));
        house.put(Cause::Register, application("desk"));
        house
    }

    #[test]
    fn an_application_messages_within_its_grant() {
        let mut house = house();
        assert_eq!(house.message("app/climate", "app/billing"), Ok(()));
        assert_eq!(house.message("app/climate", "app/nobody"), Err(Status::NOT_FOUND));
        let narrow = Application {
            messages: Scope::Only(vec![who("app/billing").into(), who("app/gone").into()]),
            ..application_of("climate")
        };
        house.put(Cause::Modify, Entity::Application(narrow));
        assert_eq!(house.message("app/climate", "app/billing"), Ok(()));
        assert_eq!(house.message("app/climate", "app/gone"), Err(Status::NOT_FOUND));
        for outside in ["app/desk", "app/nobody"] {
            assert_eq!(
                house.message("app/climate", outside),
                Err(Status::FORBIDDEN),
                "{outside}"
            );
        }
        assert_eq!(
            house.message("app/billing", "app/climate"),
            Ok(()),
            "a grant is its holder's"
        );
    }

    #[test]
    fn the_receivers_standing_is_the_status() {
        let mut house = house();
        house.delete(principal("app/billing"));
        assert_eq!(house.message("app/climate", "app/billing"), Err(Status::DELETED));
        assert_eq!(
            house.directory.delivery(&who("app/billing").id),
            Err(Status::DELETED)
        );
        let disabled = Application {
            disabled: true,
            ..application_of("desk")
        };
        house.put(Cause::Modify, Entity::Application(disabled));
        assert_eq!(house.message("app/climate", "app/desk"), Err(Status::FORBIDDEN));
        assert_eq!(
            house.message("app/desk", "app/climate"),
            Err(Status::FORBIDDEN),
            "nor does it send"
        );
    }

    #[test]
    fn only_applications_message_and_are_messaged() {
        let house = house();
        for (from, to) in [
            ("dev/lamp-1", "app/climate"),
            ("usr/ann", "app/climate"),
            ("usr/root", "app/climate"),
            ("app/climate", "dev/lamp-1"),
            ("app/climate", "usr/ann"),
            ("app/nobody", "app/climate"),
        ] {
            assert_eq!(house.message(from, to), Err(Status::FORBIDDEN), "{from} {to}");
        }
    }
}
