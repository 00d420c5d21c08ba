//! Whose a change is: the call behind what the journal says, the author of a difference, the task that one is part of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::pve::Upid;
use pipeline::{EventId, ValueRef, fields};

use super::line::Resolved;
use super::look;
use super::names::NAMES;
use super::pool::{At, Pool, Window};
use super::relay::WIDE;
use super::sessions::CLOCKS;
use super::{Correlate, SECOND};

/// The call of a difference comes at most so much earlier, and later only by its answer: what a call wrote was there before.
const ACT: Window = Window {
    before: 15 * SECOND,
    after: 6 * SECOND,
};
/// The journal's line comes before the answer, whose line has whole seconds.
const SAID: Window = Window {
    before: SECOND,
    after: 5 * SECOND,
};

/// The tag that `pve_config` gives to what changed while it did not look.
const WHILE_STOPPED: &str = "changed_while_stopped";

/// Who did it, as far as the lines around it say.
pub(super) enum Author {
    Nobody,
    /// The line or change of the journal.
    One(u64),
    Several(Vec<IpAddr>, Vec<EventId>),
}

/// Whether this key of an object is that of all objects of its type. An entry of the ACL is never named by its call, and one
/// call may write many.
fn is_loose(key: &str) -> bool {
    key.ends_with('\n') && key != "object\nacl\n"
}

