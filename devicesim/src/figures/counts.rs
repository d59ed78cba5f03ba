//! How often each thing happened in a run.

use serde::{Deserialize, Serialize};

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub members: u64,
    /// Members that have connected at least once.
    pub connected: u64,
    pub connections: u64,
    pub connections_refused: u64,
    pub connections_failed: u64,
    pub connections_ended_by_server: u64,
    pub subscriptions_refused: u64,
    pub uploads_sent: u64,
    /// Acknowledged; at QoS 0 sent.
    pub uploads_accepted: u64,
    pub uploads_refused: u64,
    /// Neither acknowledged nor refused, because the run took their device away.
    pub uploads_excused: u64,
    /// Ended with 200 or 208, or in the store, and not refused.
    pub uploads_done: u64,
    pub uploads_stored: u64,
    pub pushes_sent: u64,
    pub pushes_accepted: u64,
    pub pushes_refused: u64,
    /// As of uploads.
    pub pushes_excused: u64,
    /// Seen by their device.
    pub pushes_delivered: u64,
    pub pushes_done: u64,
    pub pushes_expired: u64,
    /// Devices' answers that the platform refused.
    pub answers_refused: u64,
    /// Publishes that were sent again.
    pub resent: u64,
    /// Statuses of nothing that was waiting for one.
    pub statuses_unknown: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        let Counts {
            members,
            connected,
            connections,
            connections_refused,
            connections_failed,
            connections_ended_by_server,
            subscriptions_refused,
            uploads_sent,
            uploads_accepted,
            uploads_refused,
            uploads_excused,
            uploads_done,
            uploads_stored,
            pushes_sent,
            pushes_accepted,
            pushes_refused,
            pushes_excused,
            pushes_delivered,
            pushes_done,
            pushes_expired,
            answers_refused,
            resent,
            statuses_unknown,
        } = other;
        for (sum, more) in [
            (&mut self.members, members),
            (&mut self.connected, connected),
            (&mut self.connections, connections),
            (&mut self.connections_refused, connections_refused),
            (&mut self.connections_failed, connections_failed),
            (&mut self.connections_ended_by_server, connections_ended_by_server),
            (&mut self.subscriptions_refused, subscriptions_refused),
            (&mut self.uploads_sent, uploads_sent),
            (&mut self.uploads_accepted, uploads_accepted),
            (&mut self.uploads_refused, uploads_refused),
            (&mut self.uploads_excused, uploads_excused),
            (&mut self.uploads_done, uploads_done),
            (&mut self.uploads_stored, uploads_stored),
            (&mut self.pushes_sent, pushes_sent),
            (&mut self.pushes_accepted, pushes_accepted),
            (&mut self.pushes_refused, pushes_refused),
            (&mut self.pushes_excused, pushes_excused),
            (&mut self.pushes_delivered, pushes_delivered),
            (&mut self.pushes_done, pushes_done),
            (&mut self.pushes_expired, pushes_expired),
            (&mut self.answers_refused, answers_refused),
            (&mut self.resent, resent),
            (&mut self.statuses_unknown, statuses_unknown),
        ] {
            *sum += more;
        }
    }
}
