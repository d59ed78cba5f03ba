//! Attached applications: uploads and messages on their way to the developer's own clients, over MQTT.
//!
//! The courier has them on disk with the application as hop, exactly as it has a device's pushes, and hands over no
//! more than its window. Here it is decided which of the application's clients is given which ([`desk`]); a client's
//! PUBACK ends nothing, its answer does, or its loss moves the work on.

mod desk;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use irsp_courier::{Backoff, Courier, Hop};
use irsp_protocol::presence::Presence;
use irsp_protocol::topic::{Branch, Incoming};
use irsp_protocol::{Address, Envelope, Id, MessageId, Principal, Topic, cloud_event};
use irsp_session::{Publish, PublishProperties, QoS};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::desk::{AsGiven, Candidate, Desk};
use crate::sessions::Sessions;
use crate::sessions::given::ForWhom;
use crate::sessions::mailbox::Mailbox;
use crate::topics::Topics;

/// When an application that has failed at a message gets it again.
const AGAIN: Backoff = Backoff {
    min: Duration::from_secs(1),
    max: Duration::from_secs(300),
};

/// The desks of all applications that have clients.
#[derive(Debug)]
pub(crate) struct Attached {
    desks: Mutex<HashMap<Principal, Open>>,
    topics: Arc<Topics>,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
    /// What waits to be handed over again: no more than the courier has under way.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Open {
    /// Whether the courier hands over: some client listens.
    listening: bool,
    desk: Desk<Client, Work>,
}

/// What a client is given.
#[derive(Clone, Debug)]
struct Work {
    id: MessageId,
    publish: Arc<Publish>,
}

/// A client's session, the same for as long as its mailbox is.
#[derive(Clone, Debug)]
struct Client(Arc<Mailbox>);

impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Client {}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Attached {
    pub(crate) fn new(
        topics: Arc<Topics>,
        sessions: Arc<Sessions>,
        (stop, tasks): (CancellationToken, TaskTracker),
    ) -> Attached {
        Attached {
            desks: Mutex::default(),
            topics,
            sessions,
            stop,
            tasks,
        }
    }

    /// A client of the application listens: the courier begins to hand over, or what is under way is shared anew.
    pub(crate) fn joined(&self, application: &Principal, courier: &Courier) {
        let mut desks = self.desks();
        let open = desks.entry(application.clone()).or_default();
        if open.listening {
            self.share_anew(open);
        } else {
            open.listening = true;
            courier.present(Hop::Principal(application.clone()));
        }
    }

    /// A client listens no more: what it had goes to the others, or stays with the courier.
    pub(crate) fn left(&self, application: &Principal, courier: &Courier) {
        let mut desks = self.desks();
        let Some(open) = desks.get_mut(application) else {
            return;
        };
        // Whoever joins is connected and subscribed before it asks for the desks.
        if self.sessions.hear_pushes(application) {
            return self.share_anew(open);
        }
        open.listening = false;
        open.desk.clear();
        courier.absent(&Hop::Principal(application.clone()));
    }

    /// The courier hands these over, in order.
    pub(crate) fn given(
        &self,
        to: &Principal,
        envelopes: impl IntoIterator<Item = (Arc<Envelope>, Instant)>,
    ) {
        let mut desks = self.desks();
        // Nobody listens any more: they come again when somebody does.
        let Some(open) = desks.get_mut(to).filter(|open| open.listening) else {
            return;
        };
        for (envelope, expires) in envelopes {
            let publish = match publish(to, &envelope, expires) {
                Ok(publish) => Arc::new(publish),
                Err(error) => {
                    tracing::error!(message = %envelope.id, %error, "cannot be written as an event; it waits until it expires");
                    continue;
                }
            };
            let work = Work {
                id: envelope.id,
                publish,
            };
            let number = open
                .desk
                .take(envelope.id, envelope.source.clone(), || work.clone());
            self.share(&mut open.desk, number);
        }
    }

    /// Whether other clients of a group have a message by now, and this one does not.
    pub(crate) fn is_with_others(
        &self,
        application: &Principal,
        id: MessageId,
        mailbox: &Arc<Mailbox>,
    ) -> bool {
        let client = Client(Arc::clone(mailbox));
        self.desks()
            .get(application)
            .is_some_and(|open| open.desk.is_with_others(id, &client))
    }

    /// A message for the application has ended.
    pub(crate) fn ended(&self, application: &Principal, id: MessageId) {
        if let Some(open) = self.desks().get_mut(application) {
            open.desk.ended(id);
        }
    }

    /// The application has failed at a message for the `failures`th time: some client gets it again after a pause, unless
    /// it has gone to another by then.
    pub(crate) fn again(attached: &Arc<Attached>, application: &Principal, id: MessageId, failures: u32) {
        // Nobody listens any more: it comes again with the next client.
        let desks = attached.desks();
        let Some(as_given) = desks.get(application).and_then(|open| open.desk.as_given(id)) else {
            return;
        };
        drop(desks);
        let (attached, application) = (Arc::clone(attached), application.clone());
        // The last bytes of an id are random, so messages that failed together do not come together.
        let [.., a, b, c, d] = *id.as_bytes();
        let pause = AGAIN.after(failures, u32::from_be_bytes([a, b, c, d]));
        attached.tasks.clone().spawn(async move {
            tokio::select! {
                () = attached.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => attached.give_again(&application, as_given),
            }
        });
    }

    fn give_again(&self, application: &Principal, as_given: AsGiven) {
        let mut desks = self.desks();
        if let Some(open) = desks.get_mut(application)
            && let Some(number) = open.desk.take_back(as_given)
        {
            self.share(&mut open.desk, number);
        }
    }

    /// Tells the clients of an application that hears `presence` of it. It is a state and needs no answer: of two the
    /// newer counts, and who was away reads it elsewhere.
    pub(crate) fn announce(&self, application: &Id, presence: &Presence) {
        let topic = Topic {
            owner: Address::local(Principal::application(application.clone())),
            branch: Branch::In(Incoming::Presence {
                of: Address::local(presence.principal.clone()),
            }),
        };
        match cloud_event::of_presence(presence) {
            Ok(body) => self.topics.announce(&topic, Bytes::from(body), false),
            Err(error) => {
                tracing::error!(principal = %presence.principal, %error, "presence cannot be written")
            }
        }
    }

    fn share_anew(&self, open: &mut Open) {
        for number in open.desk.numbers() {
            self.share(&mut open.desk, number);
        }
    }

    fn share(&self, desk: &mut Desk<Client, Work>, number: u64) {
        let Some(work) = desk.item(number).cloned() else {
            return;
        };
        let hearers = self.topics.candidates(&work.publish.topic);
        let candidates: Vec<Candidate<Client>> = hearers
            .iter()
            .map(|(group, hearer)| Candidate {
                group: group.clone(),
                member: Client(Arc::clone(hearer.mailbox())),
            })
            .collect();
        for given in desk.settle(number, &candidates) {
            let for_whom = match given.group {
                Some(_) => ForWhom::Group,
                None => ForWhom::Itself,
            };
            if let Some((_, hearer)) = hearers
                .iter()
                .find(|(_, hearer)| Arc::ptr_eq(hearer.mailbox(), &given.member.0))
            {
                self.topics.give_work(hearer, for_whom, work.id, &work.publish);
            }
        }
    }

    fn desks(&self) -> MutexGuard<'_, HashMap<Principal, Open>> {
        // A panic of another holder leaves a desk of which something may come twice: its clients are told that.
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A structured CloudEvent on `v1/app/{app}/in/{kind}/{source}/{mid}/{channel...}`.
fn publish(to: &Principal, envelope: &Envelope, expires: Instant) -> Result<Publish, serde_json::Error> {
    let topic = Topic {
        owner: Address::local(to.clone()),
        branch: Branch::In(Incoming::Envelope {
            kind: envelope.kind,
            source: envelope.source.clone(),
            id: envelope.id,
            channel: envelope.channel.clone(),
        }),
    };
    let body = Bytes::from(cloud_event::of_envelope(envelope)?);
    let mut publish = Publish::new(topic.to_string(), body, QoS::AtLeastOnce);
    publish.expires = Some(expires);
    publish.properties = Some(Box::new(PublishProperties {
        content_type: Some(ByteString::from_static(cloud_event::CONTENT_TYPE)),
        ..PublishProperties::default()
    }));
    Ok(publish)
}
