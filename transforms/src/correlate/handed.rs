//! How far the records of a node's tasks have been handed over. Lists of tasks are read every few seconds, or a minute late
//! where the API does not answer: a task that is not there yet may be the owner of a line that fits another one, so that
//! nothing is claimed before.
//!
//! - state: the lanes by which tasks of a node came, at most [`MOST_LANES`] for each of at most [`MOST_NODES`] nodes

use hashbrown::{HashMap, HashSet};
use pipeline::pve::Upid;
use pipeline::{LaneId, StateError, Time};

use super::begun::Begun;
use super::codec::{Put, Take};
use super::look;
use super::task::window;
use super::{Correlate, GRACE};

/// Most nodes of which lanes are remembered.
const MOST_NODES: usize = 1024;
/// Most lanes of one node; the journal, the lists on the node, those of the API and its cluster log are four.
const MOST_LANES: usize = 16;
/// Where more are known, those of nodes that are forgotten go.
const MOST_KNOWN: usize = 2 * MOST_NODES * MOST_LANES;
/// A task waits at most so much longer for the lists of its node, and is then told without a claim. Lines wait longer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);
/// Between two looks whether they have come.
pub(super) const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The lane by which what is being taken came, and how far it was handed over.
    now: Option<(LaneId, Time)>,
    /// Lanes that bring tasks.
    lanes: HashMap<LaneId, Time>,
    /// By node.
    of: HashMap<Box<str>, Vec<LaneId>>,
}

impl Handed {
    /// A batch comes by this lane, and with it everything up to `seen_to`.
    pub(super) fn hear(&mut self, lane: LaneId, seen_to: Time) {
        self.now = Some((lane, seen_to));
        if let Some(known) = self.lanes.get_mut(&lane) {
            *known = (*known).max(seen_to);
        }
    }

    /// What is being taken is a task of this node.
    pub(super) fn brings(&mut self, node: &str) {
        let Some((lane, seen_to)) = self.now else {
            return;
        };
        if !self.of.contains_key(node) {
            if self.of.len() >= MOST_NODES {
                self.forget_node();
            }
            self.of.insert(node.into(), Vec::new());
        }
        let Some(lanes) = self.of.get_mut(node) else {
            return;
        };
        if lanes.contains(&lane) {
            return;
        }
        if lanes.len() >= MOST_LANES {
            // Like those of connections that are long closed.
            let seen = |lane: &LaneId| self.lanes.get(lane).copied();
            if let Some(oldest) = (0..lanes.len()).min_by_key(|n| seen(&lanes[*n])) {
                lanes.swap_remove(oldest);
            }
        }
        lanes.push(lane);
        self.lanes.entry(lane).or_insert(seen_to);
        if self.lanes.len() > MOST_KNOWN {
            let used: HashSet<LaneId> = self.of.values().flatten().copied().collect();
            self.lanes.retain(|lane, _| used.contains(lane));
        }
    }

    /// The node whose tasks were handed over longest ago makes room.
    fn forget_node(&mut self) {
        let oldest = self.of.keys().min_by_key(|node| self.to(node)).cloned();
        if let Some(oldest) = oldest {
            self.of.remove(&oldest);
        }
    }

    /// Up to when all tasks of a node are known, by the clock of whoever reads them.
    fn to(&self, node: &str) -> Option<Time> {
        let lanes = self.of.get(node)?.iter();
        lanes.filter_map(|lane| self.lanes.get(lane).copied()).max()
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_len(self.of.len());
        for (node, lanes) in &self.of {
            to.put_str(node);
            to.put_all(lanes, |to, lane| {
                to.put_str(&lane.source());
                to.put_str(&lane.key());
                to.put_time(self.lanes.get(lane).copied().unwrap_or(Time::MIN));
            });
        }
    }

    pub(super) fn load(&mut self, from: &mut Take<'_>) -> Result<(), StateError> {
        let of = from.all(|from| {
            let node: Box<str> = from.str()?.into();
            let lanes = from.all(|from| {
                let lane = LaneId::new(from.str()?, from.str()?);
                Ok((lane, from.time()?))
            })?;
            Ok((node, lanes))
        })?;
        for (node, lanes) in of {
            self.lanes.extend(lanes.iter().copied());
            let lanes = lanes.into_iter().map(|(lane, _)| lane).collect();
            self.of.insert(node, lanes);
        }
        Ok(())
    }
}

impl Correlate {
    /// Whether a task may still be unread that owns the line which fits this one.
    pub(super) fn is_early(&self, no: u64) -> bool {
        let Some(task) = self.tasks.get(&no) else {
            return false;
        };
        let settled = task.basis.is_some() || matches!(task.begun, Begun::Local | Begun::Ha);
        let Ok(upid) = Upid::parse(&task.upid) else {
            return false;
        };
        if settled || self.handed.now.is_none() {
            return false;
        }
        // It had begun when it came, and whoever else fits its line began within the window around it.
        let window = window(look::class(upid.kind));
        let all = Time(task.came.0.saturating_add(window.before + window.after));
        self.handed.to(upid.node).is_none_or(|to| to < all)
    }

    /// Until when a task waits for that at most, by our own clock.
    pub(super) fn longest_wait(&self, no: u64) -> Time {
        let Some(task) = self.tasks.get(&no) else {
            return Time::MIN;
        };
        let after = Upid::parse(&task.upid).map_or(0, |upid| window(look::class(upid.kind)).after);
        let came = task.came.0.saturating_add(after);
        // The time in which the program stood still was nobody's delay.
        let since = Time(came).max(self.resumed.unwrap_or(Time::MIN));
        since.after(GRACE + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_are_gone_and_nodes_of_long_ago_make_room() {
        let mut handed = Handed::default();
        for n in 0..100 {
            handed.hear(LaneId::new("handed", &n.to_string()), Time(n));
            handed.brings("pve1");
        }
        assert_eq!(handed.to("pve1"), Some(Time(99)));
        handed.hear(LaneId::new("handed", "99"), Time(120));
        assert_eq!(handed.to("pve1"), Some(Time(120)));
        assert_eq!(handed.of["pve1"].len(), MOST_LANES);
        for n in 0..2 * MOST_NODES {
            let lane = LaneId::new("handed", &format!("of {n}"));
            handed.hear(lane, Time(1000 + n as i64));
            handed.brings(&format!("node{n}"));
        }
        assert_eq!(handed.of.len(), MOST_NODES);
        assert_eq!(handed.to("node5"), None);
        let last = 2 * MOST_NODES - 1;
        assert_eq!(
            handed.to(&format!("node{last}")),
            Some(Time(1000 + last as i64))
        );
    }
}
