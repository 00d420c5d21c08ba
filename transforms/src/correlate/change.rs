//! Changes that fork no task: who and from where is in the line of the access log, what in the journal or in the
//! difference of a file. One act becomes one event.

use std::sync::Arc;

use pipeline::{Event, EventId, Field, Outputs, StateError, Time, fields};

use super::Correlate;
use super::author::Author;
use super::basis::{Basis, link, make_evidence};
use super::codec::{Put, Take};
use super::due::Due;
use super::facts::Facts;
use super::fold::{fold, lend_author};
use super::line::{Resolved, change_key};
use super::look;
use super::names::NAMES;
use super::wrote::{self, Way};

/// A change told by the journal with its author, or a difference of a file.
pub(super) struct Change {
    pub(super) id: EventId,
    pub(super) time: Time,
    /// By whose clock: the node that told it, and of a difference the one that saw the file, wherever that lies.
    pub(super) host: Box<str>,
    /// Its author; empty for a difference.
    pub(super) user: Box<str>,
    /// Pools it lies in: for a difference as an act, else as one and as a line.
    pub(super) keys: Vec<Arc<str>>,
    pub(super) local: bool,
    /// The observed change of a file: what has the same is of one writing.
    pub(super) writing: Box<str>,
    pub(super) facts: Facts,
    pub(super) event: Option<Event>,
}

impl Change {
    pub(super) fn is_difference(&self) -> bool {
        self.user.is_empty()
    }

    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        size_of::<Change>()
            + self.keys.iter().map(|key| key.len() + 16).sum::<usize>()
            + self.facts.size()
            + self.event.as_ref().map_or(0, Event::size)
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_id(self.id);
        to.put_time(self.time);
        to.put_str(&self.host);
        to.put_str(&self.user);
        to.put_all(&self.keys, |to, key| to.put_str(key));
        to.put_u8(u8::from(self.local));
        to.put_str(&self.writing);
        self.facts.save(to);
        to.put_option(self.event.as_ref(), |to, event| {
            pipeline::state::write_event(event, to);
        });
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Change, StateError> {
        Ok(Change {
            id: from.id()?,
            time: from.time()?,
            host: from.str()?.into(),
            user: from.str()?.into(),
            keys: from.all(|from| Ok(from.str()?.into()))?,
            local: from.u8()? != 0,
            writing: from.str()?.into(),
            facts: Facts::load(from)?,
            event: from.option(Take::event)?,
        })
    }
}

/// The key of an object. Rules of a firewall are named by their place, which other changes move; an ACL is named only in
/// the body of the call.
pub(super) fn object_key(code: &str, object: &str, id: &str) -> String {
    let id = match object {
        "acl" => "",
        "user" if code == look::PASSWORD => "password",
        // It takes away what PVE itself has set after wrong codes, and no other call does.
        "user" if code == look::UNLOCK => return format!("object\nuser\nunlock\n{id}"),
        "firewall_rule" => id
            .rsplit_once('/')
            .filter(|(_, place)| !place.is_empty() && place.bytes().all(|c| c.is_ascii_digit()))
            .map_or(id, |(scope, _)| scope),
        _ => id,
    };
    format!("object\n{object}\n{id}")
}

/// The keys under which a difference finds its call.
fn difference_keys(event: &Event, object: &str) -> Vec<Arc<str>> {
    let id = event.str(NAMES.object_id).unwrap_or_default();
    let code = event.str(fields::EVENT_CODE).unwrap_or_default();
    // What PVE sets after wrong codes is nobody's, and only one call takes it away.
    if object == "user" {
        let rows = wrote::rows(event);
        let locks = |row: &wrote::Row<'_>| matches!(row.key, "totp-locked" | "tfa-locked-until");
        if !rows.is_empty() && rows.iter().all(locks) {
            return vec![object_key(look::UNLOCK, object, id).into()];
        }
    }
    let mut keys: Vec<Arc<str>> = vec![object_key(code, object, id).into()];
    // The call that makes a factor names its user alone.
    let loose = match (object, id.split_once('/')) {
        ("tfa", Some((user, _))) if wrote::way(event) == Way::Creation => user,
        ("tfa", _) => return keys,
        _ => "",
    };
    let loose: Arc<str> = object_key(code, object, loose).into();
    if !keys.contains(&loose) {
        keys.push(loose);
    }
    keys
}

