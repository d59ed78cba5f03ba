//! What a sender hears on its status topic when something it sent has ended (clause 8.3.4).

use irsp_courier::Ended;
use irsp_protocol::receipt::{Answer, Cause};
use irsp_protocol::{Address, Channel, Id, MessageId, MessageKind, Status};
use serde::Serialize;

/// The body on `v1/{kind}/{id}/status`. Built for every upload, so it borrows what it tells.
#[derive(Serialize)]
pub(crate) struct StatusNews<'a> {
    message: MessageId,
    /// The sender's own id, or ours if it gave none.
    id: SenderId<'a>,
    channel: Option<&'a Channel>,
    code: Status,
    name: &'static str,
    /// Whom an upload was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a Id>,
    /// Whom anything else was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerNews<'a>>,
    /// Why it ended so, where the code does not say it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SenderId<'a> {
    Given(&'a str),
    Ours(MessageId),
}

#[derive(Serialize)]
struct AnswerNews<'a> {
    status: u16,
    body: std::borrow::Cow<'a, str>,
}

impl<'a> StatusNews<'a> {
    pub(crate) fn of(ended: &'a Ended) -> StatusNews<'a> {
        let envelope = &*ended.envelope;
        let destination = &envelope.destination;
        let is_upload = envelope.kind == MessageKind::Upload;
        StatusNews {
            message: envelope.id,
            id: match &envelope.sender_id {
                Some(given) => SenderId::Given(given),
                None => SenderId::Ours(envelope.id),
            },
            channel: envelope.channel.as_ref(),
            code: ended.status,
            name: ended.status.name(),
            app: is_upload.then_some(&destination.principal.id),
            to: (!is_upload).then_some(destination),
            answer: ended.answer.as_ref().map(AnswerNews::of),
            cause: ended.cause,
        }
    }
}

impl<'a> AnswerNews<'a> {
    fn of(answer: &'a Answer) -> AnswerNews<'a> {
        AnswerNews {
            status: answer.code,
            body: String::from_utf8_lossy(&answer.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use irsp_courier::Hop;
    use irsp_protocol::{Envelope, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn ended(kind: MessageKind, destination: &str) -> Ended {
        let envelope = Envelope {
            id: MessageId::from_bytes([7; 16]),
            kind,
            source: "dev/lamp-1".parse().unwrap(),
            destination: destination.parse().unwrap(),
            channel: Some(Channel::new("temp").unwrap()),
            time: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(1),
            sender_id: None,
            content_type: None,
            options: irsp_protocol::PushOptions::default(),
            attributes: Vec::new(),
            data: Bytes::new(),
        };
        Ended {
            hop: Hop::Principal(envelope.destination.principal.clone()),
            envelope: Arc::new(envelope),
            origin: None,
            status: Status::DONE,
            answer: None,
            cause: None,
            at: Timestamp::from_millis(2),
        }
    }

    fn told(ended: &Ended) -> Value {
        serde_json::to_value(StatusNews::of(ended)).unwrap()
    }

    #[test]
    fn an_upload_is_told_with_its_application_and_its_senders_id() {
        let mut upload = ended(MessageKind::Upload, "app/climate");
        let message = upload.envelope.id.to_string();
        let expected = json!({ "message": message, "id": message, "channel": "temp", "code": 200, "name": "done",
            "app": "climate" });
        assert_eq!(told(&upload), expected);
        Arc::make_mut(&mut upload.envelope).sender_id = Some("m-1".to_owned());
        assert_eq!(told(&upload)["id"], "m-1");
    }

    #[test]
    fn a_push_is_told_with_its_receiver_and_the_answer() {
        let mut push = ended(MessageKind::Push, "dev/lamp-2");
        push.answer = Some(Answer {
            code: 422,
            body: Bytes::from_static(b"{\"why\":\"hot\"}"),
        });
        let told = told(&push);
        assert_eq!((&told["to"], told.get("app")), (&json!("dev/lamp-2"), None));
        assert_eq!(
            told["answer"],
            json!({ "status": 422, "body": "{\"why\":\"hot\"}" })
        );
    }
}
