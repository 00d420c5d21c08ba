//! The sentence of an event: what happened, in words a person reads.
//!
//! A template is text with slots in braces. A slot that has nothing to say brings nothing, not even its preposition: `{from}`
//! is ` from 192.0.2.1` or empty. Everything that comes from an event is cut and made safe for a terminal: log text is
//! written by attackers.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::{Catalogue, Row, Text};
use crate::config::Language;
use crate::event::{Event, Field, Value, ValueRef, fields};
use crate::printable::push_printable;

/// Longest value in a sentence; of a longer one the beginning is shown [letters].
const LONGEST: usize = 200;
/// Most changes, keys and addresses named one by one.
const MOST: usize = 3;

/// The templates of one row.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    say: Option<Both>,
    failed: Option<Both>,
}

#[derive(Debug)]
struct Both {
    en: Vec<Part>,
    de: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Slot(Slot),
}

macro_rules! slots {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// What a template may ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Slot { $($name),* }

        impl Slot {
            fn find(word: &str) -> Option<Slot> {
                match word { $($word => Some(Slot::$name),)* _ => None }
            }
        }
    };
}

slots! {
    User = "user", Target = "target", Effective = "effective", OfUser = "of_user", From = "from", Node = "node",
    OnNode = "on_node", OfNode = "of_node", Guest = "guest", Object = "object", OfObject = "of_object", What = "what",
    Keys = "keys", Changes = "changes", Grant = "grant", Reason = "reason", Command = "command", Path = "path",
    Count = "count", Text = "text", Process = "process", Packet = "packet",
}

impl Sentences {
    pub(super) fn of(row: &Row) -> Result<Sentences, String> {
        Ok(Sentences {
            say: row.say.as_ref().map(Both::of).transpose()?,
            failed: row.failed.as_ref().map(Both::of).transpose()?,
        })
    }
}

impl Both {
    fn of(text: &Text) -> Result<Both, String> {
        Ok(Both {
            en: parts(&text.en)?,
            de: parts(&text.de)?,
        })
    }
}

