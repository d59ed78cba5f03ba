//! Whether a change is in force (clause 8.2): both followers have answered that they act on it.

use irsp_protocol::api::account::{FollowerState, FollowerView, OperationView};
use irsp_protocol::{Server, Status, Timestamp};

use crate::follower::FOLLOWERS;
use crate::store::operation::Operation;

/// Whether a follower that ended an envelope with `status` acts on what it says.
pub(crate) fn is_in_force(status: Status) -> bool {
    !status.is_error() && status != Status::QUEUED
}

/// What has become of an operation, from what each envelope ended with.
pub(crate) fn view(operation: &Operation) -> OperationView {
    let followers: Vec<FollowerView> = FOLLOWERS.map(|server| follower(operation, server)).into();
    OperationView {
        operation: operation.n,
        time: operation.time,
        in_effect: followers
            .iter()
            .all(|follower| follower.state == FollowerState::InForce),
        followers,
    }
}

/// A follower has the operation in force when it has answered every envelope well; one refusal is one too many.
fn follower(operation: &Operation, server: Server) -> FollowerView {
    let mut view = FollowerView {
        server,
        state: FollowerState::InForce,
        status: None,
        since: None,
    };
    for dispatch in operation
        .dispatches
        .iter()
        .filter(|dispatch| dispatch.follower == server)
    {
        match dispatch.ended {
            Some((status, at)) if !is_in_force(status) => {
                return FollowerView {
                    state: FollowerState::Refused,
                    status: Some(status),
                    since: Some(at),
                    server,
                };
            }
            Some((status, at)) => {
                view.status = Some(status);
                view.since = view.since.max(Some(at));
            }
            None => view.state = FollowerState::Pending,
        }
    }
    if view.state == FollowerState::Pending {
        (view.status, view.since) = (None, None::<Timestamp>);
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::operation::Dispatch;
    use irsp_protocol::MessageId;

    fn operation(ends: [(Server, Option<Status>); 3]) -> Operation {
        let dispatch = |(follower, status): (Server, Option<Status>)| Dispatch {
            message: MessageId::from_bytes([0; 16]),
            follower,
            ended: status.map(|status| (status, Timestamp::from_millis(1))),
        };
        Operation {
            n: 7,
            time: Timestamp::from_millis(0),
            dispatches: ends.map(dispatch).into(),
        }
    }

    #[test]
    fn a_change_is_in_effect_when_every_envelope_is_answered_well() {
        use FollowerState::{InForce, Pending, Refused};
        let (done, failed) = (Some(Status::DONE), Some(Status::FAILED));
        for (message_1, message_2, app, states) in [
            (done, done, done, [InForce, InForce]),
            (done, None, done, [Pending, InForce]),
            (done, failed, None, [Refused, Pending]),
            (failed, None, done, [Refused, InForce]),
        ] {
            let view = view(&operation([
                (Server::Message, message_1),
                (Server::Message, message_2),
                (Server::App, app),
            ]));
            assert_eq!(
                view.followers
                    .iter()
                    .map(|follower| follower.state)
                    .collect::<Vec<_>>(),
                states
            );
            assert_eq!(view.in_effect, states == [InForce, InForce]);
        }
    }
}
