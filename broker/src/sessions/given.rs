//! Which pushes, and which work of an attached application, a session has been given.
//!
//! The courier gives a client all it has not answered whenever it begins to listen: at each connection, and when it
//! subscribes anew. A connection hears a push once all the same: what it was given, or what its session brings along
//! unacknowledged and sends again with DUP [MQTT-4.4.0-1], is not given to it a second time. It comes again at the next
//! connection, for as long as it has no end.
//!
//! After a restart a session brings nothing along: what it may have been sent before comes with DUP (`super::kept::Reached`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use irsp_protocol::MessageId;

/// What one session was given and has no end, by message and by the number in the delivery's tag.
#[derive(Debug, Default)]
pub(super) struct Given {
    messages: HashMap<MessageId, Holding>,
    /// Those whose delivery the client has not acknowledged.
    unacknowledged: HashMap<u64, MessageId>,
    last: u64,
}

/// One message at a session.
#[derive(Clone, Copy, Debug)]
struct Holding {
    /// The number of its delivery, until the client acknowledges it.
    number: Option<u64>,
    for_whom: ForWhom,
}

/// For whom a session has what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ForWhom {
    Itself,
    /// Only for a `$share` group, of which another member may take it over.
    Group,
}

impl Given {
    /// A connection begins: it brings along what is unacknowledged, all else may come again.
    pub(super) fn connect(&mut self) {
        self.messages.retain(|_, holding| holding.number.is_some());
        self.shrink();
    }

    /// Gives a push to the connection. `None` if it has it.
    pub(super) fn push(&mut self, id: MessageId) -> Option<u64> {
        match self.messages.contains_key(&id) {
            true => None,
            false => Some(self.number(id, ForWhom::Itself)),
        }
    }

    /// The same at QoS 0, where nothing will say whether it arrived. `false` if the connection has it.
    pub(super) fn push_at_qos_0(&mut self, id: MessageId) -> bool {
        match self.messages.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Holding {
                    number: None,
                    for_whom: ForWhom::Itself,
                });
                true
            }
        }
    }

    /// Gives work to the session. `None` if it holds it unacknowledged. Acknowledged work that has gone to another member
    /// of the group meanwhile may come back.
    pub(super) fn work(&mut self, id: MessageId, for_whom: ForWhom) -> Option<u64> {
        match self.messages.get_mut(&id) {
            Some(holding) if holding.number.is_some() => {
                holding.for_whom = holding.for_whom.min(for_whom);
                None
            }
            Some(_) | None => Some(self.number(id, for_whom)),
        }
    }

    /// The client has acknowledged a delivery.
    pub(super) fn acknowledged(&mut self, number: u64) -> Option<MessageId> {
        let id = self.unacknowledged.remove(&number)?;
        if let Some(holding) = self.messages.get_mut(&id) {
            holding.number = None;
        }
        Some(id)
    }

    /// The platform has the client's answer on disk, or the message has gone to another: whatever the client acknowledges,
    /// it is not sent again. Says whether its delivery was not acknowledged.
    pub(super) fn answered(&mut self, id: MessageId) -> bool {
        let number = self.messages.get_mut(&id).and_then(|held| held.number.take());
        number.is_some_and(|number| self.unacknowledged.remove(&number).is_some())
    }

    /// A delivery was not sent: it may be given again.
    pub(super) fn dropped(&mut self, number: u64) -> Option<MessageId> {
        let id = self.unacknowledged.remove(&number)?;
        self.messages.remove(&id);
        Some(id)
    }

    /// A message has ended. Says whether its delivery was not acknowledged.
    pub(super) fn ended(&mut self, id: MessageId) -> bool {
        let number = self.messages.remove(&id).and_then(|held| held.number);
        let was_open = number.is_some_and(|number| self.unacknowledged.remove(&number).is_some());
        self.shrink();
        was_open
    }

    /// The message of a delivery that is still to be acknowledged.
    pub(super) fn held(&self, number: u64) -> Option<MessageId> {
        self.unacknowledged.get(&number).copied()
    }

    /// The same, if the session has it for a group only.
    pub(super) fn held_for_group(&self, number: u64) -> Option<MessageId> {
        let id = self.held(number)?;
        self.messages
            .get(&id)
            .filter(|holding| holding.for_whom == ForWhom::Group)
            .map(|_| id)
    }

    fn number(&mut self, id: MessageId, for_whom: ForWhom) -> u64 {
        let number = self.last;
        self.last += 1;
        let holding = Holding {
            number: Some(number),
            for_whom,
        };
        self.messages.insert(id, holding);
        self.unacknowledged.insert(number, id);
        number
    }

    /// An idle session holds no buffer.
    fn shrink(&mut self) {
        if self.messages.is_empty() {
            self.messages = HashMap::new();
            self.unacknowledged = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        MessageId::from_bytes([n; 16])
    }

    /// The client acknowledges what its session has sent again before the courier has read what is unanswered.
    #[test]
    fn a_connection_hears_a_push_once_whatever_its_session_brought_along() {
        let mut given = Given::default();
        let number = given.push(id(1)).expect("new");
        given.connect();
        assert_eq!(given.push(id(1)), None, "it is under way, with DUP");
        assert_eq!(given.acknowledged(number), Some(id(1)));
        assert_eq!(
            given.push(id(1)),
            None,
            "acknowledged, but heard in this connection"
        );
        given.connect();
        assert!(
            given.push(id(1)).is_some(),
            "unanswered, it comes to the next one"
        );
    }

    #[test]
    fn a_push_at_qos_0_comes_once_to_each_connection() {
        let mut given = Given::default();
        assert!(given.push_at_qos_0(id(1)) && !given.push_at_qos_0(id(1)));
        assert_eq!(given.push(id(1)), None);
        given.connect();
        assert!(given.push_at_qos_0(id(1)));
    }

    #[test]
    fn what_was_answered_is_not_sent_again_and_not_given_again_before_it_has_ended() {
        let mut given = Given::default();
        let number = given.push(id(1)).expect("new");
        given.answered(id(1));
        assert_eq!((given.held(number), given.acknowledged(number)), (None, None));
        assert_eq!(
            given.push(id(1)),
            None,
            "the courier may have read it before the answer"
        );
        given.ended(id(1));
        assert!(
            given.push(id(1)).is_some(),
            "an operator sends a dead letter again"
        );
    }

    #[test]
    fn what_was_not_sent_may_be_given_again() {
        let mut given = Given::default();
        let number = given.push(id(1)).expect("new");
        assert_eq!(given.dropped(number), Some(id(1)));
        assert!(given.push(id(1)).is_some());
    }

    #[test]
    fn work_may_come_back_to_a_member_that_has_acknowledged_it() {
        let mut given = Given::default();
        let number = given.work(id(1), ForWhom::Group).expect("new");
        assert_eq!(given.work(id(1), ForWhom::Group), None, "it holds it");
        assert_eq!(given.held_for_group(number), Some(id(1)));
        assert_eq!(given.acknowledged(number), Some(id(1)));
        assert!(given.work(id(1), ForWhom::Group).is_some());
    }

    #[test]
    fn what_a_session_has_for_itself_too_is_not_the_groups_alone() {
        let mut given = Given::default();
        let number = given.work(id(1), ForWhom::Group).expect("new");
        assert_eq!(given.work(id(1), ForWhom::Itself), None);
        assert_eq!(
            (given.held(number), given.held_for_group(number)),
            (Some(id(1)), None)
        );
    }
}
