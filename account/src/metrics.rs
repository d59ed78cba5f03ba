//! The account server's instruments: what each counts, and its name, labels and help as Prometheus shows them.

use std::time::Duration;

use irsp_protocol::Server;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::follower::FOLLOWERS;

/// Bounds of the histogram of effects, seconds: from two commits on a fast disk to a follower that was away.
const EFFECT_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0,
];

type Word = [(&'static str, &'static str); 1];

/// What the account server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) changes: Counter,
    pub(crate) logins: Counter,
    pub(crate) directory_pages: Counter,
    pub(crate) operations_forgotten: Counter,
    pub(crate) logins_renewed: Counter,
    pub(crate) refreshes_reused: Counter,
    pub(crate) logins_wrong: Counter,
    pub(crate) logins_disabled: Counter,
    pub(crate) logins_throttled: Counter,
    pub(crate) bindings_throttled: Counter,
    pub(crate) refusals_unwritten: Counter,
    effect: [Histogram; FOLLOWERS.len()],
    not_taken: [Counter; FOLLOWERS.len()],
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let changes = Counter::default();
        let help = "Changes of the directory committed.";
        registry.register("irsp_account_changes", help, changes.clone());
        let logins = Counter::default();
        let help = "Logins answered with a token.";
        registry.register("irsp_account_logins", help, logins.clone());

        let directory_pages = Counter::default();
        let help = "Pages of the directory shown to servers that asked for a snapshot.";
        registry.register("irsp_account_directory_pages", help, directory_pages.clone());
        let operations_forgotten = Counter::default();
        let help = "Operations forgotten after account.operation_retention.";
        registry.register(
            "irsp_account_operations_forgotten",
            help,
            operations_forgotten.clone(),
        );
        let logins_renewed = Counter::default();
        let help = "Logins prolonged by their refresh tokens.";
        registry.register("irsp_account_logins_renewed", help, logins_renewed.clone());
        let refreshes_reused = Counter::default();
        let help = "Refresh tokens shown a second time, which ended their logins.";
        registry.register(
            "irsp_account_refresh_tokens_reused",
            help,
            refreshes_reused.clone(),
        );

        let refusals_unwritten = Counter::default();
        let help = "Refused logins and bindings that the audit log counts without a line of their own.";
        registry.register(
            "irsp_account_refusals_unwritten",
            help,
            refusals_unwritten.clone(),
        );

        let refused: Family<Word, Counter> = Family::default();
        let reason = |word| refused.get_or_create_owned(&[("reason", word)]);
        let (wrong, disabled) = (reason("wrong"), reason("disabled"));
        let throttled: Family<Word, Counter> = Family::default();
        let door = |word| throttled.get_or_create_owned(&[("door", word)]);
        let (login, binding) = (door("login"), door("binding"));
        let effect: Family<Word, Histogram> = Family::new_with_constructor(|| Histogram::new(EFFECT_SECONDS));
        let not_taken: Family<Word, Counter> = Family::default();
        let metrics = Metrics {
            changes,
            logins,
            directory_pages,
            operations_forgotten,
            logins_renewed,
            refreshes_reused,
            logins_wrong: wrong,
            logins_disabled: disabled,
            logins_throttled: login,
            bindings_throttled: binding,
            refusals_unwritten,
            effect: FOLLOWERS.map(|server| effect.get_or_create_owned(&[("follower", server.as_str())])),
            not_taken: FOLLOWERS
                .map(|server| not_taken.get_or_create_owned(&[("follower", server.as_str())])),
        };
        registry.register(
            "irsp_account_logins_refused",
            "Logins refused for what was presented",
            refused,
        );
        registry.register(
            "irsp_account_throttled",
            "Attempts answered with 429 after too many failures",
            throttled,
        );
        registry.register(
            "irsp_account_effect_seconds",
            "From the commit of a change until a follower has it in force",
            effect,
        );
        registry.register(
            "irsp_account_changes_not_taken",
            "Envelopes of changes that ended without a follower taking them over",
            not_taken,
        );
        metrics
    }

    /// A follower has a change in force, `after` its commit.
    pub(crate) fn in_force(&self, follower: Server, after: Duration) {
        if let Some(place) = place(follower) {
            self.effect[place].observe(after.as_secs_f64());
        }
    }

    /// A follower has refused a change, or did not answer in time.
    pub(crate) fn not_taken(&self, follower: Server) {
        if let Some(place) = place(follower) {
            self.not_taken[place].inc();
        }
    }
}

fn place(follower: Server) -> Option<usize> {
    FOLLOWERS.iter().position(|server| *server == follower)
}
