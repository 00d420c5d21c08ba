//! Changes that fork no task: who and from where is in the line of the access log, what in the journal or in the
//! difference of a file. One act becomes one event.

use std::sync::Arc;

use pipeline::{Event, EventId, Field, Outputs, StateError, Time, Value, fields};

use super::author::Author;
use super::basis::{Basis, make_evidence};
use super::codec::{Put, Take};
use super::due::Due;
use super::line::{Resolved, change_key};
use super::look;
use super::names::NAMES;
use super::pool::Window;
use super::{Correlate, SECOND};

/// Memory of words that were said, beside their pool: their number, time, id, origin, and the digest of them [bytes].
pub(super) const SAID: usize = 160;

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
        "firewall_rule" => id
            .rsplit_once('/')
            .filter(|(_, place)| !place.is_empty() && place.bytes().all(|c| c.is_ascii_digit()))
            .map_or(id, |(scope, _)| scope),
        _ => id,
    };
    format!("object\n{object}\n{id}")
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
        let id = event.str(NAMES.object_id).unwrap_or_default();
        let code = event.str(fields::EVENT_CODE).unwrap_or_default();
        let mut keys: Vec<Arc<str>> = vec![object_key(code, object, id).into()];
        let loose: Arc<str> = object_key(code, object, "").into();
        if !keys.contains(&loose) {
            keys.push(loose);
        }
        let text = |field: Field| event.str(field).unwrap_or_default();
        let writing = format!("{}\n{}", text(NAMES.file_path), text(NAMES.file_hash));
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
        for key in &change.keys {
            self.pools.remove_act(key, (change.time.0, no));
            self.pools.remove_line(key, (change.time.0, no));
        }
    }

    fn take_change(&mut self, no: u64) -> Option<Event> {
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
        match self.author(no, forced) {
            Author::One(author) => self.join(author, forced, out),
            Author::Nobody => {
                let task = self.task_around(no);
                if let Some(mut event) = self.take_change(no) {
                    if let Some(task) = task {
                        make_evidence(&mut event, &[task]);
                    }
                    self.tell(event, out);
                }
            }
            Author::Several(candidates, evidence) => {
                if let Some(mut event) = self.take_change(no) {
                    Basis::ambiguous(candidates, evidence).write(&mut event);
                    self.tell(event, out);
                }
            }
        }
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
                if let Some(mut event) = self.take_change(no) {
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

    /// The first of two records with the same words: the journal and the cluster log tell the same line.
    pub(super) fn said_before(&mut self, event: &Event) -> Option<EventId> {
        let words = event.str(fields::EVENT_ORIGINAL).unwrap_or_default();
        let words = &words[words.find('<').unwrap_or(0)..];
        let host = event.str(fields::HOST_NAME).unwrap_or_default();
        let pid = event
            .get(fields::PROCESS_PID)
            .and_then(pipeline::ValueRef::as_int);
        // Words may be long; what is remembered of them is not.
        let pid = pid.unwrap_or_default().to_le_bytes();
        let key =
            EventId::of_parts(&[b"said", host.as_bytes(), &pid, words.as_bytes()]).to_string();
        // The cluster log has whole seconds.
        let window = Window {
            before: 2 * SECOND,
            after: 2 * SECOND,
        };
        let pool = self.said.get(&key);
        let first = pool.and_then(|pool| {
            let near = pool.near(event.timestamp().0, window);
            near.first().map(|(_, no)| *no)
        });
        let origin = event
            .str(NAMES.origin)
            .map(Box::<str>::from)
            .unwrap_or_default();
        if let Some(no) = first
            && let Some((id, from)) = self.said_ids.get(&no)
            && *from != origin
        {
            return Some(*id);
        }
        let no = self.next();
        self.said.add_line(&key, (event.timestamp().0, no));
        self.said_ids.insert(no, (event.id(), origin));
        self.said_keys
            .push_back((no, event.timestamp(), key.into()));
        while self.said_keys.len() > super::MOST_SAID {
            self.forget_said();
        }
        None
    }

    /// Forgets the oldest words.
    pub(super) fn forget_said(&mut self) {
        if let Some((no, time, key)) = self.said_keys.pop_front() {
            self.said.remove_line(&key, (time.0, no));
            self.said_ids.remove(&no);
        }
    }
}

/// What is taken from a difference into the event that tells the act.
fn fold(difference: &Event, into: &mut Event) {
    let names = &*NAMES;
    let same = difference.str(names.object_type) == into.str(names.object_type);
    let what = [
        fields::EVENT_CODE,
        fields::EVENT_ACTION,
        names.category,
        names.kind,
        fields::EVENT_SEVERITY,
        names.object_id,
        names.object_path,
        names.target_id,
        names.target_name,
        names.target_domain,
        names.group_name,
        names.vmid,
    ];
    let always = [
        names.changes,
        names.change_keys,
        names.file_path,
        names.file_hash,
        names.firewall_rule,
    ];
    for field in what.into_iter().filter(|_| same).chain(always) {
        if let Some(value) = difference.get(field) {
            let value: Value = value.to_owned();
            into.set(field, value);
        }
    }
    merge(difference, into, names.related_user);
}

/// What a difference takes from the line that tells who did it.
fn lend_author(line: &Event, difference: &mut Event) {
    let names = &*NAMES;
    let ip = line.str(fields::SOURCE_IP).and_then(|ip| ip.parse().ok());
    let basis = match ip {
        Some(ip) => Basis::matched(ip, vec![line.id()], line.str(names.via).map(Into::into)),
        None => Basis::ambiguous(Vec::new(), vec![line.id()]),
    };
    basis.write(difference);
    for field in [
        fields::USER_ID,
        fields::USER_NAME,
        fields::USER_DOMAIN,
        names.token,
        names.actor,
    ] {
        if let Some(value) = line.get(field) {
            let value: Value = value.to_owned();
            difference.set(field, value);
        }
    }
    merge(line, difference, names.related_user);
}

/// Adds what a list holds to the list of another event.
fn merge(from: &Event, to: &mut Event, field: Field) {
    if let Some(pipeline::ValueRef::List(list)) = from.get(field) {
        for text in list.iter().filter_map(|value| value.as_ref().as_str()) {
            super::basis::add_text(to, field, text);
        }
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
