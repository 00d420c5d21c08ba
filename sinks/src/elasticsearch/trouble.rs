//! Why a server of this kind did not take something, and what that means for the event.

use pipeline::{Fate, Reason, ReasonKind};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest text that goes into a reason [characters].
const MAX_TEXT: usize = 2000;

/// `error` of an item or of a whole answer: `{"type": …, "reason": …, "caused_by": {…}}`, or a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Like `mapper_parsing_exception`.
    pub(super) kind: String,
    /// All it says, causes included.
    pub(super) text: String,
    index: Option<String>,
}

impl Trouble {
    pub(super) fn read(raw: &str) -> Self {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(raw) else {
            return Self::default();
        };
        let mut trouble = Self::default();
        if let serde_json::Value::String(text) = &value {
            trouble.text = shortened(text);
            return trouble;
        }
        let word = |v: &serde_json::Value, key: &str| {
            v.get(key)
                .and_then(|t| t.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        trouble.kind = word(&value, "type");
        trouble.index = value
            .get("index")
            .and_then(|i| i.as_str())
            .map(str::to_owned);
        let mut text = String::new();
        let mut at = Some(&value);
        // The same cause is often told at every level.
        for _ in 0..8 {
            let Some(here) = at else { break };
            let (kind, reason) = (word(here, "type"), word(here, "reason"));
            if text.is_empty() {
                text = format!("{kind}: {reason}");
            } else if !text.contains(&reason) || reason.is_empty() {
                text.push_str(&format!("; caused by {kind}: {reason}"));
            }
            at = here.get("caused_by");
        }
        trouble.text = shortened(&text);
        trouble
    }

    /// The error of a whole answer, if it is one of this kind of server.
    pub(super) fn of_answer(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
        Some(Self::read(answer.error.get()))
    }

    pub(super) fn fate(&self, status: u16, index: Option<&str>) -> Fate {
        let index = self.index.as_deref().or(index).unwrap_or("the index");
        let text = if self.text.is_empty() {
            format!("status {status} without a reason")
        } else {
            self.text.clone()
        };
        let again = |kind, text: String| Fate::Retry(Reason::new(kind, text));
        match (status, self.kind.as_str()) {
            (_, "cluster_block_exception") => again(
                ReasonKind::Blocked,
                format!(
                    "{index} takes no writes (a full disk on the server, or set so by hand): {text}"
                ),
            ),
            (401 | 403, _) | (_, "security_exception") => again(
                ReasonKind::Forbidden,
                format!("no right to write to {index}: {text}"),
            ),
            // Not the event's fault, and it heals when the pipeline is there.
            (400, "illegal_argument_exception") if self.text.contains("pipeline with id") => {
                again(ReasonKind::Missing, text)
            }
            (408 | 409 | 425 | 429, _)
            | (
                _,
                "es_rejected_execution_exception"
                | "rejected_execution_exception"
                | "circuit_breaking_exception",
            ) => again(ReasonKind::Busy, text),
            (_, "unavailable_shards_exception") | (500..=599, _) => again(ReasonKind::Server, text),
            (404, _) => Fate::Refused(Reason::new(ReasonKind::Missing, text)),
            (413, _) => Fate::Refused(Reason::new(ReasonKind::TooLarge, text)),
            (400, _) => Fate::Refused(Reason::new(ReasonKind::Mapping, text)),
            // What we do not know is no reason to give an event up.
            _ => again(ReasonKind::Nonsense, format!("status {status}: {text}")),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect();
    if out.len() < text.len() && text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}
