//! What an answer of Loki means, by its status and its words.
//!
//! Each push is about one stream, so each answer is. A refusal names at most some of the lines it is about; what it says of
//! the limit is enough to know the others.

use std::time::Duration;

use crate::SLOW;
use pipeline::{Reason, ReasonKind, Time};

/// What an answer means for the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All of it is stored.
    Taken,
    /// All of it again.
    Again {
        reason: Reason,
        /// Not before this long.
        after: Option<Duration>,
        /// Whether every other stream would hear the same.
        all: bool,
        /// Whether fewer bytes at once may get through.
        fewer: bool,
    },
    /// It is too large.
    TooLarge(Reason),
    /// Some of it is refused, or all.
    Refused(Fault, Reason),
}

/// Which of the lines of a push are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Those before this time; not known where it is not said.
    TooOld(Option<Time>),
    /// Those from this time on.
    TooNew(Option<Time>),
    /// Those longer than so many bytes.
    TooLong(Option<usize>),
    /// All: the labels of the stream are refused.
    Stream,
    /// Some; which is not said.
    Some,
    /// Nobody knows whether Loki said this at all.
    Strange,
}

/// Reads an answer; `text` is the beginning of its body, in one line.
pub(super) fn read(status: u16, text: &str, after: Option<Duration>) -> Answer {
    let said = || match text {
        "" => format!("{status} without a word"),
        text => format!("{status}: {text}"),
    };
    let reason = |kind| Reason::new(kind, said());
    let again = |kind, after, all| Answer::Again {
        reason: reason(kind),
        after,
        all,
        fewer: false,
    };
    // The labels of a stream come from events: whatever stands in them must not decide what an answer means.
    let words = without_labels(text);
    let has = |word: &str| words.contains(word);
    // An operator of the server has stopped it, under any status.
    if has("ingestion blocked") || has("block_ingestion") {
        return again(ReasonKind::Blocked, after.or(Some(SLOW)), false);
    }
    match status {
        200 | 204 => Answer::Taken,
        // 260 is the word for "blocked"; what else claims to be well has stored nothing that we know of.
        201..=299 => again(ReasonKind::Blocked, after.or(Some(SLOW)), true),
        401 | 403 => again(ReasonKind::Forbidden, after.or(Some(SLOW)), true),
        404 | 405 => again(ReasonKind::Missing, after.or(Some(SLOW)), true),
        408 => again(ReasonKind::Timeout, after, true),
        413 => Answer::TooLarge(reason(ReasonKind::TooLarge)),
        429 => {
            let one = has("er stream rate limit") || has("active stream limit");
            Answer::Again {
                reason: reason(ReasonKind::Busy),
                after,
                all: !one,
                fewer: !has("active stream limit"),
            }
        }
        500..=599 if has("larger than max") => Answer::TooLarge(reason(ReasonKind::TooLarge)),
        500..=599 => again(ReasonKind::Server, after, true),
        400 | 422 => refused(&words, reason),
        _ => again(ReasonKind::Nonsense, after.or(Some(SLOW)), true),
    }
}

fn refused(text: &str, reason: impl Fn(ReasonKind) -> Reason) -> Answer {
    let has = |words: &str| text.contains(words);
    let setting = |help: &str| {
        let mut reason = reason(ReasonKind::Blocked);
        reason.text.push_str("; ");
        reason.text.push_str(help);
        Answer::Again {
            reason,
            after: Some(SLOW),
            all: true,
            fewer: false,
        }
    };
    // What is wrong with every event is wrong with the configuration, of one side or the other; nothing is given up for it.
    if has("structured metadata") && has("disallowed") {
        return setting(
            "write `limits = { max_metadata_entries = 0 }`, or allow structured metadata in Loki",
        );
    }
    if has("label names; limit") {
        return setting("take labels out of `labels`, or raise the limit in Loki");
    }
    if has("label name too long") {
        return setting("choose shorter names in `labels`, or raise the limit in Loki");
    }
    // The value itself is quoted behind these words, so they are looked for first.
    let fault =
        if has("label value too long") || has("couldn't parse labels") || has("missing labels") {
            Fault::Stream
        } else if has("too old") || has("too far behind") {
            Fault::TooOld(times(text, "oldest acceptable timestamp is: ").max())
        } else if has("out of order") {
            Fault::TooOld(None)
        } else if has("too new") {
            Fault::TooNew(times(text, "too new: ").min())
        } else if has("max entry size") {
            let limit = text.split("max entry size '").nth(1);
            Fault::TooLong(limit.and_then(|rest| rest.split('\'').next()?.parse().ok()))
        } else if [
            "stream", "entry", "metadata", "label", "snappy", "proto", "tenant",
        ]
        .iter()
        .any(|word| has(word))
        {
            Fault::Some
        } else {
            Fault::Strange
        };
    let kind = if matches!(fault, Fault::TooLong(_)) {
        ReasonKind::TooLarge
    } else {
        ReasonKind::Rejected
    };
    Answer::Refused(fault, reason(kind))
}

/// The text without `{a="b", …}`.
fn without_labels(text: &str) -> String {
    match (text.find('{'), text.rfind('}')) {
        (Some(from), Some(to)) if from < to => [&text[..from], &text[to..]].concat(),
        _ => text.to_owned(),
    }
}

