//! What a difference is part of: a task that writes such keys, another change that brings it along, or one that is told
//! already. Where it is not sure, the difference stays an act of its own and names what was beside it.

use std::net::IpAddr;

use pipeline::pve::Upid;
use pipeline::{Event, EventId, Outputs};

use super::basis::{link, make_evidence};
use super::follows;
use super::look;
use super::names::NAMES;
use super::pool::Window;
use super::sessions::CLOCKS;
use super::wrote::{self, Share, Way};
use super::{Correlate, SECOND};

/// So much before its start and after its end a task may write.
const AROUND: i64 = 15 * SECOND;
/// Clocks that were not compared are taken to be so close, unless it is for a claim.
const CLOSE: i64 = 60 * SECOND;
/// What the API tells of a change that a file told lies so much around the two times that it was asked.
const SLACK: i64 = 5 * SECOND;
/// Most tasks named beside a difference.
const MOST: usize = 16;

/// What a difference has to do with other records.
pub(super) enum Part {
    /// It is part of these.
    Of(Vec<EventId>),
    /// These were at work beside it.
    Beside(Vec<EventId>),
}

impl Part {
    pub(super) fn ids(&self) -> &[EventId] {
        match self {
            Part::Of(ids) | Part::Beside(ids) => ids,
        }
    }

    pub(super) fn write(&self, event: &mut Event) {
        match self {
            Part::Of(ids) => make_evidence(event, ids),
            Part::Beside(ids) => link(event, ids),
        }
    }
}

/// A task near a difference.
struct Near {
    no: u64,
    share: Share,
    /// Whether the times are near each other by clocks that can be compared.
    close: bool,
    /// Whether its type may write any key.
    any: bool,
    /// Whether it began or ended just then; one that runs for hours, or whose end nobody saw, has not written all the time.
    edge: bool,
    /// Whether its type writes the configuration.
    writes: bool,
}

impl Correlate {
    /// A difference is told by this event.
    pub(super) fn joined(&mut self, no: u64, by: EventId) {
        if let Some(change) = self.changes.get_mut(&no) {
            change.facts.joined = Some(by);
        }
    }

    /// Tells a difference that only says again, or only brings along, what another one has said; `false` where it is an act
    /// of its own.
    pub(super) fn is_told(&mut self, no: u64, forced: bool, out: &mut Outputs) -> bool {
        let mut of = self.copied(no);
        if of.is_empty() {
            for leader in self.leaders(no) {
                // It waits as long as what it brings along.
                self.change_due(leader, forced, out);
                of.extend(self.changes.get(&leader).and_then(|one| one.facts.joined));
            }
        }
        if of.is_empty() {
            return false;
        }
        of.sort_unstable();
        of.dedup();
        self.joined(no, of[0]);
        if let Some(mut event) = self.take_change(no) {
            make_evidence(&mut event, &of);
            self.tell(event, out);
        }
        true
    }

    /// Differences of the same writing that bring this one along.
    pub(super) fn leaders(&self, no: u64) -> Vec<u64> {
        let Some(change) = self.changes.get(&no) else {
            return Vec::new();
        };
        let window = Window {
            before: SECOND,
            after: SECOND,
        };
        let mut found = Vec::new();
        for (key, way) in &change.facts.causes {
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let acts = pool.takers(change.time.0, window).iter().take(64);
            found.extend(acts.map(|act| act.1).filter(|other| {
                *other != no
                    && self.changes.get(other).is_some_and(|other| {
                        other.facts.way == *way
                            && other.writing.len() > 2
                            && other.writing == change.writing
                            && other.keys.first().is_some_and(|held| **held == **key)
                    })
            }));
        }
        found
    }

    /// What told the change that the API tells once more; nothing if some of it was told by nobody.
    fn copied(&self, no: u64) -> Vec<EventId> {
        let polled = self.changes.get(&no).filter(|change| change.facts.polled);
        let Some(polled) = polled else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for mark in &polled.facts.marks {
            let told = self.marks.get(mark).map(Vec::as_slice).unwrap_or_default();
            let fits = |no: &&u64| {
                self.changes.get(*no).is_some_and(|told| {
                    let slack = match told.host == polled.host {
                        true => SLACK,
                        false => CLOCKS,
                    };
                    let since = polled.facts.since.map_or(i64::MIN, |since| since.0 - slack);
                    !told.facts.polled && (since..=polled.time.0 + slack).contains(&told.time.0)
                })
            };
            let Some(told) = told.iter().rev().find(fits) else {
                return Vec::new();
            };
            if let Some(told) = self.changes.get(told) {
                found.push(told.facts.joined.unwrap_or(told.id));
            }
        }
        found
    }

