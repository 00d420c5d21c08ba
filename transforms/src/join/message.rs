//! One message that may still go on.

use std::collections::BTreeMap;

use pipeline::{Duration, Event, EventId, Field, Outputs, StateError, Value, fields};
use serde::{Deserialize, Serialize};

use super::rules::{MOST_PARTS, Mark};

/// One message that may still go on.
#[derive(Debug)]
pub(super) struct Message {
    /// The first part; it has its own text.
    base: Event,
    /// The text so far, once it is longer than that of the first part.
    text: Option<String>,
    /// The other parts, in their order.
    links: Vec<EventId>,
    numbered: Option<Numbered>,
    /// Which piece of work it is about.
    pub(super) operation: Option<Box<str>>,
    /// Whether its last part is as long as its sender makes any, so that it goes on or has lost its end.
    pub(super) cut: bool,
    /// Whether something of it is known to be lost.
    pub(super) truncated: bool,
}

/// The parts of a message that says how many there are.
#[derive(Debug, Serialize, Deserialize)]
struct Numbered {
    parts: u32,
    /// The number of the part that is the base.
    base: u32,
    /// All others.
    others: BTreeMap<u32, (String, EventId)>,
    /// Where the own text of the base begins [bytes].
    at: usize,
}

/// What is saved beside the event.
#[derive(Serialize, Deserialize)]
struct Saved {
    text: Option<String>,
    links: Vec<EventId>,
    numbered: Option<Numbered>,
    operation: Option<Box<str>>,
    cut: bool,
    truncated: bool,
}

impl Message {
    pub(super) fn new(event: Event, cut: bool, operation: Option<Box<str>>) -> Message {
        Message {
            base: event,
            text: None,
            links: Vec::new(),
            numbered: None,
            operation,
            cut,
            truncated: false,
        }
    }

    pub(super) fn numbered(event: Event, mark: &Mark) -> Message {
        let numbered = Numbered {
            parts: mark.parts,
            base: mark.part,
            others: BTreeMap::new(),
            at: mark.at,
        };
        Message {
            numbered: Some(numbered),
            ..Message::new(event, false, None)
        }
    }