impl Correlate {
    /// The change of the journal that a call belongs to.
    pub(super) fn said_by(&self, line: u64) -> Option<u64> {
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
    pub(super) fn call_of(&self, change: u64) -> Option<(At, bool)> {
        let found = self.changes.get(&change).filter(|change| !change.local)?;
        let pool = self.pools.get(found.keys.first()?)?;
        let plan = pool.plan(found.time.0, SAID);
        let place = plan.place((found.time.0, change))?;
        let given = plan.given(place)?;
        let mut addresses = BTreeSet::new();
        let fits = &plan.lines[plan.reach(place)];
        if fits.len() > 64 {
            return Some((given, false));
        }
        for line in fits {
            match self.resolve(line.1) {
                Resolved::One { ip, .. } => addresses.insert(ip),
                Resolved::Open { .. } => return Some((given, false)),
            };
        }
        Some((given, addresses.len() == 1 && plan.is_sure(place)))
    }

    /// Who wrote a difference.
    pub(super) fn author(&self, no: u64, forced: bool) -> Author {
        let Some(change) = self.changes.get(&no) else {
            return Author::Nobody;
        };
        let at = change.time.0;
        // The lines and changes about this object, one for each act; and the writings around it.
        let mut lines: BTreeSet<At> = BTreeSet::new();
        let mut acts: BTreeSet<At> = BTreeSet::new();
        let mut writings: BTreeSet<(&str, u64)> = BTreeSet::new();
        let mut many = self.is_vague(change);
        for key in &change.keys {
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let (near, around) = (pool.near(at, WIDE), pool.takers(at, WIDE));
            many |= near.len() > 256 || around.len() > 256;
            // A call that does not name its object made one of them; of two in one writing nobody can tell which.
            many |= is_loose(key) && !near.is_empty() && self.of_one_writing(change, around) > 1;
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
            match self.hosts.ahead(host, &change.host, change.time) {
                Some(skew) if ACT.holds(line.0 - skew - at) => {
                    near.push((line.0 - skew, line.1));
                }
                Some(_) => {}
                // When that was by the clock of who saw the difference nobody knows: it may be its author, and is not told so.
                None => wide.push(*line),
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
            lines: near.into(),
        };
        let plan = pool.plan(at, ACT);
        let place = plan.place((at, no));
        let sure = place.is_some_and(|place| plan.is_sure(place));
        let given = place.and_then(|place| plan.given(place));
        match given {
            Some(line) if sure && who.len() == 1 && !forced && !many => {
                let one = who.first().copied();
                match one.and_then(|(user, ip)| self.other_writer(no, user, ip)) {
                    Some((ip, task)) => {
                        candidates.extend(ip);
                        evidence.push(task);
                        Author::Several(candidates, evidence)
                    }
                    None => Author::One(line.1),
                }
            }
            _ if plan.lines.is_empty() && wide.is_empty() => Author::Nobody,
            _ => Author::Several(candidates, evidence),
        }
    }

    /// Whether it is not known when it was written: while nobody looked, or at some time before the API was asked again. Any
    /// call before may be its author.
    fn is_vague(&self, change: &super::change::Change) -> bool {
        change.event.as_ref().is_some_and(|event| {
            let stopped = match event.get(fields::TAGS) {
                Some(ValueRef::List(tags)) => tags
                    .iter()
                    .any(|tag| tag.as_ref().as_str() == Some(WHILE_STOPPED)),
                Some(ValueRef::Str(tag)) => tag == WHILE_STOPPED,
                _ => false,
            };
            stopped || change.is_difference() && event.str(NAMES.origin) == Some("api")
        })
    }

    /// How many differences among these are of the same writing as `change`; two are as many as more.
    fn of_one_writing(&self, change: &super::change::Change, around: &[At]) -> usize {
        let same = |act: &&At| {
            self.changes
                .get(&act.1)
                .is_some_and(|other| other.is_difference() && other.writing == change.writing)
        };
        match change.writing.len() {
            0..3 => 1,
            _ => around.iter().filter(same).take(2).count(),
        }
    }

    /// Differences that have this author.
    pub(super) fn differences_of(&self, author: u64, forced: bool) -> Vec<u64> {
        let (keys, at) = match (self.lines.get(&author), self.changes.get(&author)) {
            (Some(line), _) => (&line.keys[..], line.time.0),
            (_, Some(change)) => (&change.keys[..], change.time.0),
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
    pub(super) fn task_of(&self, change: u64) -> Option<EventId> {
        let change = self.changes.get(&change)?;
        let vmid = change.keys.first()?.rsplit('\n').next()?;
        let near = |upid: &Upid<'_>, _: Option<i64>| {
            upid.node == &*change.host
                && *change.user == *upid.user
                && (upid.start.0 - change.time.0).abs() <= 5 * SECOND
        };
        let found = self.tasks_with(vmid, false, near);
        found.into_iter().find_map(|task| self.record(task))
    }

    /// A task of another user, or of the same one at another address, that may as well have written a difference.
    fn other_writer(
        &self,
        difference: u64,
        user: &str,
        ip: Option<IpAddr>,
    ) -> Option<(Option<IpAddr>, EventId)> {
        // Where clocks were not compared, it may have been any that ran within what they are taken to differ at most.
        let found = self.tasks_around(difference, CLOCKS);
        found.into_iter().find_map(|no| {
            let task = self.tasks.get(&no)?;
            let upid = Upid::parse(&task.upid).ok()?;
            let from = task.basis.as_ref().and_then(|basis| basis.ip);
            let elsewhere = from.zip(ip).is_some_and(|(from, ip)| from != ip);
            if upid.user == user && !elsewhere {
                return None;
            }
            Some((from, self.record(no)?))
        })
    }

    /// The task that a difference is part of.
    pub(super) fn task_around(&self, difference: u64) -> Option<EventId> {
        let found = self.tasks_around(difference, 60 * SECOND);
        found.into_iter().find_map(|task| self.record(task))
    }

    /// Tasks that may have written a difference, the newest first; `open` is how much the clock of another node may differ
    /// with which that of the difference was not compared [ns].
    fn tasks_around(&self, difference: u64, open: i64) -> Vec<u64> {
        let Some((difference, event)) = self
            .changes
            .get(&difference)
            .and_then(|difference| Some((difference, difference.event.as_ref()?)))
        else {
            return Vec::new();
        };
        let vmid = event.get(NAMES.vmid).and_then(pipeline::ValueRef::as_int);
        let Some(vmid) = vmid else {
            return Vec::new();
        };
        let at = difference.time.0;
        // A file that comes or goes, and a lock, belong to whatever runs; other keys may be edited by hand meanwhile.
        let code = event.str(fields::EVENT_CODE).unwrap_or_default();
        let comes_or_goes = matches!(code, "PVE-2001" | "PVE-2002" | "PVE-2101" | "PVE-2102");
        let whole = comes_or_goes
            || matches!(event.get(NAMES.change_keys), Some(pipeline::ValueRef::List([key])) if key.as_ref().as_str() == Some("lock"));
        self.tasks_with(&vmid.to_string(), whole, |upid, ended| {
            // Start and end are by the clock of its node, which may be another one.
            let ahead = self
                .hosts
                .ahead(upid.node, &difference.host, difference.time);
            let (at, clocks) = (
                at + ahead.unwrap_or(0),
                if ahead.is_some() { 0 } else { open },
            );
            let near = |other: i64| (at - other).abs() <= 15 * SECOND + clocks;
            let during = at >= upid.start.0 - clocks && ended.is_none_or(|end| at <= end + clocks);
            near(upid.start.0) || ended.is_some_and(near) || (whole && during)
        })
    }

    fn tasks_with(
        &self,
        vmid: &str,
        any: bool,
        fits: impl Fn(&Upid<'_>, Option<i64>) -> bool,
    ) -> Vec<u64> {
        let tasks = self
            .guests
            .get(vmid)
            .map(|tasks| tasks.as_slice())
            .unwrap_or_default();
        let newest = tasks.iter().rev().take(4096).copied();
        newest
            .filter(|no| {
                self.tasks.get(no).is_some_and(|task| {
                    Upid::parse(&task.upid).is_ok_and(|upid| {
                        (any || look::task_writes(upid.kind))
                            && !look::is_console(upid.kind)
                            && fits(&upid, task.end_at)
                    })
                })
            })
            .collect()
    }
}
