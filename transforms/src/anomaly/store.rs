//! The groups of one rule: found by key, in the order in which they were touched, with the time at which each wants to be
//! looked at again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;

use super::alert::Alert;
use super::faces::{FACE, Pinned};
use super::rows::Rows;
use super::sequence::Sequence;
use super::spec::Stamp;

/// What a group costs besides its key, its rows and its places in the tables [bytes].
const GROUP: usize = size_of::<Group>() + 48;
/// An open alert with its event, roughly [bytes].
const ALERT: usize = size_of::<Alert>() + 2048;
/// Most late matches of a group remembered as such [matches].
const MOST_LATE: usize = 16;
/// No place.
const NONE: u32 = u32::MAX;

/// What a group holds besides its matches.
#[derive(Clone, Debug, Default)]
pub(super) enum Extra {
    #[default]
    None,
    /// When it was seen first and last, and whether its absence was told.
    Seen {
        first: Stamp,
        last: Stamp,
        expected: bool,
        missing: bool,
    },
    /// Stages of a sequence.
    Sequence(Box<Sequence>),
    /// Matches that call held ones off.
    Unless(VecDeque<Stamp>),
    /// Counts of the last windows.
    Spike(Box<Spike>),
}

/// Counts by window.
#[derive(Clone, Debug, Default)]
pub(super) struct Spike {
    /// The first window the group was seen in [ns].
    pub(super) since: i64,
    /// Start, count, how much of it an alert counted, and whether an alert was open.
    pub(super) windows: VecDeque<(i64, u32, u32, bool)>,
}

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: Arc<str>,
    pub(super) rows: Rows,
    pub(super) extra: Extra,
    /// Alerts that something can still come to, by their begin.
    pub(super) alerts: Vec<Alert>,
    /// Events that time has yet to decide about.
    pub(super) pinned: Pinned,
    /// By which input its last match came; 0: nobody knows.
    pub(super) input: u64,
    /// Matches that came behind the watermark, the newest of them.
    pub(super) late: Vec<Stamp>,
    /// When it wants to be looked at; `i64::MAX` = never [ns].
    pub(super) due: i64,
    /// Bytes it was last counted with.
    bytes: usize,
    before: u32,
    behind: u32,
}

impl Group {
    /// A match came behind the watermark.
    pub(super) fn note_late(&mut self, stamp: Stamp) {
        if let Err(place) = self.late.binary_search(&stamp) {
            self.late.insert(place, stamp);
            if self.late.len() > MOST_LATE {
                self.late.remove(0);
            }
        }
    }

    /// Whether one of the matches between these two came late.
    pub(super) fn was_late(&self, first: Stamp, last: Stamp) -> bool {
        self.late.iter().any(|stamp| (first..=last).contains(stamp))
    }
}

/// All groups of a rule.
#[derive(Default)]
pub(super) struct Store {
    groups: Vec<Option<Box<Group>>>,
    free: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
    /// Least and most recently touched.
    ends: Option<(u32, u32)>,
    due: BinaryHeap<Reverse<(i64, u32)>>,
    /// What the groups hold [bytes].
    held: usize,
    pub(super) open: usize,
}

impl Store {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Group> {
        self.groups.get(slot as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Group> {
        self.groups.get_mut(slot as usize)?.as_deref_mut()
    }

    /// All groups, those first that were touched longest ago.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u32> {
        let mut next = self.ends.map_or(NONE, |(head, _)| head);
        std::iter::from_fn(move || {
            let slot = next;
            next = self.get(slot)?.behind;
            Some(slot)
        })
    }