    /// Copies what it holds out of the buffer of the read.
    pub(super) fn detach(&mut self) {
        self.base.detach();
    }

    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        let others = self.numbered.as_ref().map_or(0, |numbered| {
            numbered
                .others
                .values()
                .map(|(text, _)| text.len() + 64)
                .sum()
        });
        self.base.size()
            + self.text.as_ref().map_or(0, String::len)
            + self.links.len() * size_of::<EventId>()
            + others
    }

    /// Length of the text so far [bytes].
    fn len(&self) -> usize {
        let base = match &self.text {
            Some(text) => text.len(),
            None => self.base.str(fields::MESSAGE).map_or(0, str::len),
        };
        let others = self.numbered.iter().flat_map(|n| n.others.values());
        base + others.map(|(text, _)| text.len()).sum::<usize>()
    }

    /// Whether a part of `more` bytes can be added.
    pub(super) fn fits(&self, more: usize, most: usize) -> bool {
        self.len() + more < most && self.links.len() < MOST_PARTS as usize
    }

    /// Whether the event happened at about the same time.
    pub(super) fn is_near(&self, event: &Event, timeout: Duration) -> bool {
        let apart = event.timestamp().0.abs_diff(self.base.timestamp().0);
        apart <= timeout.as_nanos().unsigned_abs()
    }

    /// Adds the text of an event from the byte `at` on.
    pub(super) fn append(&mut self, event: &Event, at: usize, between: &str, cut: bool) {
        let text = self.text.get_or_insert_with(|| {
            let text = self.base.str(fields::MESSAGE).unwrap_or_default();
            text.to_owned()
        });
        let more = event.str(fields::MESSAGE).unwrap_or_default();
        text.push_str(between);
        text.push_str(more.get(at..).unwrap_or_default());
        // A further line behind one that was cut: the end of that one is lost.
        self.truncated |= self.cut && !between.is_empty();
        self.cut = cut;
        self.links.push(event.id());
        self.take_bytes_of(event);
    }

    /// Whether this part belongs to it and is none that it has.
    pub(super) fn takes(&self, event: &Event, mark: &Mark) -> bool {
        self.numbered.as_ref().is_some_and(|numbered| {
            numbered.parts == mark.parts
                && (if mark.part == numbered.base {
                    self.base.id() == event.id()
                } else {
                    !numbered.others.contains_key(&mark.part)
                })
        })
    }

    /// Adds a numbered part. The one with the lowest number is the base.
    pub(super) fn insert(&mut self, mut event: Event, mark: &Mark) {
        let Some(numbered) = &mut self.numbered else {
            return;
        };
        if mark.part == numbered.base {
            return;
        }
        if mark.part < numbered.base {
            event.detach();
            let before = std::mem::replace(&mut self.base, event);
            let text = before.str(fields::MESSAGE).unwrap_or_default();
            let own = text.get(numbered.at..).unwrap_or_default().to_owned();
            numbered.others.insert(numbered.base, (own, before.id()));
            (numbered.base, numbered.at) = (mark.part, mark.at);
            self.take_bytes_of(&before);
            return;
        }
        let text = event.str(fields::MESSAGE).unwrap_or_default();
        let own = text.get(mark.at..).unwrap_or_default().to_owned();
        numbered.others.insert(mark.part, (own, event.id()));
        self.take_bytes_of(&event);
    }

    /// A part that was no text has its bytes beside it; they go where the text goes.
    fn take_bytes_of(&mut self, part: &Event) {
        if let Some(raw) = part.get(fields::PVE_RAW_B64) {
            self.base.append(fields::PVE_RAW_B64, raw.to_owned());
        }
        if part.get(fields::PVE_TRUNCATED).is_some() {
            self.truncated = true;
        }
    }

    /// Whether every numbered part is there.
    pub(super) fn is_whole(&self) -> bool {
        self.numbered
            .as_ref()
            .is_some_and(|numbered| numbered.others.len() as u32 + 1 == numbered.parts)
    }

    /// Lets it go.
    pub(super) fn release(mut self, out: &mut Outputs) {
        let whole = self.numbered.is_none() || self.is_whole();
        if let Some(numbered) = self.numbered.take() {
            let mut text = self.text.take().unwrap_or_else(|| {
                let text = self.base.str(fields::MESSAGE).unwrap_or_default();
                text.to_owned()
            });
            for (more, id) in numbered.others.into_values() {
                text.push_str(&more);
                self.links.push(id);
            }
            self.text = Some(text);
        }
        if let Some(text) = self.text {
            self.base.set(fields::MESSAGE, text);
        }
        if self.truncated || self.cut || !whole {
            self.base.set(fields::PVE_TRUNCATED, true);
        }
        if !self.links.is_empty() {
            let field = Field::new(LINKS);
            for id in self.links {
                self.base.append(field, Value::Str(id.to_string()));
            }
        }
        out.emit(self.base);
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        pipeline::state::write_event(&self.base, to);
        let saved = serde_json::json!({
            "text": self.text,
            "links": self.links,
            "numbered": self.numbered,
            "operation": self.operation,
            "cut": self.cut,
            "truncated": self.truncated,
        })
        .to_string();
        super::held::write_part(saved.as_bytes(), to);
    }

    pub(super) fn load(from: &mut &[u8]) -> Result<Message, StateError> {
        let base = pipeline::state::read_event(from)?;
        let saved = super::held::read_part(from)?;
        let saved: Saved = serde_json::from_slice(saved)
            .map_err(|why| StateError(format!("a held message cannot be read: {why}")))?;
        Ok(Message {
            base,
            text: saved.text,
            links: saved.links,
            numbered: saved.numbered,
            operation: saved.operation,
            cut: saved.cut,
            truncated: saved.truncated,
        })
    }
}

/// Where the ids of the other parts go.
pub(super) const LINKS: &str = "pve.links";
