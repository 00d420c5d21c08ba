//! Changes that fork no task: who and from where is in the line of the access log, what in the journal or in the
//! difference of a file. One act becomes one event.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::pve::Upid;
use pipeline::{Event, EventId, Field, Outputs, StateError, Time, Value, fields};

use super::basis::{Basis, make_evidence};
use super::codec::{Put, Take};
use super::line::{Resolved, change_key};
use super::look;
use super::names::NAMES;
use super::pool::{At, Pool, Window};
use super::relay::WIDE;
use super::{Correlate, Due, SECOND};

/// A difference is of the same act as a call at most so much earlier or later.
const ACT: Window = Window {
    before: 15 * SECOND,
    after: 15 * SECOND,
};
/// The journal's line comes before the answer, whose line has whole seconds.
const SAID: Window = Window {
    before: SECOND,
    after: 5 * SECOND,
};

/// A change told by the journal with its author, or a difference of a file.
pub(super) struct Change {
    pub(super) id: EventId,
    pub(super) time: Time,
    pub(super) host: Box<str>,
    /// Its author; empty for a difference.
    pub(super) user: Box<str>,
    /// Pools it lies in: for a difference as an act, else as one and as a line.
    pub(super) keys: Vec<Box<str>>,
    pub(super) local: bool,
    /// The observed change of a file: what has the same is of one writing.
    pub(super) writing: Box<str>,
    pub(super) event: Option<Event>,
}

