//! The name of an index by the time of the event, and the action line that stands before each document.
//!
//! The same event always meets the same index, so that `create` with its id is idempotent. Lines are made once for each
//! month (day, hour), not for each event.

use std::ops::Range;

use pipeline::{EventId, Time};

use crate::template::{Named, Template};

/// Action lines remembered at once; more are needed only when old and new files are read side by side.
const REMEMBERED: usize = 16;

/// Reads the template of an index; the error names the range of bytes that is wrong.
pub(super) fn template(text: &str) -> Result<Template, (Range<usize>, String)> {
    let wrong = |c: char| c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:{}".contains(c);
    if text.is_empty() || text.len() > 200 {
        return Err((0..text.len(), "a name has 1 to 200 bytes".to_owned()));
    }
    if text.starts_with(['-', '_', '+', '.']) {
        return Err((0..1, "a name starts with a letter or a digit".to_owned()));
    }
    let mut after_percent = false;
    for (at, c) in text.char_indices() {
        if (wrong(c) && !after_percent) || (c == '%' && after_percent) {
            return Err((
                at..at + c.len_utf8(),
                format!("`{c}` cannot stand in the name of an index"),
            ));
        }
        after_percent = c == '%';
    }
    Template::parse(text)
}

/// What stands behind the id in an action line.
const TAIL: &[u8] = b"\"}}\n";

/// Makes action lines: the name from the time of the event, the id from the event.
#[derive(Clone, Debug)]
pub(super) struct Action {
    template: Template,
    verb: &'static str,
    known: Vec<(Named, Vec<u8>)>,
}

impl Action {
    /// `verb` is `create` or `index`.
    pub(super) fn new(template: Template, verb: &'static str) -> Self {
        Self {
            template,
            verb,
            known: Vec::new(),
        }
    }

    /// Appends `{"create":{"_index":"pve-audit-2026.11","_id":"…"}}` and a line end: one copy, then the id over it.
    #[inline]
    pub(super) fn write(&mut self, time: Time, id: EventId, out: &mut Vec<u8>) {
        if !self
            .known
            .first()
            .is_some_and(|(named, _)| named.holds(time))
        {
            self.find(time);
        }
        out.extend_from_slice(&self.known[0].1);
        let end = out.len() - TAIL.len();
        if let Some(room) = out[..end].last_chunk_mut::<32>() {
            id.write_hex(room);
        }
    }

    #[cold]
    fn find(&mut self, time: Time) {
        if let Some(at) = self.known.iter().position(|(named, _)| named.holds(time)) {
            self.known.swap(0, at);
            return;
        }
        let named = self.template.name(time);
        let start = format!(
            "{{\"{}\":{{\"_index\":\"{}\",\"_id\":\"",
            self.verb, named.name
        );
        let line = [start.as_bytes(), &[b'0'; 32], TAIL].concat();
        self.known.insert(0, (named, line));
        self.known.truncate(REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(action: &mut Action, time: Time, id: u64) -> String {
        let mut out = b"before".to_vec();
        action.write(time, EventId([0, id]), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_remembered_line_is_the_one_a_fresh_look_gives() {
        for text in ["x-%Y.%m", "x-%Y.%m.%d", "x-%H", "x-%Y", "x"] {
            let mut kept = Action::new(template(text).unwrap(), "index");
            let mut time = 951_782_400_i64; // 2000-02-29
            for step in 0..4000_i64 {
                time += (step * 7919) % 100_000 - 30_000;
                let at = Time::from_secs(time);
                let mut fresh = Action::new(template(text).unwrap(), "index");
                assert_eq!(
                    line(&mut kept, at, 1),
                    line(&mut fresh, at, 1),
                    "{text} at {at}"
                );
            }
        }
        let mut action = Action::new(template("pve-%Y").unwrap(), "create");
        for id in [0xabc, 0xdef] {
            let expected =
                format!("before{{\"create\":{{\"_index\":\"pve-1970\",\"_id\":\"{id:032x}\"}}}}\n");
            assert_eq!(line(&mut action, Time(0), id), expected);
        }
    }

    #[test]
    fn what_no_index_can_be_called_is_told_with_its_place() {
        for (text, range) in [
            ("Pve", 0..1),
            ("a b", 1..2),
            ("a-%Q", 2..4),
            ("a-%", 2..3),
            ("a/%Y", 1..2),
            ("-a", 0..1),
            ("a{{x}}", 1..2),
            ("a%%", 2..3),
        ] {
            assert_eq!(template(text).unwrap_err().0, range, "{text}");
        }
        assert!(template("").is_err());
    }
}