    /// What a difference without a call is part of.
    pub(super) fn part_of(&self, no: u64) -> Part {
        let (mut of, mut beside) = (Vec::new(), Vec::new());
        for near in self.tasks_around(no) {
            let Some(id) = self.record(near.no) else {
                continue;
            };
            let own = match near.any {
                true => near.edge && near.share == Share::All,
                false => near.share == Share::All,
            };
            if own {
                of.push(id);
            } else if near.writes && near.close {
                beside.push(id);
            }
        }
        if !of.is_empty() {
            of.truncate(MOST);
            return Part::Of(of);
        }
        for leader in self.leaders(no) {
            beside.extend(self.changes.get(&leader).map(|change| change.id));
        }
        beside.truncate(MOST);
        Part::Beside(beside)
    }

    /// A task of another user, or of the same one at another address, that may as well have written some of a difference.
    pub(super) fn other_writer(
        &self,
        difference: u64,
        user: &str,
        ip: Option<IpAddr>,
    ) -> Option<(Option<IpAddr>, EventId)> {
        self.tasks_around(difference).into_iter().find_map(|near| {
            let task = self.tasks.get(&near.no)?;
            let upid = Upid::parse(&task.upid).ok()?;
            let from = task.basis.as_ref().and_then(|basis| basis.ip);
            let elsewhere = from.zip(ip).is_some_and(|(from, ip)| from != ip);
            if near.share == Share::None || upid.user == user && !elsewhere {
                return None;
            }
            Some((from, self.record(near.no)?))
        })
    }

    /// Tasks upon the guest of a difference that ran then, the newest first.
    fn tasks_around(&self, difference: u64) -> Vec<Near> {
        let Some((difference, event)) = self
            .changes
            .get(&difference)
            .and_then(|difference| Some((difference, difference.event.as_ref()?)))
        else {
            return Vec::new();
        };
        let vmid = event.get(NAMES.vmid).and_then(pipeline::ValueRef::as_int);
        let Some(guest) = vmid
            .map(|vmid| vmid.to_string())
            .or_else(|| follows::gone_with(event))
        else {
            return Vec::new();
        };
        let change = difference.facts.way == Way::Change;
        let tasks = self
            .guests
            .get(guest.as_str())
            .map(|tasks| tasks.as_slice())
            .unwrap_or_default();
        let newest = tasks.iter().rev().take(4096).copied();
        newest
            .filter_map(|no| {
                let task = self.tasks.get(&no)?;
                let upid = Upid::parse(&task.upid).ok()?;
                if look::is_console(upid.kind) {
                    return None;
                }
                // Start and end are by the clock of its node, which may be another one.
                let ahead = self
                    .hosts
                    .ahead(upid.node, &difference.host, difference.time);
                let at = difference.time.0 + ahead.unwrap_or(0);
                let end = task.end_at;
                let within = |more: i64| {
                    at >= upid.start.0 - AROUND - more
                        && end.is_none_or(|end| at <= end + AROUND + more)
                };
                let more = if ahead.is_some() { 0 } else { CLOSE };
                let close = within(more);
                if !close && (ahead.is_some() || !within(CLOCKS)) {
                    return None;
                }
                let beside = |other: i64| (at - other).abs() <= AROUND + more;
                let edge = beside(upid.start.0) || end.is_some_and(beside);
                let (writes, any) = wrote::writes(upid.kind);
                Some(Near {
                    no,
                    share: wrote::by_task(upid.kind, &guest, event),
                    close,
                    // What comes or goes does so by few types alone.
                    any: any && change,
                    edge,
                    writes,
                })
            })
            .collect()
    }

    /// The task that a change of the journal is part of.
    pub(super) fn task_of(&self, change: u64) -> Option<EventId> {
        let change = self.changes.get(&change)?;
        let mut parts = change.keys.first()?.rsplit('\n');
        let (vmid, code) = (parts.next()?, parts.next()?);
        let tasks = self
            .guests
            .get(vmid)
            .map(|tasks| tasks.as_slice())
            .unwrap_or_default();
        let newest = tasks.iter().rev().take(4096).copied();
        let mut fits = newest.filter(|no| {
            self.tasks.get(no).is_some_and(|task| {
                Upid::parse(&task.upid).is_ok_and(|upid| {
                    wrote::says(upid.kind, code)
                        && upid.node == &*change.host
                        && *change.user == *upid.user
                        && (upid.start.0 - change.time.0).abs() <= 5 * SECOND
                })
            })
        });
        fits.find_map(|task| self.record(task))
    }
}