impl Change {
    fn is_difference(&self) -> bool {
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

/// Who did it, as far as the lines around it say.
enum Author {
    Nobody,
    /// The line or change of the journal.
    One(u64),
    Several(Vec<IpAddr>, Vec<EventId>),
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
        let mut keys: Vec<Box<str>> = vec![object_key(code, object, id).into()];
        let loose: Box<str> = object_key(code, object, "").into();
        if !keys.contains(&loose) {
            keys.push(loose);
        }
        let text = |field: Field| event.str(field).unwrap_or_default();
        let writing = format!("{}\n{}", text(NAMES.file_path), text(NAMES.file_hash));
        let change = Change {
            id: event.id(),
            time: event.timestamp(),
            host: text(fields::HOST_NAME).into(),
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

    /// The change of the journal that a call belongs to.
    fn said_by(&self, line: u64) -> Option<u64> {
        let found = self.lines.get(&line)?;
        let key = found.keys.iter().find(|key| key.starts_with("change\n"))?;
        let pool = self.pools.get(key)?;
        let takers = pool.takers(found.time.0, SAID);
        takers
            .iter()
            .find(|act| {
                self.changes.get(&act.1).is_some_and(|change| !change.local)
                    && self.call_of(act.1).is_some_and(|(call, _)| call.1 == line)
            })
            .map(|act| act.1)
    }

    /// The call behind a change of the journal, and whether it is sure.
    fn call_of(&self, change: u64) -> Option<(At, bool)> {
        let found = self.changes.get(&change).filter(|change| !change.local)?;
        let pool = self.pools.get(found.keys.first()?)?;
        let plan = pool.plan(found.time.0, SAID);
        let place = plan.place((found.time.0, change))?;
        let given = plan.given(place)?;
        let mut addresses = BTreeSet::new();
        for line in plan.lines[plan.reach(place)].iter().take(64) {
            match self.resolve(line.1) {
                Resolved::One { ip, .. } => addresses.insert(ip),
                Resolved::Open { .. } => return Some((given, false)),
            };
        }
        Some((given, addresses.len() == 1 && plan.is_sure(place)))
    }

    /// Who wrote a difference.
    fn author(&self, no: u64, forced: bool) -> Author {
        let Some(change) = self.changes.get(&no) else {
            return Author::Nobody;
        };
        let at = change.time.0;
        // The lines and changes about this object, one for each act; and the writings around it.
        let mut lines: BTreeSet<At> = BTreeSet::new();
        let mut acts: BTreeSet<At> = BTreeSet::new();
        let mut writings: BTreeSet<(&str, u64)> = BTreeSet::new();
        let mut many = false;
        for key in &change.keys {
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let (near, around) = (pool.near(at, WIDE), pool.takers(at, WIDE));
            many |= near.len() > 256 || around.len() > 256;
            lines.extend(near.iter().take(256));
            for act in around.iter().take(256) {
                let Some(other) = self.changes.get(&act.1).filter(|c| c.is_difference()) else {
                    continue;
                };
                let one = if other.writing.len() < 3 { act.1 } else { 0 };
                if writings.insert((&other.writing, one)) || act.1 == no {
                    acts.insert(*act);
                }
            }
        }
        // Of one writing only this difference counts.
        acts.retain(|act| {
            act.1 == no
                || self
                    .changes
                    .get(&act.1)
                    .is_none_or(|other| other.writing != change.writing || change.writing.len() < 3)
        });
        let paired: BTreeSet<u64> = lines
            .iter()
            .filter(|line| self.changes.contains_key(&line.1))
            .filter_map(|line| self.call_of(line.1))
            .map(|(call, _)| call.1)
            .collect();
        lines.retain(|line| !paired.contains(&line.1));
        let host_of = |no: &u64| match (self.lines.get(no), self.changes.get(no)) {
            (Some(line), _) => Some(&*line.host),
            (_, Some(change)) => Some(&*change.host),
            _ => None,
        };
        let mut near: Vec<At> = Vec::new();
        let mut wide: Vec<At> = Vec::new();
        for line in &lines {
            let Some(host) = host_of(&line.1) else {
                continue;
            };
            let skew = match host == &*change.host {
                true => Some(0),
                false => self.hosts.skew(host, &change.host, change.time),
            };
            match skew {
                Some(skew) if (line.0 - skew - at).abs() <= ACT.before => {
                    near.push((line.0 - skew, line.1));
                }
                Some(_) => {}
                None => {
                    wide.push(*line);
                    if (line.0 - at).abs() <= ACT.before {
                        near.push(*line);
                    }
                }
            }
        }
        near.sort_unstable();
        if near.is_empty() && wide.is_empty() {
            return Author::Nobody;
        }
        let mut who: BTreeSet<(&str, Option<IpAddr>)> = BTreeSet::new();
        let mut candidates = Vec::new();
        let mut evidence = Vec::new();
        for (_, line) in near.iter().chain(&wide) {
            let (user, ip, id, addresses) = match (self.lines.get(line), self.changes.get(line)) {
                (Some(found), _) => {
                    let resolved = self.resolve(*line);
                    let one = match &resolved {
                        Resolved::One { ip, .. } => Some(*ip),
                        Resolved::Open { .. } => None,
                    };
                    (&*found.user, one, found.id, resolved.addresses().to_vec())
                }
                (_, Some(found)) => {
                    let call = self.call_of(*line).filter(|(_, sure)| *sure);
                    let ip = call.and_then(|(call, _)| match self.resolve(call.1) {
                        Resolved::One { ip, .. } => Some(ip),
                        Resolved::Open { .. } => None,
                    });
                    (&*found.user, ip, found.id, ip.into_iter().collect())
                }
                _ => continue,
            };
            who.insert((user, ip));
            candidates.extend(addresses);
            evidence.push(id);
        }
        evidence.sort_unstable();
        evidence.dedup();
        let pool = Pool {
            acts: acts.into_iter().collect(),
            lines: near,
        };
        let plan = pool.plan(at, ACT);
        let place = plan.place((at, no));
        let sure = place.is_some_and(|place| plan.is_sure(place));
        let given = place.and_then(|place| plan.given(place));
        match given {
            Some(line) if sure && who.len() == 1 && !forced && !many => Author::One(line.1),
            _ if plan.lines.is_empty() && wide.is_empty() => Author::Nobody,
            _ => Author::Several(candidates, evidence),
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

    /// Differences that have this author.
    fn differences_of(&self, author: u64, forced: bool) -> Vec<u64> {
        let (keys, at) = match (self.lines.get(&author), self.changes.get(&author)) {
            (Some(line), _) => (&line.keys, line.time.0),
            (_, Some(change)) => (&change.keys, change.time.0),
            _ => return Vec::new(),
        };
        let mut found = BTreeSet::new();
        for key in keys.iter().filter(|key| key.starts_with("object\n")) {
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            for act in pool.takers(at, WIDE).iter().take(64) {
                let held = self.changes.get(&act.1);
                if held.is_some_and(|held| held.is_difference() && held.event.is_some())
                    && matches!(self.author(act.1, forced), Author::One(one) if one == author)
                {
                    found.insert(*act);
                }
            }
        }
        found.into_iter().map(|(_, no)| no).collect()
    }

    /// The task that a change of the journal is part of.
    fn task_of(&self, change: u64) -> Option<EventId> {
        let change = self.changes.get(&change)?;
        let vmid = change.keys.first()?.rsplit('\n').next()?;
        let near = |upid: &Upid<'_>, _: Option<i64>| {
            upid.node == &*change.host
                && *change.user == *upid.user
                && (upid.start.0 - change.time.0).abs() <= 5 * SECOND
        };
        self.task_with(vmid, false, near)
    }

    /// The task that a difference is part of.
    fn task_around(&self, difference: u64) -> Option<EventId> {
        let difference = self.changes.get(&difference)?;
        let event = difference.event.as_ref()?;
        let vmid = event.get(NAMES.vmid).and_then(pipeline::ValueRef::as_int)?;
        let at = difference.time.0;
        // A file that comes or goes, and a lock, belong to whatever runs; other keys may be edited by hand meanwhile.
        let code = event.str(fields::EVENT_CODE).unwrap_or_default();
        let comes_or_goes = matches!(code, "PVE-2001" | "PVE-2002" | "PVE-2101" | "PVE-2102");
        let whole = comes_or_goes
            || matches!(event.get(NAMES.change_keys), Some(pipeline::ValueRef::List([key])) if key.as_ref().as_str() == Some("lock"));
        self.task_with(&vmid.to_string(), whole, |upid, ended| {
            // The start is by the clock of its node, which may be another one.
            let clocks = if upid.node == &*difference.host {
                0
            } else {
                60 * SECOND
            };
            let near = |other: i64| (at - other).abs() <= 15 * SECOND + clocks;
            let during = at >= upid.start.0 - clocks && ended.is_none_or(|end| at <= end + clocks);
            near(upid.start.0) || ended.is_some_and(near) || (whole && during)
        })
    }

    fn task_with(
        &self,
        vmid: &str,
        any: bool,
        fits: impl Fn(&Upid<'_>, Option<i64>) -> bool,
    ) -> Option<EventId> {
        let tasks = self.guests.get(vmid)?;
        tasks.iter().rev().take(64).find_map(|no| {
            let task = self.tasks.get(no)?;
            let upid = Upid::parse(&task.upid).ok()?;
            let writes = (any || upid.kind != "vzdump") && !look::is_console(upid.kind);
            (writes && fits(&upid, task.end_at))
                .then(|| self.record(*no))
                .flatten()
        })
    }

    /// The first of two records with the same words: the journal and the cluster log tell the same line.
    pub(super) fn said_before(&mut self, event: &Event) -> Option<EventId> {
        let words = event.str(fields::EVENT_ORIGINAL).unwrap_or_default();
        let words = &words[words.find('<').unwrap_or(0)..];
        let host = event.str(fields::HOST_NAME).unwrap_or_default();
        let pid = event
            .get(fields::PROCESS_PID)
            .and_then(pipeline::ValueRef::as_int);
        let key = format!("said\n{host}\n{}\n{words}", pid.unwrap_or_default());
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
            if let Some((no, time, key)) = self.said_keys.pop_front() {
                self.said.remove_line(&key, (time.0, no));
                self.said_ids.remove(&no);
            }
        }
        None
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