    pub(super) fn add(&mut self, key: &str) -> u32 {
        let key: Arc<str> = key.into();
        let group = Box::new(Group {
            bytes: GROUP + key.len(),
            key: Arc::clone(&key),
            rows: Rows::default(),
            extra: Extra::None,
            alerts: Vec::new(),
            pinned: Pinned::default(),
            input: 0,
            late: Vec::new(),
            due: i64::MAX,
            before: NONE,
            behind: NONE,
        });
        self.held += group.bytes;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.groups[slot as usize] = Some(group);
                slot
            }
            None => {
                self.groups.push(Some(group));
                (self.groups.len() - 1) as u32
            }
        };
        self.by_key.insert(key, slot);
        self.link(slot);
        slot
    }

    /// At the end of the order of touch.
    fn link(&mut self, slot: u32) {
        match self.ends {
            None => self.ends = Some((slot, slot)),
            Some((head, tail)) => {
                if let Some(group) = self.get_mut(tail) {
                    group.behind = slot;
                }
                if let Some(group) = self.get_mut(slot) {
                    (group.before, group.behind) = (tail, NONE);
                }
                self.ends = Some((head, slot));
            }
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some((before, behind)) = self.get(slot).map(|group| (group.before, group.behind))
        else {
            return;
        };
        let Some((mut head, mut tail)) = self.ends else {
            return;
        };
        match self.get_mut(before) {
            Some(group) => group.behind = behind,
            None => head = behind,
        }
        match self.get_mut(behind) {
            Some(group) => group.before = before,
            None => tail = before,
        }
        self.ends = (head != NONE).then_some((head, tail));
        if let Some(group) = self.get_mut(slot) {
            (group.before, group.behind) = (NONE, NONE);
        }
    }

    /// It was used just now.
    pub(super) fn touch(&mut self, slot: u32) {
        if self.ends.is_some_and(|(_, tail)| tail == slot) {
            return;
        }
        self.unlink(slot);
        self.link(slot);
    }

    /// Counts anew what a group holds.
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(group) = self.groups.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let extra = match &group.extra {
            Extra::None | Extra::Seen { .. } => 0,
            Extra::Sequence(held) => {
                256 + held.stages.iter().map(|s| s.capacity() * 24).sum::<usize>()
            }
            Extra::Unless(held) => held.capacity() * 24,
            Extra::Spike(held) => 64 + held.windows.capacity() * 24,
        };
        let alerts = group.alerts.iter();
        let alerts: usize = alerts.map(|alert| ALERT + alert.values.len() * 16).sum();
        let beside = group.pinned.0.len() * FACE + group.late.capacity() * size_of::<Stamp>();
        let bytes = GROUP + group.key.len() + group.rows.bytes() + extra + alerts + beside;
        self.held = self.held - group.bytes + bytes;
        group.bytes = bytes;
    }

    /// The group wants to be looked at then.
    pub(super) fn ask(&mut self, slot: u32, due: i64) {
        let Some(group) = self.groups.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if due < group.due {
            group.due = due;
            self.due.push(Reverse((due, slot)));
        }
        if self.due.len() > 64 + 2 * self.by_key.len() {
            self.forget_asked();
        }
    }

    /// Times that were asked for by groups that are gone, or have asked for an earlier one, need not be held.
    #[cold]
    fn forget_asked(&mut self) {
        let slots = self.groups.iter().zip(0..);
        self.due = slots
            .filter_map(|(group, slot)| {
                let due = group.as_ref()?.due;
                (due < i64::MAX).then_some(Reverse((due, slot)))
            })
            .collect();
    }

    /// Everything it holds [bytes].
    pub(super) fn bytes(&self) -> usize {
        self.held
            + self.due.capacity() * size_of::<Reverse<(i64, u32)>>()
            + (self.groups.capacity() * size_of::<Option<Box<Group>>>())
            + self.free.capacity() * size_of::<u32>()
            + self.by_key.allocation_size()
    }

    /// The next group whose time is up.
    pub(super) fn pop(&mut self, watermark: i64) -> Option<u32> {
        while let Some(Reverse((due, slot))) = self.due.peek().copied() {
            if due > watermark {
                return None;
            }
            self.due.pop();
            // Others asked for an earlier time, or are gone.
            if let Some(group) = self.get_mut(slot)
                && group.due == due
            {
                group.due = i64::MAX;
                return Some(slot);
            }
        }
        None
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Group>> {
        self.unlink(slot);
        let group = self.groups.get_mut(slot as usize)?.take()?;
        self.by_key.remove(&group.key);
        self.held -= group.bytes;
        self.free.push(slot);
        if self.by_key.is_empty() {
            (self.due, self.groups, self.free) = Default::default();
        }
        if self.by_key.capacity() > 64 && self.by_key.capacity() / 8 > self.by_key.len() {
            self.by_key.shrink_to(self.by_key.len() * 2);
        }
        Some(group)
    }

    /// Gives up the group that was touched longest ago and has no open alert; `false`: there is none.
    pub(super) fn evict(&mut self) -> bool {
        let mut slot = self.ends.map_or(NONE, |(head, _)| head);
        let mut looked = 0;
        while let Some(group) = self.get(slot) {
            let behind = group.behind;
            if !group.alerts.iter().any(Alert::is_open) {
                self.remove(slot);
                return true;
            }
            // Kept in any case, so it need not stand in the way of the next search.
            self.touch(slot);
            slot = behind;
            looked += 1;
            if looked > 2 * super::engine::MOST_OPEN {
                return false;
            }
        }
        false
    }
}
