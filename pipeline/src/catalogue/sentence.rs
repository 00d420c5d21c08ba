//! The sentence of an event: what happened, in words a person reads.
//!
//! A slot that has nothing to say brings nothing, not even its preposition: `{from}` is ` from 192.0.2.1` or empty. Everything
//! that comes from an event is cut and made safe for a terminal: log text is written by attackers.

mod line;

use std::sync::LazyLock;

use super::Catalogue;
use super::template::{Part, Slot};
use super::words::{DE, EN, Words};
use crate::config::Language;
use crate::event::{Event, Field, Value, ValueRef, fields};
use crate::printable::push_printable;

/// Longest value in a sentence; of a longer one the beginning is shown [letters].
const LONGEST: usize = 200;
/// Longest key or value of a change [letters].
const LONGEST_CHANGE: usize = 64;
/// Longest sentence [bytes]; the rest is cut off.
const LONGEST_SENTENCE: usize = 2048;
/// Most changes, keys and addresses named one by one.
const MOST: usize = 3;

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
        let Some(say) = &sentences.say else {
            return false;
        };
        let outcome = event.str(FIELDS.outcome);
        let unknown = outcome == Some("unknown");
        let both = match (&sentences.failed, &sentences.unknown) {
            (Some(failed), _) if outcome == Some("failure") => failed,
            (_, Some(unsure)) if unknown => unsure,
            _ => say,
        };
        let (parts, words) = match language {
            Language::En => (&both.en, &EN),
            Language::De => (&both.de, &DE),
        };
        let start = out.len();
        let mut say = Say { event, words, out };
        say.parts(parts);
        // Only what can fail is in doubt; a row that words its doubt itself has said so.
        if unknown && sentences.failed.is_some() && sentences.unknown.is_none() {
            say.out.push_str(match event.str(FIELDS.phase) {
                Some("start") => words.begun,
                _ => words.outcome_unknown,
            });
        }
        cut(out, start + LONGEST_SENTENCE);
        true
    }
}

/// Cuts a text at the last letter that ends before `most` bytes.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