impl Correlate {
    /// Takes a change that the journal or the cluster log tells with its author.
    pub(super) fn change(&mut self, mut event: Event, out: &mut Outputs) {
        let (Some(user), Some(host)) = (look::user(&event), event.str(fields::HOST_NAME)) else {
            return out.emit(event);
        };
        if let Some(first) = self.said_before(&event) {
            make_evidence(&mut event, &[first]);
            out.duplicates(1);
            return self.tell(event, out);
        }
        let host: Box<str> = host.into();
        let code = event.str(fields::EVENT_CODE).unwrap_or_default();
        let vmid = event.get(NAMES.vmid).and_then(pipeline::ValueRef::as_int);
        let vmid = vmid.unwrap_or_default().to_string();
        let object = event.str(NAMES.object_type).unwrap_or_default();
        let id = event.str(NAMES.object_id).unwrap_or_default();
        let keys = vec![
            change_key(&host, &user, code, &vmid).into(),
            object_key(code, object, id).into(),
        ];
        let local = match event.str(fields::PROCESS_NAME) {
            Some("pvedaemon" | "pveproxy") | None => event.str(NAMES.attribution) == Some("local"),
            Some(_) => true,
        };
        event.detach();
        let change = Change {
            id: event.id(),
            time: event.timestamp(),
            host,
            user: user.into(),
            keys,
            local,
            writing: Box::default(),
            facts: Facts {
                named: wrote::named(&event),
                ..Facts::default()
            },
            event: Some(event),
        };
        let no = self.next();
        self.enter_change(no, change);
        self.push_due(out.now(), 15, Due::Change(no));
        self.bound(out);
    }

    /// Takes a difference of a configuration.
    pub(super) fn difference(&mut self, mut event: Event, out: &mut Outputs) {
        let Some(object) = event.str(NAMES.object_type) else {
            return out.emit(event);
        };
        if self.change_ids.contains(&event.id()) {
            return self.copy_left_out(out);
        }
        let keys = difference_keys(&event, object);
        let text = |field: Field| event.str(field).unwrap_or_default();
        let facts = Facts::of(&event);
        let writing = match facts.polled {
            // What one look at the API found.
            true => format!("api\n{}", event.timestamp().0),
            false => format!("{}\n{}", text(NAMES.file_path), text(NAMES.file_hash)),
        };
        let clock = match event.str(NAMES.observer) {
            Some(observer) => crate::event_id::short(observer),
            None => text(fields::HOST_NAME),
        };
        let change = Change {
            id: event.id(),
            time: event.timestamp(),
            host: clock.into(),
            user: Box::default(),
            keys,
            local: false,
            writing: writing.into(),
            facts,
            event: None,
        };
        event.detach();
        let no = self.next();
        let change = Change {
            event: Some(event),
            ..change
        };
        self.enter_change(no, change);
        self.push_due(out.now(), 15, Due::Change(no));
        self.bound(out);
    }

    pub(super) fn enter_change(&mut self, no: u64, change: Change) {
        let at = (change.time.0, no);
        if change.is_difference() {
            for key in &change.keys {
                self.pools.add_act(key, at);
            }
            for mark in change.facts.marks.iter().filter(|_| !change.facts.polled) {
                self.marks.entry(*mark).or_default().push(no);
            }
        } else {
            self.pools.add_act(&change.keys[0], at);
            self.pools.add_line(&change.keys[1], at);
        }
        self.change_ids.insert(change.id);
        self.size += change.size();
        self.changes.insert(no, change);
    }

    pub(super) fn forget_change(&mut self, no: u64) {
        let Some(change) = self.changes.remove(&no) else {
            return;
        };
        self.size -= change.size();
        self.change_ids.remove(&change.id);
        for mark in &change.facts.marks {
            if let Some(held) = self.marks.get_mut(mark) {
                held.retain(|held| *held != no);
                if held.is_empty() {
                    self.marks.remove(mark);
                }
            }
        }
        for key in &change.keys {
            self.pools.remove_act(key, (change.time.0, no));
            self.pools.remove_line(key, (change.time.0, no));
        }
    }

    pub(super) fn take_change(&mut self, no: u64) -> Option<Event> {
        let change = self.changes.get_mut(&no)?;
        let event = change.event.take()?;
        self.size -= event.size();
        Some(event)
    }

    /// The time of a change or a difference is up.
    pub(super) fn change_due(&mut self, no: u64, forced: bool, out: &mut Outputs) {
        let Some(change) = self
            .changes
            .get(&no)
            .filter(|change| change.event.is_some())
        else {
            return;
        };
        if !change.is_difference() {
            return self.join(no, forced, out);
        }
        if self.is_told(no, forced, out) {
            return;
        }
        let author = self.author(no, forced);
        if let Author::One(author) = author {
            return self.join(author, forced, out);
        }
        let part = self.part_of(no);
        let Some(mut event) = self.take_change(no) else {
            return;
        };
        match author {
            Author::Several(candidates, evidence) => {
                Basis::ambiguous(candidates, evidence).write(&mut event);
                link(&mut event, part.ids());
            }
            _ => part.write(&mut event),
        }
        self.tell(event, out);
    }