fn parts(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        let (word, after) = after
            .split_once('}')
            .ok_or_else(|| format!("a brace is not closed in \"{template}\""))?;
        let slot = Slot::find(word).ok_or_else(|| {
            format!("\"{{{word}}}\" in \"{template}\" is nothing that can be said")
        })?;
        parts.push(Part::Slot(slot));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

/// The sentence of an event by its `event.code`, or `None` where its row has none.
///
/// ```
/// use pipeline::{Event, EventId, Language, Time, Value, fields};
/// pipeline::catalogue::Catalogue::builtin();
/// let mut event = Event::new(EventId::default(), Time(0));
/// event.set_tree("event.code", Value::Str("PVE-2002".into()));
/// event.set_tree("user.id", Value::Str("alice@pve".into()));
/// event.set_tree("pve.object.type", Value::Str("vm".into()));
/// event.set_tree("pve.object.id", Value::Str("104".into()));
/// let said = pipeline::catalogue::sentence(&event, Language::En);
/// assert_eq!(said.as_deref(), Some("alice@pve destroyed VM 104"));
/// ```
#[must_use]
pub fn sentence(event: &Event, language: Language) -> Option<String> {
    let mut said = String::with_capacity(96);
    let code = event.str(FIELDS.code)?;
    let catalogue = Catalogue::builtin();
    catalogue
        .say(catalogue.number(code)?, event, language, &mut said)
        .then_some(said)
}

impl Catalogue {
    /// Appends the sentence of row `number` to `out`; `false` where the row has none.
    pub fn say(&self, number: usize, event: &Event, language: Language, out: &mut String) -> bool {
        let sentences = &self.sentences[number];
        let failed = event.str(FIELDS.outcome) == Some("failure");
        let both = match (&sentences.failed, failed) {
            (Some(failed), true) => failed,
            _ => match &sentences.say {
                Some(say) => say,
                None => return false,
            },
        };
        let (parts, words) = match language {
            Language::En => (&both.en, &EN),
            Language::De => (&both.de, &DE),
        };
        let mut say = Say { event, words, out };
        for part in parts {
            match part {
                Part::Text(text) => say.out.push_str(text),
                Part::Slot(slot) => say.slot(*slot),
            }
        }
        true
    }
}

/// The little words of a language.
struct Words {
    somebody: &'static str,
    something: &'static str,
    from: &'static str,
    from_one_of: &'static str,
    via: &'static str,
    on: &'static str,
    of: &'static str,
    for_object: &'static str,
    to: &'static str,
    port: &'static str,
    and_more: &'static str,
    the_configuration: &'static str,
    several_guests: &'static str,
    guest: &'static str,
    role: &'static str,
    nothing: &'static str,
}

const EN: Words = Words {
    somebody: "somebody",
    something: "something",
    from: " from ",
    from_one_of: " from one of ",
    via: " via ",
    on: " on ",
    of: " of ",
    for_object: " on ",
    to: " to ",
    port: " port ",
    and_more: " and more",
    the_configuration: "the configuration",
    several_guests: "several guests",
    guest: "guest",
    role: "role",
    nothing: "nothing",
};

const DE: Words = Words {
    somebody: "jemand",
    something: "etwas",
    from: " von ",
    from_one_of: " von einer von ",
    via: " über ",
    on: " auf ",
    of: " von ",
    for_object: " auf ",
    to: " an ",
    port: " Port ",
    and_more: " und mehr",
    the_configuration: "die Konfiguration",
    several_guests: "mehreren Gästen",
    guest: "Gast",
    role: "Rolle",
    nothing: "nichts",
};

struct Fields {
    code: Field,
    outcome: Field,
    reason: Field,
    user: Field,
    user_name: Field,
    token: Field,
    target: Field,
    effective: Field,
    candidates: Field,
    via: Field,
    kind: Field,
    object: Field,
    name: Field,
    vmid: Field,
    changes: Field,
    keys: Field,
    method: Field,
    path: Field,
    command: Field,
    task: Field,
    count: Field,
    process: Field,
    destination: Field,
    destination_port: Field,
    source: Field,
    original: Field,
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields {
    code: Field::new("event.code"),
    outcome: Field::new("event.outcome"),
    reason: Field::new("event.reason"),
    user: Field::new("user.id"),
    user_name: Field::new("user.name"),
    token: Field::new("pve.token.id"),
    target: Field::new("user.target.id"),
    effective: Field::new("user.effective.name"),
    candidates: Field::new("pve.source.candidates"),
    via: Field::new("pve.source.via"),
    kind: Field::new("pve.object.type"),
    object: Field::new("pve.object.id"),
    name: Field::new("pve.object.name"),
    vmid: Field::new("pve.vmid"),
    changes: Field::new("pve.changes"),
    keys: Field::new("pve.change_keys"),
    method: Field::new("http.request.method"),
    path: Field::new("url.path"),
    command: Field::new("process.command_line"),
    task: Field::new("pve.task.type"),
    count: Field::new("pve.count"),
    process: Field::new("process.name"),
    destination: Field::new("destination.ip"),
    destination_port: Field::new("destination.port"),
    source: fields::SOURCE_IP,
    original: Field::new("event.original"),
});

/// Makes the names known that sentences ask for, so that events keep them as fields of their own.
pub(super) fn intern() {
    LazyLock::force(&FIELDS);
}

struct Say<'a> {
    event: &'a Event,
    words: &'static Words,
    out: &'a mut String,
}

