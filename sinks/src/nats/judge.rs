//! What an answer to a message means for its event.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use pipeline::{Fate, Reason, ReasonKind};

/// The message is larger than the stream takes.
const TOO_LARGE: [u64; 2] = [10_054, 10_097];
/// It met another stream than the one asked for.
const WRONG_STREAM: u64 = 10_060;
/// Codes of a stream, account or server that is full, sealed or busy: room or a person heals it.
const BLOCKED: [u64; 8] = [
    10_002, // account limits
    10_023, // insufficient resources
    10_028, // memory
    10_047, // storage
    10_077, // store failed: maximum messages or bytes
    10_109, // sealed
    10_110, // sealed since
    10_158, // the first copy of it is under way
];

/// The event's end, or `Ok(whether it was there already)`.
pub(super) fn judge(subject: &str, answer: Result<PublishAck, PublishError>) -> Result<bool, Fate> {
    let error = match answer {
        Ok(ack) => return Ok(ack.duplicate),
        Err(error) => error,
    };
    let retry = |kind, text: String| Err(Fate::Retry(Reason::new(kind, text)));
    match error.kind() {
        PublishErrorKind::StreamNotFound => retry(
            ReasonKind::Missing,
            format!(
                "no stream listens to \"{subject}\", or JetStream is not up yet; make one, or set `jetstream = false` if \
                 nothing has to be kept"
            ),
        ),
        PublishErrorKind::TimedOut => retry(
            ReasonKind::Timeout,
            format!("no answer for a message to \"{subject}\" in time"),
        ),
        PublishErrorKind::BrokenPipe => retry(
            ReasonKind::Connection,
            "the connection broke before the answer".to_owned(),
        ),
        PublishErrorKind::MaxAckPending => {
            retry(ReasonKind::Busy, "too many answers are owed".to_owned())
        }
        PublishErrorKind::MaxPayloadExceeded => Err(Fate::Refused(Reason::new(
            ReasonKind::TooLarge,
            format!("larger than the server's max_payload: {}", source(&error)),
        ))),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => Err(
            Fate::Refused(Reason::new(ReasonKind::Rejected, source(&error))),
        ),
        PublishErrorKind::Other => Err(other(subject, &error)),
    }
}

fn other(subject: &str, error: &PublishError) -> Fate {
    use std::error::Error as _;
    let Some(said) = error
        .source()
        .and_then(|why| why.downcast_ref::<async_nats::jetstream::Error>())
    else {
        // An answer that is no answer of JetStream's: somebody else listens to that subject and talks back.
        let text = format!(
            "what answers on \"{subject}\" is no stream: {}",
            source(error)
        );
        return Fate::Retry(Reason::new(ReasonKind::Nonsense, text));
    };
    let ErrorCode(code) = said.error_code();
    let text = said.to_string();
    if TOO_LARGE.contains(&code) {
        Fate::Refused(Reason::new(ReasonKind::TooLarge, text))
    } else if code == WRONG_STREAM {
        let text =
            format!("{text}; \"{subject}\" belongs to another stream than `jetstream.stream`");
        Fate::Refused(Reason::new(ReasonKind::Rejected, text))
    } else if BLOCKED.contains(&code) {
        Fate::Retry(Reason::new(ReasonKind::Blocked, text))
    } else if said.code() >= 500 || said.code() == 408 || said.code() == 429 {
        Fate::Retry(Reason::new(ReasonKind::Server, text))
    } else if said.code() == 404 {
        Fate::Retry(Reason::new(ReasonKind::Missing, text))
    } else {
        Fate::Refused(Reason::new(ReasonKind::Rejected, text))
    }
}

/// The innermost words of an error.
fn source(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: usize, err_code: u64) -> Fate {
        let json = format!(r#"{{"code": {code}, "err_code": {err_code}, "description": "x"}}"#);
        let error: async_nats::jetstream::Error = serde_json::from_str(&json).unwrap();
        let error = PublishError::with_source(PublishErrorKind::Other, error);
        judge("pve", Err(error)).unwrap_err()
    }

    #[test]
    fn a_full_stream_is_waited_for_and_what_never_fits_is_dead() {
        let kind = |fate: &Fate| match fate {
            Fate::Retry(reason) => (true, reason.kind),
            Fate::Refused(reason) => (false, reason.kind),
        };
        for (code, err_code, expected) in [
            (503, 10_077, (true, ReasonKind::Blocked)),
            (503, 10_023, (true, ReasonKind::Blocked)),
            (400, 10_002, (true, ReasonKind::Blocked)),
            (400, 10_054, (false, ReasonKind::TooLarge)),
            (400, 10_060, (false, ReasonKind::Rejected)),
            (503, 10_999, (true, ReasonKind::Server)),
            (404, 10_059, (true, ReasonKind::Missing)),
            (400, 10_999, (false, ReasonKind::Rejected)),
        ] {
            assert_eq!(kind(&said(code, err_code)), expected, "{code}/{err_code}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_asked_for_again() {
        let nonsense = serde_json::from_slice::<u8>(b"hello").unwrap_err();
        let error = PublishError::with_source(PublishErrorKind::Other, nonsense);
        let fate = judge("pve", Err(error)).unwrap_err();
        assert!(matches!(fate, Fate::Retry(why) if why.kind == ReasonKind::Nonsense));
    }
}