    /// Nothing is held beyond its time: what no author told goes on without one.
    pub(super) fn change_end(&mut self, no: u64, out: &mut Outputs) {
        if let Some(event) = self.take_change(no) {
            self.tell(event, out);
        }
    }

    /// The time of a call without a task is up.
    pub(super) fn write_due(&mut self, no: u64, forced: bool, out: &mut Outputs) {
        match self.said_by(no) {
            Some(change) => self.join(change, forced, out),
            None => self.join(no, forced, out),
        }
    }

    /// Tells an act whose author is a line or a change of the journal, with all its differences.
    fn join(&mut self, author: u64, forced: bool, out: &mut Outputs) {
        let (call, sure) = match self.lines.contains_key(&author) {
            true => (Some(author), true),
            false => match self.call_of(author) {
                Some((call, sure)) => (Some(call.1), sure && !forced),
                None => (None, false),
            },
        };
        if let Some(call) = call {
            self.compare(call);
        }
        let is_line = call == Some(author);
        let differences = self.differences_of(author, forced);
        // A change that is part of a task is told by the task.
        if !is_line && let Some(task) = self.task_of(author) {
            for no in differences.into_iter().chain([author]) {
                self.joined(no, task);
                if let Some(mut event) = self.take_change(no) {
                    make_evidence(&mut event, &[task]);
                    self.tell(event, out);
                }
            }
            return;
        }
        let event = if is_line {
            self.take_event(author)
        } else {
            self.take_change(author)
        };
        let Some(mut event) = event else {
            // Told already: what comes later is its evidence.
            let id = match (self.lines.get(&author), self.changes.get(&author)) {
                (Some(line), _) => Some(line.id),
                (_, Some(change)) => Some(change.id),
                _ => None,
            };
            for no in differences {
                if let Some(id) = id {
                    self.joined(no, id);
                }
                let polled = self.changes.get(&no).is_some_and(|c| c.facts.polled);
                if let Some(mut event) = self.take_change(no) {
                    if polled {
                        self.lend_line(author, &mut event);
                    }
                    make_evidence(&mut event, id.as_slice());
                    self.tell(event, out);
                }
            }
            return;
        };
        if is_line {
            let arrivals = self.arrivals(author);
            self.resolve_into(author, &mut event);
            if !arrivals.is_empty() {
                make_evidence(&mut event, &arrivals);
                return self.tell(event, out);
            }
            event.set_str(NAMES.record, "primary");
        } else if let Some(call) = call {
            self.write_call(call, sure, &mut event);
        }
        match differences.as_slice() {
            [] => {}
            [one] => {
                self.joined(*one, event.id());
                if let Some(mut difference) = self.take_change(*one) {
                    fold(&difference, &mut event);
                    make_evidence(&mut difference, &[event.id()]);
                    self.tell(difference, out);
                }
            }
            several => {
                // Each is an act upon an object of its own.
                let mut ids = Vec::new();
                for no in several {
                    if let Some(mut difference) = self.take_change(*no) {
                        lend_author(&event, &mut difference);
                        self.joined(*no, difference.id());
                        ids.push(difference.id());
                        self.tell(difference, out);
                    }
                }
                make_evidence(&mut event, &ids);
            }
        }
        let id = event.id();
        self.tell(event, out);
        if let Some(call) = call.filter(|_| !is_line) {
            self.claim(call, id, out);
        }
    }

    /// Writes into a change of the journal where its call came from.
    fn write_call(&mut self, call: u64, sure: bool, event: &mut Event) {
        let Some(id) = self.lines.get(&call).map(|line| line.id) else {
            return;
        };
        let basis = match self.resolve(call) {
            Resolved::One { ip, via, twins } if sure => {
                let mut evidence = vec![id];
                evidence.extend(twins);
                Basis::matched(ip, evidence, via)
            }
            resolved => Basis::ambiguous(resolved.addresses().to_vec(), vec![id]),
        };
        basis.write(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_looked_for_where_it_may_have_moved() {
        assert_eq!(
            object_key("", "firewall_rule", "vm/210/rules/0"),
            object_key("", "firewall_rule", "vm/210/rules")
        );
        assert_eq!(object_key("", "acl", "/|a|b"), object_key("", "acl", ""));
        assert_ne!(object_key("", "user", "a@pve"), object_key("", "user", ""));
    }
}