impl<'a> Say<'a> {
    fn text(&self, field: Field) -> Option<&'a str> {
        self.event.str(field).filter(|text| !text.is_empty())
    }

    fn push(&mut self, text: &str) {
        match text.char_indices().nth(LONGEST) {
            None => push_printable(text, self.out),
            Some((end, _)) => {
                push_printable(&text[..end], self.out);
                self.out.push('…');
            }
        }
    }

    fn after(&mut self, before: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.out.push_str(before);
            self.push(text);
        }
    }

    fn slot(&mut self, slot: Slot) {
        let (f, words) = (&*FIELDS, self.words);
        match slot {
            Slot::User => self.user(),
            Slot::Target => {
                let target = self.text(f.target).or_else(|| self.text(f.object));
                self.push(target.unwrap_or(words.somebody));
            }
            Slot::Effective => self.push(self.text(f.effective).unwrap_or(words.somebody)),
            Slot::OfUser => self.after(words.of, self.text(f.user)),
            Slot::From => self.from(),
            Slot::Node => self.push(self.text(fields::HOST_NAME).unwrap_or("?")),
            Slot::OnNode => self.after(words.on, self.text(fields::HOST_NAME)),
            Slot::OfNode => self.after(words.of, self.text(fields::HOST_NAME)),
            Slot::Guest => self.guest(),
            Slot::Object => self.object(),
            Slot::OfObject => self.after(words.for_object, self.text(f.object)),
            Slot::What => self.what(),
            Slot::Keys => self.keys(),
            Slot::Changes => self.changes(),
            Slot::Grant => self.grant(),
            Slot::Reason => self.after(": ", self.text(f.reason)),
            Slot::Command => self.command(),
            Slot::Path => self.push(self.text(f.path).unwrap_or("/")),
            Slot::Count => match self.event.get(f.count) {
                Some(ValueRef::Int(count)) => {
                    let _ = write!(self.out, "{count}");
                }
                _ => self.push(words.something),
            },
            Slot::Text => {
                let text = self.text(f.original);
                self.push(text.or_else(|| self.text(fields::MESSAGE)).unwrap_or(""));
            }
            Slot::Process => self.push(self.text(f.process).unwrap_or("?")),
            Slot::Packet => {
                self.after(words.from, self.text(f.source));
                self.after(words.to, self.text(f.destination));
                if let Some(ValueRef::Int(port)) = self.event.get(f.destination_port) {
                    let _ = write!(self.out, "{}{port}", words.port);
                }
            }
        }
    }

    fn user(&mut self) {
        let f = &*FIELDS;
        let user = self.text(f.user).or_else(|| self.text(f.user_name));
        self.push(user.unwrap_or(self.words.somebody));
        self.after("!", self.text(f.token));
    }

    fn from(&mut self) {
        let (f, words) = (&*FIELDS, self.words);
        if let Some(address) = self.text(f.source) {
            self.after(words.from, Some(address));
            self.after(words.via, self.text(f.via));
        } else if let Some(ValueRef::List(addresses)) = self.event.get(f.candidates)
            && !addresses.is_empty()
        {
            self.out.push_str(words.from_one_of);
            self.list(addresses);
        }
    }

    fn list(&mut self, values: &[Value]) {
        let texts = values.iter().filter_map(|value| match value {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        });
        for (n, text) in texts.enumerate() {
            if n == MOST {
                self.out.push_str(self.words.and_more);
                return;
            }
            if n > 0 {
                self.out.push_str(", ");
            }
            self.push(text);
        }
    }

    fn name(&mut self) {
        if let Some(name) = self.text(FIELDS.name) {
            self.out.push_str(" (");
            self.push(name);
            self.out.push(')');
        }
    }

    fn guest(&mut self) {
        let f = &*FIELDS;
        let word = match self.text(f.kind) {
            Some("vm") => "VM",
            Some("ct") => "CT",
            _ => self.words.guest,
        };
        self.out.push_str(word);
        match (self.event.get(f.vmid), self.text(f.object)) {
            (Some(ValueRef::Int(vmid)), _) => {
                let _ = write!(self.out, " {vmid}");
            }
            (_, Some(id)) => self.after(" ", Some(id)),
            _ => {}
        }
        self.name();
    }

    fn object(&mut self) {
        match self.text(FIELDS.object) {
            Some(id) => {
                self.push(id);
                self.name();
            }
            None => self.out.push('?'),
        }
    }

    /// The guest of a backup, and where it went: `VM 104 (db) to nas1`.
    fn what(&mut self) {
        let f = &*FIELDS;
        if let Some(ValueRef::Int(vmid)) = self.event.get(f.vmid) {
            let _ = write!(self.out, "{} {vmid}", self.words.guest);
            self.name();
        } else {
            match self.text(f.object).filter(|id| !id.is_empty()) {
                Some(id) => self.push(id),
                None => self.out.push_str(self.words.several_guests),
            }
        }
    }

    fn keys(&mut self) {
        match self.event.get(FIELDS.keys) {
            Some(ValueRef::List(keys)) if !keys.is_empty() => self.list(keys),
            _ => self.out.push_str(self.words.the_configuration),
        }
    }

    fn changes(&mut self) {
        let Some(ValueRef::List(changes)) = self.event.get(FIELDS.changes) else {
            return;
        };
        for (n, change) in changes.iter().enumerate() {
            if n == MOST {
                self.out.push_str(self.words.and_more);
                break;
            }
            self.out.push_str(if n == 0 { " (" } else { ", " });
            let part = |key: &str| member(change, key);
            self.push(part("key").unwrap_or("?"));
            self.out.push(' ');
            self.push(part("old").unwrap_or(self.words.nothing));
            self.out.push_str(" -> ");
            self.push(part("new").unwrap_or(self.words.nothing));
        }
        if !changes.is_empty() {
            self.out.push(')');
        }
    }

    /// `path|member|role`, the id of a row of the access control list, in words.
    fn grant(&mut self) {
        let id = self.text(FIELDS.object).unwrap_or_default();
        let mut parts = id.splitn(3, '|');
        let (path, member, role) = (parts.next(), parts.next(), parts.next());
        let path = path.filter(|path| !path.is_empty());
        self.after(self.words.role, Some(" "));
        self.push(role.unwrap_or("?"));
        self.after(self.words.for_object, path);
        self.after(self.words.to, member);
    }

    fn command(&mut self) {
        let f = &*FIELDS;
        if let Some(command) = self.text(f.command) {
            self.push(command);
        } else if let Some(method) = self.text(f.method) {
            self.push(method);
            self.after(" ", self.text(f.path));
        } else {
            let task = self.text(f.task).map(|task| task.trim_start_matches("ha"));
            self.push(task.unwrap_or(self.words.something));
        }
    }
}

