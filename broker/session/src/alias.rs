//! Topic aliases (3.3.2.3.4), both ways. They live as long as the connection [MQTT-3.3.2-7].

use std::collections::HashMap;

use bytestring::ByteString;

use crate::error::ProtocolError;

/// Aliases the client has set.
#[derive(Debug, Default)]
pub(crate) struct IncomingAliases {
    /// By alias, from 1. Nothing is held until the first is set.
    topics: Vec<Option<ByteString>>,
}

impl IncomingAliases {
    /// Sets the alias when a topic comes with it, and looks it up when not
    /// [MQTT-3.3.2-8..12; no mapping: 3.3.2.3.4].
    pub(crate) fn resolve(
        &mut self,
        alias: u16,
        topic: ByteString,
        max: u16,
    ) -> Result<ByteString, ProtocolError> {
        if alias == 0 || alias > max {
            return Err(ProtocolError::TopicAliasInvalid(alias));
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            let known = self.topics.get(at).and_then(Option::as_ref);
            return known
                .cloned()
                .ok_or(ProtocolError::Violation("a topic alias that was never set"));
        }
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        // a copy, because `topic` is a part of the packet and would keep all of it
        self.topics[at] = Some(ByteString::from(&*topic));
        Ok(topic)
    }
}

/// Aliases we set towards the client: the first topics it is sent, as many as it allows.
#[derive(Debug)]
pub(crate) struct OutgoingAliases {
    max: u16,
    aliases: HashMap<ByteString, u16>,
}

/// How a topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicForm {
    Name,
    /// Name and alias: the client learns it.
    Learn(u16),
    Alias(u16),
}

impl OutgoingAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self {
            max,
            aliases: HashMap::new(),
        }
    }

    pub(crate) fn form(&self, topic: &str) -> TopicForm {
        match self.aliases.get(topic) {
            Some(&alias) => TopicForm::Alias(alias),
            None if self.aliases.len() < usize::from(self.max) => {
                TopicForm::Learn(self.aliases.len() as u16 + 1)
            }
            None => TopicForm::Name,
        }
    }

    /// The form was sent: from now on the client knows the alias.
    pub(crate) fn sent(&mut self, topic: &str, form: TopicForm) {
        if let TopicForm::Learn(alias) = form {
            self.aliases.insert(ByteString::from(topic), alias);
        }
    }
}
