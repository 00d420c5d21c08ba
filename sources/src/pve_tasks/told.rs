//! What has been told already, as it is remembered over restarts.
//!
//! Bounded by what PVE itself keeps: whatever is in none of its lists any more is forgotten.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use pipeline::{EventId, Time};
use serde::{Deserialize, Serialize};

use super::reading::Found;

/// Tasks remembered that are in no list, because their end was found elsewhere.
const MOST_UNLISTED: usize = 4096;
/// Tasks that have just left the lists, remembered while the program runs: their logs may be found after a gap.
const MOST_LEFT: usize = 16_384;

/// The last so many keys.
#[derive(Debug, Default)]
struct Last {
    order: VecDeque<EventId>,
    set: HashSet<EventId>,
}

impl Last {
    fn push(&mut self, key: EventId, most: usize) {
        if self.set.insert(key) {
            self.order.push_back(key);
        }
        while self.order.len() > most {
            if let Some(first) = self.order.pop_front() {
                self.set.remove(&first);
            }
        }
    }
}

/// Stands for a UPID, or for a line that holds none.
pub(super) fn key(text: &str) -> EventId {
    EventId::of_parts(&[b"pvetrail pve_tasks", text.as_bytes()])
}

/// What is written down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Of whom the end was told, or which line was no task.
    ended: Vec<EventId>,
    /// The same, for what is in no list.
    unlisted: Vec<EventId>,
    /// UPIDs of which the start was told and the end was not.
    running: BTreeSet<String>,
    pub(super) lists: Generations,
}

/// Which files the lists are: the first line of each tells, for they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generations {
    pub(super) index: Option<EventId>,
    pub(super) previous: Option<EventId>,
    /// The latest end that was told.
    pub(super) newest: Option<Time>,
}

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    ended: HashMap<Box<str>, EventId>,
    /// From the stored position, not met in a list yet.
    stored: HashSet<EventId>,
    unlisted: Last,
    left: Last,
    pub(super) running: BTreeSet<String>,
    pub(super) lists: Generations,
}

impl Told {
    pub(super) fn new(position: Position) -> Told {
        Told {
            ended: HashMap::new(),
            stored: position.ended.into_iter().collect(),
            unlisted: Last {
                set: position.unlisted.iter().copied().collect(),
                order: position.unlisted.into(),
            },
            left: Last::default(),
            running: position.running,
            lists: position.lists,
        }
    }

    /// Whether the end of this task, or this line, was told.
    pub(super) fn knows(&mut self, text: &str) -> bool {
        if self.ended.contains_key(text) {
            return true;
        }
        let key = key(text);
        if self.stored.remove(&key) {
            self.ended.insert(text.into(), key);
            return true;
        }
        self.unlisted.set.contains(&key) || self.left.set.contains(&key)
    }

    /// The start was told.
    pub(super) fn started(&mut self, upid: &str) {
        self.running.insert(upid.to_owned());
    }

    /// The end was told, or the line was.
    pub(super) fn ended(&mut self, text: &str, at: Option<Time>) {
        self.running.remove(text);
        self.ended.insert(text.into(), key(text));
        self.lists.newest = self.lists.newest.max(at);
    }

    /// The end was told of a task that is in no list.
    pub(super) fn ended_unlisted(&mut self, upid: &str, at: Time) {
        self.running.remove(upid);
        self.lists.newest = self.lists.newest.max(Some(at));
        self.unlisted.push(key(upid), MOST_UNLISTED);
    }

    /// All of what was found is told: remembers which lists it was, and forgets what is in none of them any more. True if
    /// that changes anything.
    pub(super) fn settle(&mut self, found: &Found) -> bool {
        let before = self.lists;
        (self.lists.index, self.lists.previous) = (found.index, found.previous);
        self.forget(|text| found.listed.contains(text)) || self.lists != before
    }

    fn forget(&mut self, listed: impl Fn(&str) -> bool) -> bool {
        let before = self.ended.len() + self.stored.len();
        let left = &mut self.left;
        self.ended.retain(|text, key| {
            let stays = listed(text);
            if !stays {
                left.push(*key, MOST_LEFT);
            }
            stays
        });
        self.stored.clear();
        self.ended.len() != before
    }

    pub(super) fn position(&self) -> Position {
        let mut ended: Vec<EventId> = self.ended.values().chain(&self.stored).copied().collect();
        ended.sort_unstable();
        Position {
            ended,
            unlisted: self.unlisted.order.iter().copied().collect(),
            running: self.running.clone(),
            lists: self.lists,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_knows_what_was_told_and_forgets_what_is_gone() {
        let mut told = Told::default();
        told.started("UPID:a");
        told.started("UPID:b");
        told.ended("UPID:a", Some(Time(5)));
        told.ended("UPID:c", Some(Time(3)));
        told.ended_unlisted("UPID:d", Time(4));
        let json = serde_json::to_string(&told.position()).unwrap();
        let mut again = Told::new(serde_json::from_str(&json).unwrap());
        assert!(again.knows("UPID:a") && again.knows("UPID:c") && again.knows("UPID:d"));
        assert!(!again.knows("UPID:b") && again.running.contains("UPID:b"));
        assert_eq!(again.lists.newest, Some(Time(5)));
        assert!(again.forget(|text| text == "UPID:a"));
        let json = serde_json::to_string(&again.position()).unwrap();
        assert!(again.knows("UPID:c"), "it has just left");
        let mut again = Told::new(serde_json::from_str(&json).unwrap());
        assert!(again.knows("UPID:a") && !again.knows("UPID:c") && again.knows("UPID:d"));
        assert!(!again.forget(|text| text == "UPID:a"));
    }

    #[test]
    fn what_is_in_no_list_is_remembered_within_bounds() {
        let mut told = Told::default();
        for n in 0..MOST_UNLISTED + 10 {
            told.ended_unlisted(&format!("UPID:{n}"), Time(1));
        }
        let position = told.position();
        assert_eq!(position.unlisted.len(), MOST_UNLISTED);
        assert!(!told.knows("UPID:9") && told.knows("UPID:10"));
    }
}