/// The times that stand behind each `words`.
fn times<'a>(text: &'a str, words: &'a str) -> impl Iterator<Item = Time> + 'a {
    text.split(words).skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || "-:.TZ+".contains(c)))
            .unwrap_or(rest.len());
        Time::parse(&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        match read(400, text, None) {
            Answer::Refused(fault, reason) => {
                assert!(reason.text.contains(text), "with Loki's words");
                fault
            }
            other => panic!("{other:?}"),
        }
    }

    fn at(text: &str) -> Option<Time> {
        Some(Time::parse(text).unwrap())
    }

    #[test]
    fn what_loki_3_7_really_says_is_understood() {
        let behind = "entry with timestamp 2026-11-24 23:50:36.325535232 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 2026-11-24T23:50:36Z, oldest acceptable timestamp is: 2026-11-25T01:50:36Z', entry with timestamp 2026-11-25 00:50:36.325535232 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 2026-11-25T00:50:36Z, oldest acceptable timestamp is: 2026-11-25T01:50:36Z', user 'fake', total ignored: 2 out of 3 for stream: {a=\"old\"}";
        assert_eq!(fault(behind), Fault::TooOld(at("2026-11-25T01:50:36Z")));
        let old = "entry for stream '{a=\"neg\"}' has timestamp too old: 1969-12-31T23:59:59Z, oldest acceptable timestamp is: 2026-11-18T02:50:41Z";
        assert_eq!(fault(old), Fault::TooOld(at("2026-11-18T02:50:41Z")));
        let new = "entry for stream '{a=\"neg\"}' has timestamp too new: 2262-04-11T23:47:16Z";
        assert_eq!(fault(new), Fault::TooNew(at("2262-04-11T23:47:16Z")));
        let long = "max entry size '262144' bytes exceeded for stream '{a=\"big\"}' while adding an entry with length '262145' bytes";
        assert_eq!(fault(long), Fault::TooLong(Some(262_144)));
        assert_eq!(
            fault("stream '{a=\"v\"}' has label value too long: 'vv'"),
            Fault::Stream
        );
        assert_eq!(
            fault("couldn't parse labels: 1:3: parse error"),
            Fault::Stream
        );
        assert_eq!(
            fault("entry out of order for stream: {a=\"b\"}"),
            Fault::TooOld(None)
        );
        assert_eq!(
            fault(
                "stream '{a=\"md\"}' has too many structured metadata labels: '129', limit: '128'."
            ),
            Fault::Some
        );
        assert_eq!(fault("<html>Bad Request</html>"), Fault::Strange);
    }

    #[test]
    fn what_an_event_says_does_not_decide_what_an_answer_means() {
        let text = r#"max entry size '9' bytes exceeded for stream '{a="ingestion blocked", b="too old"}' while adding"#;
        assert_eq!(fault(text), Fault::TooLong(Some(9)));
        let text = r#"stream '{a="x"}' has label value too long: 'timestamp too old: 1, oldest acceptable timestamp is: 2026-11-18T02:50:41Z'"#;
        assert_eq!(fault(text), Fault::Stream);
    }

    fn again(status: u16, text: &str) -> (ReasonKind, Option<Duration>, bool, bool) {
        match read(status, text, None) {
            Answer::Again {
                reason,
                after,
                all,
                fewer,
            } => (reason.kind, after, all, fewer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_given_up_for_what_time_or_a_person_heals() {
        let slow = Some(SLOW);
        assert_eq!(
            again(401, "no org id"),
            (ReasonKind::Forbidden, slow, true, false)
        );
        assert_eq!(again(403, ""), (ReasonKind::Forbidden, slow, true, false));
        assert_eq!(again(404, ""), (ReasonKind::Missing, slow, true, false));
        assert_eq!(again(260, ""), (ReasonKind::Blocked, slow, true, false));
        let blocked =
            "ingestion blocked for user fake until '2026-11-25T01:50:36Z' with status code '456'";
        assert_eq!(
            again(456, blocked),
            (ReasonKind::Blocked, slow, false, false)
        );
        assert_eq!(
            again(429, "ingestion rate limit exceeded for user fake"),
            (ReasonKind::Busy, None, true, true)
        );
        assert_eq!(
            again(429, "Per stream rate limit exceeded (limit: 3MB/sec)"),
            (ReasonKind::Busy, None, false, true)
        );
        assert_eq!(
            again(429, "maximum active stream limit exceeded"),
            (ReasonKind::Busy, None, false, false)
        );
        assert_eq!(
            again(500, "empty ring"),
            (ReasonKind::Server, None, true, false)
        );
        assert_eq!(again(302, ""), (ReasonKind::Nonsense, slow, true, false));
        let switched_off = "stream '{}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata`";
        assert_eq!(
            again(400, switched_off),
            (ReasonKind::Blocked, slow, true, false)
        );
        assert_eq!(
            again(400, "entry for stream '{}' has 16 label names; limit 15"),
            (ReasonKind::Blocked, slow, true, false)
        );
        let large = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5000601 vs. 4194304)";
        for (status, text) in [(500, large), (413, "")] {
            assert!(
                matches!(read(status, text, None), Answer::TooLarge(_)),
                "{status}"
            );
        }
        assert_eq!(read(204, "", None), Answer::Taken);
    }
}
