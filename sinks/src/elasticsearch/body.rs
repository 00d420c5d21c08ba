//! The body of a bulk: an action line and a document for each event, written once, straight into what is sent.

use pipeline::{Event, Events, Field, JsonWriter, fields};

use super::index::Action;

/// A body that has grown beyond this gives its memory back [bytes].
const KEPT: usize = 8 << 20;

/// Writes events as the lines of a bulk.
pub(super) struct Encoder {
    writer: JsonWriter,
    audit: Action,
    alert: Action,
    kind: Field,
}

impl Encoder {
    pub(super) fn new(writer: JsonWriter, audit: Action, alert: Action) -> Self {
        Self {
            writer,
            audit,
            alert,
            kind: fields::EVENT_KIND,
        }
    }

    /// Fills `out` with the events from place `from` on, until it holds `limit` bytes; at least one event. Says how
    /// many it was.
    pub(super) fn fill(
        &mut self,
        events: &Events,
        from: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        out.clear();
        if out.capacity() > KEPT {
            out.shrink_to(KEPT);
        }
        let mut count = 0;
        for event in events.iter().skip(from) {
            let before = out.len();
            self.line(event, out);
            if out.len() > limit && count > 0 {
                out.truncate(before);
                break;
            }
            count += 1;
        }
        count
    }

    #[inline]
    fn line(&mut self, event: &Event, out: &mut Vec<u8>) {
        let action = if event.str(self.kind) == Some("alert") {
            &mut self.alert
        } else {
            &mut self.audit
        };
        action.write(event.timestamp(), event.id(), out);
        self.writer.write(event, out);
        out.push(b'\n');
    }
}
