//! Whose a change is: the call behind what the journal says, and the author of a difference.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::EventId;

use super::change::Change;
use super::line::Resolved;
use super::pool::{At, Pool, Window};
use super::relay::WIDE;
use super::wrote::{self, Way};
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

/// What a call wrote is seen within two seconds, and its line has whole ones: one that was there earlier than this may have
/// written it, but what it wrote would have been seen before.
const SEEN: i64 = 3 * SECOND + SECOND / 2;
/// A file that is gone is missed up to this much later.
const MISSED: i64 = 12 * SECOND;

/// Who did it, as far as the lines around it say.
pub(super) enum Author {
    Nobody,
    /// The line or change of the journal.
    One(u64),
    Several(Vec<IpAddr>, Vec<EventId>),
}

/// Whether this key of an object is that of all objects of its type, as where the call does not name the one it makes.
fn is_loose(key: &str) -> bool {
    key.ends_with('\n')
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
        if let Some(since) = change.facts.since {
            return self.author_of_polled(no, since, forced);
        }
        let at = change.time.0;
        // The lines and changes about this object, one for each act; and the writings around it.
        let mut lines: BTreeSet<At> = BTreeSet::new();
        let mut acts: BTreeSet<At> = BTreeSet::new();
        let mut writings: BTreeSet<(&str, u64)> = BTreeSet::new();
        // When it was written is not known, or what else wrote it is.
        let mut many = change.facts.vague || change.facts.polled || !self.leaders(no).is_empty();
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
                // A later look at the API tells it once more, and what follows from another change has no call.
                if act.1 != no && (other.facts.polled || !self.leaders(act.1).is_empty()) {
                    continue;
                }
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
        lines.retain(|line| !paired.contains(&line.1) && !self.is_out_of_reach(line.1, change));
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
            Some(line)
                if sure
                    && who.len() == 1
                    && !forced
                    && !many
                    && !self.came_too_soon(line.0 - at, change)
                    && self.names_all(line.1, change) =>
            {
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

    /// Whether a call came so long before a difference that what it wrote would have been seen earlier.
    fn came_too_soon(&self, later: i64, change: &Change) -> bool {
        let seen = match change.facts.way {
            Way::Deletion => MISSED,
            _ => SEEN,
        };
        later < -seen
    }

    /// The keys that a line, or a change of the journal, says it writes.
    fn named(&self, author: u64) -> &[Box<str>] {
        match (self.lines.get(&author), self.changes.get(&author)) {
            (Some(line), _) => line.named(),
            (_, Some(change)) => &change.facts.named,
            _ => &[],
        }
    }

    /// Whether an author by its own words can have written all of a difference.
    pub(super) fn names_all(&self, author: u64, change: &Change) -> bool {
        let event = change.event.as_ref();
        event.is_some_and(|event| wrote::by_words(self.named(author), event))
    }

    /// Whether no call like this writes any of the keys of a difference.
    fn is_out_of_reach(&self, author: u64, change: &Change) -> bool {
        let event = change.event.as_ref();
        event.is_some_and(|event| wrote::is_out_of_reach(self.named(author), event))
    }

    /// How many differences among these are of the same writing as `change`; two are as many as more.
    fn of_one_writing(&self, change: &Change, around: &[At]) -> usize {
        let same = |act: &&At| {
            self.changes.get(&act.1).is_some_and(|other| {
                other.is_difference()
                    && other.writing == change.writing
                    && self.leaders(act.1).is_empty()
            })
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
}
