//! A message of Slack's Block Kit: for each event a section (what happened) and a context (when, who, where), kept within
//! Slack's limits by construction.
//!
//! - `&`, `<` and `>` of an event are escaped as Slack asks, so no event mentions a channel or makes a link
//! - an event too many for one message goes into the next; none is left out

use pipeline::{Event, Events, Field, ValueRef, fields, printable};
use serde_json::{Value as Json, json};

use super::alertmanager::{cut, severity};
use super::form::Room;

/// Blocks of one message; Slack takes 50.
const MAX_BLOCKS: usize = 50;

/// Characters of one section, escaped; Slack takes 3000.
const MAX_SECTION: usize = 2900;

/// Characters of one element of a context, escaped.
const MAX_ELEMENT: usize = 200;

/// Characters of all blocks together, escaped; Slack answers `msg_blocks_too_long` somewhere above 13 000, whatever its
/// page says.
const MAX_MESSAGE: usize = 11_000;

/// Characters of the text for notifications; Slack cuts at 40 000 and wishes for 4000.
const MAX_FALLBACK: usize = 300;

/// Writes messages.
pub(super) struct Slack {
    rule: Field,
    rule_id: Field,
    count: Field,
    alert: Field,
    transition: Field,
    state: Field,
    /// In the order of the words of an alert; the time comes behind them.
    context: [(&'static str, Field); 6],
}

impl Default for Slack {
    fn default() -> Self {
        Slack {
            rule: Field::new("rule.name"),
            rule_id: Field::new("rule.id"),
            count: Field::new("pve.alert.count"),
            alert: Field::new("pve.alert.id"),
            transition: Field::new("pve.notify.transition"),
            state: Field::new("pve.alert.state"),
            context: [
                ("user", "user.id"),
                ("action", "event.action"),
                ("object", "pve.object.id"),
                ("node", "host.name"),
                ("from", "source.ip"),
                ("result", "event.outcome"),
            ]
            .map(|(name, path)| (name, Field::new(path))),
        }
    }
}

impl Slack {
    /// Fills `out` with one message and says how many events it tells of.
    pub(super) fn fill(
        &self,
        events: &Events,
        from: usize,
        room: Room,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut blocks: Vec<Json> = Vec::new();
        let mut size = 0;
        let mut count = 0;
        let mut fallback = String::new();
        for event in events.iter().skip(from).take(room.events) {
            let title = self.title(event);
            let section = json!({
                "type": "section",
                "text": { "type": "mrkdwn", "text": self.section(event, &title), "verbatim": true },
            });
            let context = json!({ "type": "context", "elements": self.elements(event) });
            let both = [section, context];
            let more: usize = both.iter().map(letters).sum();
            if count > 0 && (blocks.len() + 2 > MAX_BLOCKS || size + more > MAX_MESSAGE) {
                break;
            }
            size += more;
            blocks.extend(both);
            if count == 0 {
                fallback = title;
            }
            count += 1;
        }
        if count > 1 {
            fallback = format!(
                "{} (and {} more)",
                cut(&fallback, MAX_FALLBACK - 30),
                count - 1
            );
        }
        let text = escaped(&fallback, MAX_FALLBACK);
        let message = json!({ "text": text, "blocks": blocks });
        out.extend_from_slice(message.to_string().as_bytes());
        count
    }

    /// One line: the mark of its severity, the rule, what happened.
    fn title(&self, event: &Event) -> String {
        let level = event.get(fields::EVENT_SEVERITY).and_then(ValueRef::as_int);
        let level = level.map_or("", severity);
        let mark = match level {
            "critical" => "🔴 ",
            "high" => "🟠 ",
            "medium" => "🟡 ",
            "low" => "🟢 ",
            "info" => "⚪ ",
            _ => "",
        };
        let rule: Vec<&str> = [self.rule_id, self.rule]
            .into_iter()
            .filter_map(|field| event.str(field))
            .collect();
        let rule = (!rule.is_empty()).then(|| rule.join(" "));
        let what = rule
            .as_deref()
            .or_else(|| event.str(fields::MESSAGE))
            .or_else(|| event.str(fields::EVENT_ACTION))
            .unwrap_or("an event without a message");
        // "reminder-3" is a reminder.
        let state = match event.str(self.transition) {
            Some(transition) => transition.split('-').next().unwrap_or_default(),
            None => event.str(self.state).unwrap_or_default(),
        };
        let between = match (level, state) {
            ("", _) => "",
            (_, "resolved") => " (resolved): ",
            (_, "updated") => " (raised): ",
            (_, "reminder") => " (still open): ",
            _ => ": ",
        };
        let line: Vec<&str> = what.split_whitespace().collect();
        format!("{mark}{level}{between}{}", cut(&line.join(" "), 256))
    }

    fn section(&self, event: &Event, title: &str) -> String {
        let title = format!("*{}*", escaped(&title.replace('*', "∗"), 600));
        // Without a rule the title is the message already; what was cut there is told here.
        let message = event.str(fields::MESSAGE).unwrap_or_default();
        let told = message.is_empty() || title.contains(&escaped(message, 600));
        if told {
            return title;
        }
        let left = MAX_SECTION - title.chars().count() - 1;
        format!("{title}\n{}", escaped(message, left))
    }

    fn elements(&self, event: &Event) -> Vec<Json> {
        let element = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
        let alert = event.str(self.alert);
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for (name, field) in &self.context {
            // How the record of an alert ended says nothing.
            if let (Some(text), true) = (event.str(*field), alert.is_none() || *name != "result") {
                pairs.push((name, text.to_owned()));
            }
        }
        pairs.push(("at", event.timestamp().to_string()));
        if let Some(count) = event.get(self.count).and_then(ValueRef::as_int) {
            pairs.push(("count", count.to_string()));
        }
        pairs.push(match alert {
            Some(alert) => ("alert", alert.to_owned()),
            None => ("id", event.id().to_string()),
        });
        pairs.retain(|(_, value)| !value.trim().is_empty());
        pairs
            .into_iter()
            .map(|(name, value)| {
                let value = escaped(&value, MAX_ELEMENT - name.len() - 2);
                element(format!("{name}: {value}"))
            })
            .collect()
    }
}

/// Characters of all texts in a block.
fn letters(block: &Json) -> usize {
    match block {
        Json::String(text) => text.chars().count(),
        Json::Array(list) => list.iter().map(letters).sum(),
        Json::Object(map) => map.values().map(letters).sum(),
        _ => 0,
    }
}

/// Text as Slack wants it: printable, `&`, `<`, `>` as entities, at most `most` characters after that, and cut between two
/// characters of the original, never inside an entity.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    let text: Vec<String> = text
        .lines()
        .map(|line| printable(line).into_owned())
        .collect();
    for c in text.join("\n").chars() {
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => {
                if length + 2 > most {
                    out.push('…');
                    return out;
                }
                out.push(c);
                length += 1;
                continue;
            }
        };
        if length + piece.len() + 1 > most {
            out.push('…');
            return out;
        }
        out.push_str(piece);
        length += piece.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_would_read_as_markup_is_escaped_and_no_entity_is_cut() {
        assert_eq!(
            escaped("a <!channel> & b", 100),
            "a &lt;!channel&gt; &amp; b"
        );
        for most in 1..40 {
            let cut = escaped("<<<<<<&&&&&>>>>>", most);
            assert!(cut.chars().count() <= most, "{most}: {cut}");
            let rest = cut
                .replace("&lt;", "")
                .replace("&amp;", "")
                .replace("&gt;", "");
            assert!(rest.is_empty() || rest == "…", "{most}: {cut}");
        }
        assert_eq!(escaped("abc", 4), "abc");
        assert_eq!(escaped("a\u{1b}[2Jb\nc", 100).lines().count(), 2);
    }
}
