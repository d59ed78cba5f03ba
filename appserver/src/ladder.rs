//! The ladder of one message: what each server on its way knows of it, joined.

use irsp_protocol::inquiry::Known;
use irsp_protocol::receipt::Receipt;

/// One receipt of what several servers know of the same message; `None` if none of them had it in its outbox.
pub(crate) fn join(known: Vec<Known>) -> Option<Receipt> {
    let mut receipts = Vec::new();
    let mut received = Vec::new();
    for part in known {
        receipts.extend(part.receipt);
        received.extend(part.received);
    }
    let joined = receipts.into_iter().reduce(Receipt::join)?;
    Some(received.into_iter().fold(joined, Receipt::with))
}

#[cfg(test)]
mod tests {
    use irsp_protocol::receipt::{Stage, StageReport};
    use irsp_protocol::{MessageId, MessageKind, Status, Timestamp};

    use super::*;

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    fn report(reporter: &str, stage: Stage, ms: i64, code: Option<Status>) -> StageReport {
        StageReport {
            stage,
            time: Timestamp::from_millis(ms),
            reporter: reporter.parse().unwrap(),
            code,
        }
    }

    fn receipt(status: Status, stages: Vec<StageReport>) -> Known {
        let receipt = Receipt {
            id: ID,
            kind: MessageKind::Upload,
            source: "dev/lamp-1".parse().unwrap(),
            destination: "app/climate".parse().unwrap(),
            channel: None,
            sender_id: None,
            expires: Timestamp::from_millis(100),
            status,
            stages,
            answer: None,
            cause: None,
        };
        Known {
            id: ID,
            receipt: Some(receipt),
            received: None,
        }
    }

    #[test]
    fn what_the_receiver_did_stands_between_sending_and_answer() {
        let sender = receipt(
            Status::DONE,
            vec![
                report("srv/message", Stage::Accepted, 1, None),
                report("srv/message", Stage::Sent, 2, None),
                report("srv/message", Stage::Answered, 4, Some(Status::DONE)),
                report("srv/message", Stage::Ended, 4, Some(Status::DONE)),
            ],
        );
        let receiver = Known {
            id: ID,
            receipt: None,
            received: Some(report("srv/app", Stage::Accepted, 3, Some(Status::DONE))),
        };
        let joined = join(vec![receiver.clone(), sender]).unwrap();
        let reporters: Vec<String> = joined
            .stages
            .iter()
            .map(|stage| stage.reporter.to_string())
            .collect();
        assert_eq!(
            reporters,
            [
                "srv/message",
                "srv/message",
                "srv/app",
                "srv/message",
                "srv/message"
            ]
        );
        assert_eq!(
            join(vec![receiver]),
            None,
            "without its sender it is nobody's message"
        );
    }

    #[test]
    fn the_end_is_told_by_whoever_has_it() {
        let origin = receipt(Status::QUEUED, vec![report("srv/app", Stage::Accepted, 1, None)]);
        let custodian = receipt(
            Status::EXPIRED,
            vec![report("srv/message", Stage::Accepted, 2, None)],
        );
        let joined = join(vec![custodian, origin]).unwrap();
        assert_eq!((joined.status, joined.stages.len()), (Status::EXPIRED, 2));
    }
}
