//! The clause table: the rows of docs/profile.md, and which checks try each. A test compares the rows.

use std::pin::Pin;

use crate::report::Clause;
use crate::trouble::Trouble;

use super::{
    Stage, account, application, between, changes, domains, external, message_server, presence, push,
    security, status, upload,
};

/// One check of one clause.
pub(crate) struct Check {
    pub(crate) clause: &'static str,
    pub(crate) says: &'static str,
    pub(crate) run: Run,
}

type Run = for<'a> fn(&'a Stage) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + 'a>>;

macro_rules! clauses {
    ($($number:literal $heading:literal { $($says:literal => $run:path,)+ })+) => {
        /// The clauses, in the profile's words.
        pub const CLAUSES: &[Clause] = &[$(Clause { number: $number, heading: $heading }),+];

        pub(crate) const CHECKS: &[Check] = &[$($(Check {
            clause: $number,
            says: $says,
            run: |stage| Box::pin($run(stage)),
        }),+),+];
    };
}

clauses! {
    "7.1" "account server" {
        "secrets are shown once, ids are unique" => account::secrets_are_shown_once,
        "nobody comes in without a credential" => account::nobody_without_a_credential,
        "a user logs in and binds a device by its code" => account::a_user_binds_by_the_code,
        "a repeat under the same Idempotency-Key is carried out once" => account::a_repeat_is_carried_out_once,
        "If-Match guards a change" => account::a_version_guards_a_change,
    }
    "7.2" "message server" {
        "MQTT 3.1.1 and 5.0 log in, a wrong code is refused" => message_server::both_versions_log_in,
        "a device's second connection takes over the first" => message_server::a_second_connection_takes_over,
        "live messages at QoS 0, 1 and 2" => message_server::live_messages_at_every_qos,
        "a session outlives its connection" => message_server::a_session_outlives_its_connection,
        "a retained message meets who comes late" => message_server::a_retained_message_meets_who_comes_late,
        "a group shares its messages" => message_server::a_group_shares,
    }
    "7.3" "application server" {
        "uploads are served by channel, device and page" => application::uploads_are_served,
        "uploads are exported as NDJSON and CSV" => application::uploads_are_exported,
        "a stream resumes where it ended" => application::a_stream_resumes,
        "an attached application's answer is the status" => application::an_attached_application_answers,
    }
    "7.4" "external application server" {
        "an endpoint is to be confirmed and shows no secret" => external::an_endpoint_is_to_be_confirmed,
    }
    "8.2.1" "register" {
        "what is registered works at once" => changes::what_is_registered_works,
        "many at once are all or none" => changes::many_at_once_are_all_or_none,
    }
    "8.2.2" "modify" {
        "a disabled device is out at once" => changes::a_disabled_device_is_out_at_once,
        "a new key ends the old one" => changes::a_new_key_ends_the_old_one,
        "a right that is taken back acts on subscriptions" => changes::a_grant_taken_back_acts_at_once,
    }
    "8.2.3" "delete" {
        "session, queue and name end" => changes::a_deletion_ends_session_queue_and_name,
    }
    "8.2.4" "reset" {
        "session, queue and code end" => changes::a_reset_ends_session_queue_and_code,
    }
    "8.3.1" "upload" {
        "by both versions, at QoS 1 and 2, stored once, with a status" => upload::every_way_is_stored_once,
        "a repeat by id is stored once" => upload::a_repeat_by_id_is_stored_once,
        "a CloudEvent sets id and time in 3.1.1" => upload::a_cloud_event_has_id_and_time,
        "what is wrong is refused and stored nowhere" => upload::what_is_wrong_is_refused,
    }
    "8.3.2" "online, offline" {
        "each session is told, in order, with the reason of its end" => presence::each_session_is_told_with_its_end,
        "who comes late is told" => presence::who_comes_late_is_told,
        "a push on hearing online is not lost" => presence::a_push_on_hearing_online_is_not_lost,
        "who may not know is not told" => presence::who_may_not_know_is_not_told,
    }
    "8.3.3" "push" {
        "a device that is here answers" => push::a_device_that_is_here_answers,
        "what waited comes in order, once answered never again" => push::what_waited_comes_in_order,
        "its expiry ends it" => push::expiry_ends_it,
        "an id is one push, by HTTP and MQTT" => push::an_id_is_one_push,
        "supersede key and epoch hold, wrong options are named" => push::options_hold,
        "users and applications push by MQTT, strangers do not" => push::users_and_mqtt_push_as_well,
        "a list has a receipt each" => push::a_list_has_a_receipt_each,
    }
    "8.3.4" "status codes" {
        "a receipt shows the whole way" => status::a_receipt_shows_the_way,
        "every code is of the registry" => status::every_code_is_registered,
        "refusals over HTTP are problem documents" => status::refusals_are_problem_documents,
        "the ledger adds up" => status::the_ledger_adds_up,
    }
    "8.4" "app to app, one AS" {
        "a message is stored, by HTTP and MQTT" => between::a_message_is_stored_and_answered,
        "an attached application answers a message" => between::an_attached_application_answers_a_message,
        "who is not granted is refused" => between::who_is_not_granted_is_refused,
    }
    "8.5" "message server to message server" {
        "peers are for operators" => domains::peers_are_for_operators,
        "the link stands" => domains::the_link_stands,
    }
    "8.6" "app to app, other AS" {
        "a domain that is no peer is refused" => domains::a_domain_that_is_no_peer_is_refused,
        "a message crosses" => domains::a_message_crosses,
    }
    "8.7" "message server to app, other AS" {
        "upload, presence and push between a device and a foreign application, only if granted" => domains::a_device_and_a_foreign_application_meet,
        "a device is shared with a foreign user, until it is taken back" => domains::a_device_is_shared_with_a_foreign_user,
    }
    "8.8.2" "internal to external" {
        "an upload is a signed event, its answer the status" => external::an_upload_is_a_signed_event,
    }
    "8.8.3" "external to internal" {
        "who signs pushes and messages, once and in batches" => external::who_signs_pushes_and_messages,
        "who does not sign is refused" => external::who_does_not_sign_is_refused,
    }
    "9" "security" {
        "foreign topics are refused" => security::foreign_topics_are_refused,
        "a credential opens its own door only" => security::credentials_open_their_own_door_only,
        "guesses are slowed" => security::guesses_are_slowed,
        "the audit log knows changes and refused logins" => security::the_audit_log_knows,
        "secrets are long and random" => security::secrets_are_long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = include_str!("../../../docs/profile.md");

    #[test]
    fn the_clauses_are_those_of_the_profile() {
        let table = PROFILE
            .split("\n## ")
            .find(|section| section.starts_with("Clauses"));
        let rows = table
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1);
        let rows: Vec<&str> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
        let clauses: Vec<String> = CLAUSES
            .iter()
            .map(|row| format!("{} {}", row.number, row.heading))
            .collect();
        assert_eq!(clauses, rows);
    }

    #[test]
    fn checks_are_told_apart_by_their_words() {
        for (n, check) in CHECKS.iter().enumerate() {
            assert!(
                !CHECKS[..n]
                    .iter()
                    .any(|other| (other.clause, other.says) == (check.clause, check.says))
            );
        }
    }
}