fn member<'a>(map: &'a Value, key: &str) -> Option<&'a str> {
    let Value::Map(members) = map else {
        return None;
    };
    members.iter().find_map(|(name, value)| match value {
        Value::Str(text) if name == key => Some(text.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::event::EventId;

    fn event(of: &[(&str, &str)]) -> Event {
        intern();
        let mut event = Event::new(EventId::default(), Time(0));
        for (path, text) in of {
            event.set_tree(path, Value::Str((*text).to_owned()));
        }
        event
    }

    #[test]
    fn a_deletion_is_told_in_both_languages_with_what_is_known() {
        let mut event = event(&[
            ("event.code", "PVE-2002"),
            ("event.outcome", "success"),
            ("user.id", "m.keller@pam"),
            ("pve.object.type", "vm"),
            ("pve.object.id", "104"),
            ("pve.object.name", "db-prod-1"),
            ("host.name", "pve1"),
            ("source.ip", "203.0.113.45"),
        ]);
        let say = |event: &Event, language| sentence(event, language).unwrap();
        assert_eq!(
            say(&event, Language::En),
            "m.keller@pam destroyed VM 104 (db-prod-1) on pve1 from 203.0.113.45"
        );
        assert_eq!(
            say(&event, Language::De),
            "m.keller@pam hat VM 104 (db-prod-1) auf pve1 gelöscht von 203.0.113.45"
        );
        event.set_tree("event.outcome", Value::Str("failure".into()));
        event.set_tree("event.reason", Value::Str("it is locked".into()));
        assert_eq!(
            say(&event, Language::En),
            "m.keller@pam could not destroy VM 104 (db-prod-1) on pve1 from 203.0.113.45: it is locked"
        );
        event.remove(fields::SOURCE_IP);
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|one| Value::Str(one.into()));
        event.set_tree("pve.source.candidates", Value::List(addresses.to_vec()));
        assert_eq!(
            say(&event, Language::De),
            "m.keller@pam konnte VM 104 (db-prod-1) auf pve1 nicht löschen von einer von 192.0.2.1, 192.0.2.2: it is locked"
        );
    }

    #[test]
    fn what_an_attacker_wrote_moves_no_cursor_and_fills_no_screen() {
        let event = event(&[
            ("event.code", "PVE-1002"),
            ("user.id", &format!("\u{1b}[2J{}", "x".repeat(10_000))),
            ("host.name", "pve1"),
        ]);
        let said = sentence(&event, Language::En).unwrap();
        assert!(said.starts_with("\\x1b[2Jxxx"), "{said}");
        assert!(said.len() < 300, "{}", said.len());
    }

    #[test]
    fn a_template_that_asks_for_nonsense_is_refused() {
        assert_eq!(
            parts("{user} did {nonsense}").unwrap_err(),
            "\"{nonsense}\" in \"{user} did {nonsense}\" is nothing that can be said"
        );
        assert!(parts("{user").is_err());
    }

    #[test]
    fn every_row_that_speaks_says_something_about_an_event_of_which_nothing_is_known() {
        for row in Catalogue::builtin().rows() {
            let event = event(&[("event.code", &row.code)]);
            for language in [Language::En, Language::De] {
                if let Some(said) = sentence(&event, language) {
                    assert!(
                        !said.contains('{') && !said.contains("  "),
                        "{}: {said}",
                        row.code
                    );
                }
            }
        }
    }
}
