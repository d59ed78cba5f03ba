//! Topic names and topic filters (4.7), shared subscriptions (4.8.2).

use crate::error::ProtocolError;

/// A shared subscription's filter, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<'a> {
    pub group: &'a str,
    pub filter: &'a str,
}

/// A name to publish to: at least one character, no wildcard, no U+0000
/// [MQTT-3.3.2-2, 4.7.1-1, 4.7.3-1, 4.7.3-2].
pub fn validate_topic(topic: &str) -> Result<(), ProtocolError> {
    match topic.is_empty() || topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
        true => Err(ProtocolError::TopicNameInvalid),
        false => Ok(()),
    }
}

/// A filter to subscribe to: wildcards fill a whole level, `#` the last one
/// [MQTT-4.7.1-1, 4.7.1-2, 4.7.3-1, 4.7.3-2]. The filter of a shared subscription is checked by
/// [`parse_shared`].
pub fn validate_filter(filter: &str) -> Result<(), ProtocolError> {
    if filter.is_empty() || filter.contains('\0') {
        return Err(ProtocolError::TopicFilterInvalid);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_formed = match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            _ => !level.contains(['+', '#']),
        };
        if !well_formed {
            return Err(ProtocolError::TopicFilterInvalid);
        }
    }
    Ok(())
}

/// `$share/{group}/{filter}`; `None` for any other filter. The group has at least one character and no
/// wildcard, and a filter follows it [MQTT-4.8.2-1, 4.8.2-2].
pub fn parse_shared(filter: &str) -> Result<Option<Shared<'_>>, ProtocolError> {
    let rest = match filter.strip_prefix("$share") {
        Some("") => return Err(ProtocolError::TopicFilterInvalid),
        Some(rest) => rest,
        None => return Ok(None),
    };
    // "$shared/x" is an ordinary filter
    let Some(rest) = rest.strip_prefix('/') else {
        return Ok(None);
    };
    let (group, filter) = rest.split_once('/').ok_or(ProtocolError::TopicFilterInvalid)?;
    if group.is_empty() || group.contains(['+', '#']) {
        return Err(ProtocolError::TopicFilterInvalid);
    }
    validate_filter(filter)?;
    Ok(Some(Shared { group, filter }))
}

/// Whether a filter (not a shared one) matches a topic name. Wildcards at the front do not match topics
/// that begin with `$` [MQTT-4.7.2-1].
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            // "sport/#" also matches "sport" itself (4.7.1.2)
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            (_, _) => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        for good in ["a", "/", "a/b", "a b", "$SYS/x", "ä"] {
            assert!(validate_topic(good).is_ok(), "{good}");
        }
        for bad in ["", "+", "#", "a/+", "a/#", "a+", "a\0b"] {
            assert_eq!(validate_topic(bad), Err(ProtocolError::TopicNameInvalid), "{bad}");
        }
    }

    #[test]
    fn topic_filters() {
        for good in ["#", "+", "/", "+/+", "a/#", "a/+/b", "/+", "a//b", "$SYS/#"] {
            assert!(validate_filter(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+/c", "##", "++", "a\0",
        ] {
            assert_eq!(
                validate_filter(bad),
                Err(ProtocolError::TopicFilterInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn shared_filters() {
        assert_eq!(parse_shared("a/b"), Ok(None));
        assert_eq!(parse_shared("$shared/b"), Ok(None));
        assert_eq!(
            parse_shared("$share/g/a/#"),
            Ok(Some(Shared {
                group: "g",
                filter: "a/#"
            }))
        );
        assert_eq!(
            parse_shared("$share/g//"),
            Ok(Some(Shared {
                group: "g",
                filter: "/"
            }))
        );
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$share/g/a#",
        ] {
            assert_eq!(parse_shared(bad), Err(ProtocolError::TopicFilterInvalid), "{bad}");
        }
    }

    #[test]
    fn matching() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