struct Fields {
    code: Field,
    phase: Field,
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
    code: fields::EVENT_CODE,
    phase: Field::new("pve.task.phase"),
    outcome: fields::EVENT_OUTCOME,
    reason: fields::EVENT_REASON,
    user: fields::USER_ID,
    user_name: fields::USER_NAME,
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
    method: fields::HTTP_METHOD,
    path: fields::URL_PATH,
    command: Field::new("process.command_line"),
    task: Field::new("pve.task.type"),
    count: Field::new("pve.count"),
    process: fields::PROCESS_NAME,
    destination: Field::new("destination.ip"),
    destination_port: Field::new("destination.port"),
    source: fields::SOURCE_IP,
    original: fields::EVENT_ORIGINAL,
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

    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text(text) => self.out.push_str(text),
                Part::Slot(slot) => self.slot(*slot),
                Part::Choice(with, without) => {
                    let known = with.iter().all(|part| match part {
                        Part::Slot(slot) => self.knows(*slot),
                        _ => true,
                    });
                    self.parts(if known { with } else { without });
                }
            }
        }
    }

    /// Whether a slot on which a choice depends has something to say.
    fn knows(&self, slot: Slot) -> bool {
        let f = &*FIELDS;
        match slot {
            Slot::User => self
                .text(f.user)
                .or_else(|| self.text(f.user_name))
                .is_some(),
            Slot::Object => self.text(f.object).is_some(),
            Slot::Target => self
                .text(f.target)
                .or_else(|| self.text(f.object))
                .is_some(),
            Slot::Rest => !self.scoped().1.is_empty(),
            Slot::Grant | Slot::Revoke => {
                let parts = self.text(f.object).unwrap_or_default().matches('|').count();
                parts == 2
            }
            _ => true,
        }
    }

    fn push(&mut self, text: &str) {
        self.push_at_most(text, LONGEST);
    }

    fn push_at_most(&mut self, text: &str, longest: usize) {
        let cut = match text.len() <= longest {
            true => None,
            false => text.char_indices().nth(longest),
        };
        match cut {
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
            Slot::From => self.from(words.from),
            Slot::LateFrom => self.from(words.late_from),
            Slot::Node => self.push(self.text(fields::HOST_NAME).unwrap_or("?")),
            Slot::OnNode => self.after(words.on, self.text(fields::HOST_NAME)),
            Slot::OfNode => self.after(words.of, self.text(fields::HOST_NAME)),
            Slot::Guest => self.guest(),
            Slot::Object => self.object(),
            Slot::OfObject => self.after(words.on, self.text(f.object)),
            Slot::Scope => self.scope(),
            Slot::Rest => self.push(self.scoped().1),
            Slot::What => self.what(),
            Slot::Keys => self.keys(),
            Slot::Changes => self.changes(),
            Slot::Grant => self.grant(words.to),
            Slot::Revoke => self.grant(words.of),
            Slot::Reason => self.after(": ", self.text(f.reason)),
            Slot::Command => self.command(),
            Slot::Request => self.request(),
            Slot::Path => self.push(self.text(f.path).unwrap_or("/")),
            Slot::Count => match self.event.get(f.count) {
                Some(ValueRef::Int(count)) => self.number("", count),
                _ => self.push(words.something),
            },
            Slot::Text => {
                let text = self.text(f.original);
                let text = text.or_else(|| self.text(fields::MESSAGE)).unwrap_or("");
                self.push(line::said(text, self.text(f.process).unwrap_or("")));
            }
            Slot::Process => self.push(self.text(f.process).unwrap_or("?")),
            Slot::Packet => {
                self.after(words.from, self.text(f.source));
                self.after(words.to, self.text(f.destination));
                if let Some(ValueRef::Int(port)) = self.event.get(f.destination_port) {
                    self.number(words.port, port);
                }
            }
        }
    }

    fn number(&mut self, before: &str, number: i64) {
        self.out.push_str(before);
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    fn user(&mut self) {
        let f = &*FIELDS;
        let user = self.text(f.user).or_else(|| self.text(f.user_name));
        self.push(user.unwrap_or(self.words.somebody));
        self.after("!", self.text(f.token));
    }

    fn from(&mut self, before: &str) {
        let (f, words) = (&*FIELDS, self.words);
        if let Some(address) = self.text(f.source) {
            self.after(before, Some(address));
            self.after(words.via, self.text(f.via));
        } else if let Some(ValueRef::List(addresses)) = self.event.get(f.candidates)
            && !addresses.is_empty()
        {
            self.out.push_str(before);
            self.out.push_str(words.one_of);
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
            self.push_at_most(text, LONGEST_CHANGE);
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
        let (f, words) = (&*FIELDS, self.words);
        let (word, a_word) = match self.text(f.kind) {
            Some("vm") => ("VM", words.a_vm),
            Some("ct") => ("CT", words.a_ct),
            _ => (words.guest, words.a_guest),
        };
        match (self.event.get(f.vmid), self.text(f.object)) {
            (Some(ValueRef::Int(vmid)), _) => {
                self.out.push_str(word);
                self.number(" ", vmid);
            }
            (_, Some(id)) => {
                self.out.push_str(word);
                self.after(" ", Some(id));
            }
            _ => self.out.push_str(a_word),
        }
        self.name();
    }

    fn object(&mut self) {
        self.push(self.text(FIELDS.object).unwrap_or("?"));
        self.name();
    }

    /// The scope of a firewall object by its id, and what the id names in it: `vm/210/rules/0` is rule `0` of VM 210,
    /// `cluster/web` an alias of the datacenter. Another id is no scope and all name.
    fn scoped(&self) -> (Option<(&'a str, &'a str)>, &'a str) {
        let id = self.text(FIELDS.object).unwrap_or_default();
        let (kind, after) = id.split_once('/').unwrap_or((id, ""));
        let (scope, rest) = match kind {
            "cluster" => ((kind, ""), after),
            "vm" | "ct" | "node" | "group" | "vnet" => {
                let (name, rest) = after.split_once('/').unwrap_or((after, ""));
                ((kind, name), rest)
            }
            _ => return (None, id),
        };
        let rest = match rest.strip_prefix("rules") {
            Some("") => "",
            Some(place) => place.strip_prefix('/').unwrap_or(rest),
            None => rest,
        };
        (Some(scope), rest)
    }

    fn scope(&mut self) {
        let words = self.words;
        let Some((kind, name)) = self.scoped().0 else {
            return;
        };
        match kind {
            "cluster" => self.out.push_str(words.of_datacenter),
            "node" => self.after(words.of_node, Some(name)),
            "group" => self.after(words.of_group, Some(name)),
            "vnet" => self.after(words.of_vnet, Some(name)),
            guest => {
                self.out.push_str(words.of);
                self.out.push_str(if guest == "vm" { "VM " } else { "CT " });
                self.push(name);
                self.name();
            }
        }
    }

    /// The guest of a backup, and where it went: `guest 104 (db) to nas1`, of an object `nas1/104`.
    fn what(&mut self) {
        let (f, words) = (&*FIELDS, self.words);
        let id = self.text(f.object);
        if let Some(ValueRef::Int(vmid)) = self.event.get(f.vmid) {
            self.out.push_str(words.guest);
            self.number(" ", vmid);
            self.name();
            let storage = id.and_then(|id| id.rsplit_once('/'));
            self.after(words.to, storage.map(|(storage, _)| storage));
        } else {
            self.push(id.unwrap_or(words.several_guests));
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
        let rule = self.text(FIELDS.kind) == Some("firewall_rule");
        for (n, change) in changes.iter().enumerate() {
            if n == MOST {
                self.out.push_str(self.words.and_more);
                break;
            }
            self.out.push_str(if n == 0 { " (" } else { ", " });
            let part = |key: &str| member(change, key);
            let key = part("key").unwrap_or("?");
            // A rule without a source takes every source.
            let absent = match key {
                "source" | "dest" | "sport" | "dport" | "proto" | "iface" if rule => {
                    self.words.anything
                }
                _ => self.words.nothing,
            };
            self.push_at_most(key, LONGEST_CHANGE);
            self.out.push(' ');
            self.push_at_most(part("old").unwrap_or(absent), LONGEST_CHANGE);
            self.out.push_str(" -> ");
            self.push_at_most(part("new").unwrap_or(absent), LONGEST_CHANGE);
        }
        if !changes.is_empty() {
            self.out.push(')');
        }
    }

    /// `path|member|role`, the id of a row of the access control list, in words: `role PVEAdmin on / to ops@pve`, and in
    /// German `ops@pve die Rolle PVEAdmin auf /`.
    fn grant(&mut self, before_member: &str) {
        let id = self.text(FIELDS.object).unwrap_or_default();
        let mut parts = id.splitn(3, '|');
        let path = parts.next().unwrap_or_default();
        let (member, role) = (parts.next().unwrap_or("?"), parts.next().unwrap_or("?"));
        if self.words.member_first {
            self.push(member);
        }
        self.after(self.words.role, Some(role));
        self.after(self.words.on, Some(path));
        if !self.words.member_first {
            self.after(before_member, Some(member));
        }
    }

    fn command(&mut self) {
        let f = &*FIELDS;
        if let Some(command) = self.text(f.command) {
            self.push(command);
        } else if let Some(method) = self.text(f.method) {
            self.push(method);
            self.after(" ", self.text(f.path));
        } else {
            let task = self.text(f.task);
            self.push(task.unwrap_or(self.words.something));
        }
    }

    /// What HA was asked for: `hamigrate` and `…/resources/vm:100/migrate` are `migrate`.
    fn request(&mut self) {
        let f = &*FIELDS;
        let task = self.text(f.task).map(|task| task.trim_start_matches("ha"));
        let path = self.text(f.path).and_then(|path| path.rsplit('/').next());
        self.push(task.or(path).unwrap_or(self.words.something));
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
mod tests;
