//! Pushes, and the work of attached applications, on their way to a client: whether it hears them, and what it says to them.

use std::sync::Arc;

use irsp_courier::Hop;
use irsp_protocol::change::Answers;
use irsp_protocol::receipt::Answer;
use irsp_protocol::{Kind, MessageId, Status};
use irsp_session::{DropCause, Publish, PublishToken};

use super::Client;
use super::waiting::Waiting;

impl Client<'_> {
    /// Tells the courier that pushes can be delivered: those that wait come now, in order.
    pub(in crate::edge) fn listens(&self) {
        if self.principal.kind == Kind::Application {
            return self.edge.attached.joined(&self.principal, &self.edge.courier);
        }
        let hop = Hop::Principal(self.principal.clone());
        self.edge.courier.absent(&hop);
        self.edge.courier.present(hop);
    }

    /// The client's MQTT acknowledgement of a push or of an application's work: an answer only of those registered so.
    pub(super) fn delivered(&mut self, push: u64, reason: u8) {
        let Some(id) = self.mailbox.acknowledged(push) else {
            return;
        };
        let (directory, id_of) = (&self.edge.enforcer.directory, &self.principal.id);
        let answers = match self.principal.kind {
            Kind::Device => directory.device(id_of).map(|device| device.answers),
            Kind::Application => directory.application(id_of).map(|app| app.answers),
            Kind::User | Kind::External | Kind::Peer | Kind::Server => None,
        };
        let by_mqtt = answers == Some(Answers::Mqtt);
        if by_mqtt && !irsp_session::reason::is_error(reason) {
            let answer = Answer {
                code: 200,
                body: bytes::Bytes::new(),
            };
            let hop = Hop::Principal(self.principal.clone());
            self.edge.courier.acknowledged(hop, id, answer);
        }
    }

    pub(super) fn answered(
        &mut self,
        publish_token: PublishToken,
        publish: &Arc<Publish>,
        id: MessageId,
        answer: Answer,
    ) {
        let comes_again = self.principal.kind == Kind::Application && answer.may_yet_take_it();
        let token = self.wait_for(Waiting::Answered {
            publish_token,
            publish: Arc::clone(publish),
            id,
            comes_again,
        });
        let hop = Hop::Principal(self.principal.clone());
        self.edge
            .courier
            .answered(hop, id, answer, self.mailbox.clone(), token);
    }

    /// The client's answer is on disk: what it answers is not sent again, and comes to nobody any more unless it failed.
    pub(super) fn was_answered(&self, id: MessageId, comes_again: bool) {
        self.mailbox.answered(id);
        if self.principal.kind == Kind::Application && !comes_again {
            self.edge.attached.ended(&self.principal, id);
        }
    }

    /// A push that this client can never take ends; one that was not sent stays with the courier.
    pub(super) fn dropped(&self, push: u64, cause: DropCause) {
        let Some(id) = self.mailbox.not_sent(push) else {
            return;
        };
        if cause == DropCause::TooLarge {
            let courier = self.edge.courier.clone();
            self.edge.tasks.spawn(async move {
                let ended = courier.write(move |tx| tx.end(id, Status::TOO_LARGE, None)).await;
                if let Err(error) = ended {
                    tracing::warn!(%error, message = %id, "a push that is too large stays until it expires");
                }
            });
        }
    }
}
