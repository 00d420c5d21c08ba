//! What a line of the access log says about the fate of a call: its status, and where the console hides that, the length of
//! the answer.

use serde::Deserialize;

use super::path::Format;

/// What a good answer of an endpoint holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// `null`.
    #[default]
    Nothing,
    /// The UPID of the task it forked.
    Upid,
    /// Another text, or a number.
    Text,
    /// An object; console calls answer one.
    Object,
    /// A list.
    List,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, or begun where it forks a task.
    Success,
    /// It failed.
    Failure,
    /// It was refused: no valid login, or no right.
    Denied,
    /// Nothing in the line tells.
    Unknown,
}

/// The body around a text of `n` bytes: `{"data":"…"}`.
const JSON_TEXT: u64 = 11;
/// `{"data":"…","success":1}`.
const EXTJS_TEXT: u64 = 23;
/// `{"data":null,"message":"","status":500,"success":0}`, the shortest body of a failure: whatever is shorter is none.
const EXTJS_FAILURE: u64 = 51;
/// Furthest that the shortest and longest UPID may lie apart for its length to prove a success [bytes].
const CERTAIN: u64 = 8;
/// A ticket's answer is longer, a refusal's shorter.
const TICKET: u64 = 500;

impl Verdict {
    /// Of a status and the length of the body, `None` where the line has `-`. `upid` is how long the UPID would be
    /// ([`super::Call::upid_lengths`]), for calls that fork a task.
    #[must_use]
    pub fn of(
        format: Format,
        status: i64,
        length: Option<u64>,
        answers: Answer,
        upid: Option<(u64, u64)>,
    ) -> Verdict {
        match status {
            401 | 403 => return Verdict::Denied,
            // The client went away before there was an answer; the call may have been done.
            500 if length.is_none() => return Verdict::Unknown,
            400.. => return Verdict::Failure,
            // Sent elsewhere: nothing was done here, and whether the client went there no line tells.
            301..=303 | 307 | 308 => return Verdict::Unknown,
            101 | 200..=399 => {}
            _ => return Verdict::Unknown,
        }
        if format != Format::Extjs || status != 200 {
            return Verdict::Success;
        }
        let Some(length) = length else {
            return Verdict::Unknown;
        };
        match (answers, upid) {
            // `null`, an empty list, a number: `{"data":null,"success":1}`.
            _ if length < EXTJS_FAILURE => Verdict::Success,
            (Answer::Nothing, _) => Verdict::Failure,
            (Answer::Upid, Some((shortest, longest))) => {
                match (EXTJS_TEXT + shortest..=EXTJS_TEXT + longest).contains(&length) {
                    true if longest - shortest <= CERTAIN => Verdict::Success,
                    // Many lengths would do, and the message of a failure has some length too.
                    true => Verdict::Unknown,
                    false => Verdict::Failure,
                }
            }
            _ => Verdict::Unknown,
        }
    }

    /// Of a login: `POST /access/ticket`.
    #[must_use]
    pub fn of_ticket(status: i64, length: Option<u64>) -> Verdict {
        match (status, length) {
            (401 | 403, _) => Verdict::Denied,
            (400.., _) => Verdict::Failure,
            (200, Some(length)) if length > TICKET => Verdict::Success,
            (200, Some(_)) => Verdict::Denied,
            _ => Verdict::Unknown,
        }
    }

    /// `success`, `failure` or `unknown`, for `event.outcome`.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            Verdict::Success => "success",
            Verdict::Failure | Verdict::Denied => "failure",
            Verdict::Unknown => "unknown",
        }
    }
}

/// How long the UPID in an answer was, by the length of its body; `None` where the answer holds none.
#[must_use]
pub fn upid_length(format: Format, length: u64, answers: Answer) -> Option<u64> {
    let around = match (answers, format) {
        (Answer::Upid, Format::Json) => JSON_TEXT,
        (Answer::Upid, Format::Extjs) => EXTJS_TEXT,
        _ => return None,
    };
    // `UPID:` and seven parts with their colons, the shortest there can be.
    length.checked_sub(around).filter(|rest| *rest >= 45)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_hides_failures_and_their_length_gives_them_away() {
        let of = |status, length, answers, upid| {
            Verdict::of(Format::Extjs, status, Some(length), answers, upid)
        };
        assert_eq!(of(200, 25, Answer::Nothing, None), Verdict::Success);
        assert_eq!(of(200, 93, Answer::Nothing, None), Verdict::Failure);
        assert_eq!(of(200, 81, Answer::Upid, Some((58, 59))), Verdict::Success);
        assert_eq!(of(200, 120, Answer::Upid, Some((58, 59))), Verdict::Failure);
        assert_eq!(of(200, 120, Answer::Upid, None), Verdict::Unknown);
        assert_eq!(of(200, 90, Answer::Upid, Some((60, 80))), Verdict::Unknown);
        assert_eq!(of(200, 25, Answer::Upid, None), Verdict::Success);
        assert_eq!(of(200, 25, Answer::Object, None), Verdict::Success);
        assert_eq!(of(200, 23, Answer::List, None), Verdict::Success);
        assert_eq!(of(200, 51, Answer::Nothing, None), Verdict::Failure);
        assert_eq!(of(200, 300, Answer::Object, None), Verdict::Unknown);
        assert_eq!(of(401, 0, Answer::Nothing, None), Verdict::Denied);
        assert_eq!(Verdict::of_ticket(200, Some(763)), Verdict::Success);
        assert_eq!(Verdict::of_ticket(200, Some(77)), Verdict::Denied);
    }

    #[test]
    fn elsewhere_the_status_tells() {
        let of = |status, length| Verdict::of(Format::Json, status, length, Answer::Nothing, None);
        assert_eq!(of(200, Some(13)), Verdict::Success);
        assert_eq!(of(101, None), Verdict::Success);
        assert_eq!(of(403, Some(50)), Verdict::Denied);
        assert_eq!(of(500, None), Verdict::Unknown);
        assert_eq!(of(500, Some(80)), Verdict::Failure);
        assert_eq!(of(595, None), Verdict::Failure);
        assert_eq!(of(308, Some(18)), Verdict::Unknown);
        assert_eq!(of(304, None), Verdict::Success);
        for status in [0, -1, i64::MIN, 100, 199] {
            assert_eq!(of(status, None), Verdict::Unknown, "{status}");
        }
    }

    #[test]
    fn the_length_of_an_answer_tells_that_of_its_upid() {
        assert_eq!(upid_length(Format::Extjs, 81, Answer::Upid), Some(58));
        assert_eq!(upid_length(Format::Json, 83, Answer::Upid), Some(72));
        assert_eq!(upid_length(Format::Json, 13, Answer::Upid), None);
        assert_eq!(upid_length(Format::Json, 300, Answer::Object), None);
    }
}
