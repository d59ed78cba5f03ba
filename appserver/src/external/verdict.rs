//! What an endpoint's HTTP answer means for the message.
//!
//! | answer | message |
//! |---|---|
//! | 200 to 299 | ends with 200 |
//! | 400, 403, 404, 409, 410, 413, 421 | ends with that code: the endpoint will not have it |
//! | 422 | ends with 400 |
//! | 408, 425, 429, 5xx, none within the deadline | tried again, not before `Retry-After` |
//! | 1xx, 3xx, 401, 407 | tried again: the endpoint is not set up, and redirects are not followed |
//! | any other 4xx | ends with 502: not about this message; it is kept as a dead letter |

use std::time::Duration;

use irsp_protocol::{Status, Timestamp};

/// The longest wait that `Retry-After` is granted.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ends with this status.
    Ends(Status),
    /// It is tried again, not before `after` has passed.
    Again { after: Duration },
}

/// What the HTTP status `code` says; `retry_after` is the header as it came.
pub(crate) fn judge(code: u16, retry_after: Option<&str>, now: Timestamp) -> Verdict {
    match code {
        200..=299 => Verdict::Ends(Status::DONE),
        400 | 403 | 404 | 409 | 410 | 413 | 421 => {
            Verdict::Ends(Status::from_code(code).unwrap_or(Status::MALFORMED))
        }
        422 => Verdict::Ends(Status::MALFORMED),
        401 | 407 | 408 | 425 | 429 => Verdict::Again {
            after: wait(retry_after, now),
        },
        402..=499 => Verdict::Ends(Status::PEER_REFUSED),
        _ => Verdict::Again {
            after: wait(retry_after, now),
        },
    }
}

/// `Retry-After` in either form, seconds or a date; nothing that is understood is no wait.
fn wait(header: Option<&str>, now: Timestamp) -> Duration {
    let Some(text) = header.map(str::trim) else {
        return Duration::ZERO;
    };
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a long wait.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        match httpdate::parse_http_date(text) {
            Ok(date) => Timestamp::from(date).since(now),
            Err(_) => Duration::ZERO,
        }
    };
    wait.min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    fn again(seconds: u64) -> Verdict {
        Verdict::Again {
            after: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn an_answer_ends_the_message_or_has_it_tried_again() {
        for code in [200, 201, 202, 204, 299] {
            assert_eq!(judge(code, None, NOW), Verdict::Ends(Status::DONE), "{code}");
        }
        for code in [400, 403, 404, 409, 410, 413, 421] {
            assert_eq!(
                judge(code, Some("5"), NOW),
                Verdict::Ends(Status::from_code(code).unwrap())
            );
        }
        assert_eq!(judge(422, None, NOW), Verdict::Ends(Status::MALFORMED));
        for code in [402, 405, 406, 411, 415, 418, 431, 451, 499] {
            assert_eq!(
                judge(code, None, NOW),
                Verdict::Ends(Status::PEER_REFUSED),
                "{code}"
            );
        }
        for code in [
            100, 199, 301, 302, 307, 308, 401, 407, 408, 425, 429, 500, 501, 502, 503, 504, 599, 999,
        ] {
            assert_eq!(judge(code, None, NOW), again(0), "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        for (header, seconds) in [
            ("7", 7),
            (" 7 ", 7),
            ("0", 0),
            ("3600", 3600),
            ("86400", 3600),
            ("99999999999999999999999", 3600),
            ("Sun, 06 Nov 1994 08:50:07 GMT", 30),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
            ("Mon, 07 Nov 1994 08:49:37 GMT", 3600),
            ("-5", 0),
            ("1.5", 0),
            ("soon", 0),
            ("", 0),
        ] {
            assert_eq!(judge(429, Some(header), NOW), again(seconds), "{header:?}");
        }
    }
}
