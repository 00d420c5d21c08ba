//! Stages of a sequence: the newest stamps of each, and the chains that a last event completes.

use std::collections::VecDeque;

use super::rows::Firing;
use super::spec::{SECOND, Spec, Stamp};

/// Stamps kept of each stage.
pub(super) const MOST_STAMPS: usize = 64;
/// Last events remembered that completed a chain.
const MOST_FIRED: usize = 64;

/// What one group has seen of each stage; the last list holds what breaks the sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sequence {
    pub(super) stages: Vec<VecDeque<Stamp>>,
    pub(super) fired: VecDeque<Stamp>,
}

impl Sequence {
    pub(super) fn new(stages: usize) -> Sequence {
        Sequence {
            stages: vec![VecDeque::new(); stages + 1],
            fired: VecDeque::new(),
        }
    }

    /// Puts a stamp in its place; `false` where it is there already, or older than all that are kept.
    pub(super) fn insert(&mut self, stage: usize, stamp: Stamp) -> bool {
        let held = &mut self.stages[stage];
        let Err(place) = held.binary_search(&stamp) else {
            return false;
        };
        held.insert(place, stamp);
        if held.len() > MOST_STAMPS {
            held.pop_front();
            return place > 0;
        }
        true
    }

    pub(super) fn newest(&self) -> Option<Stamp> {
        self.stages
            .iter()
            .filter_map(|held| held.back())
            .max()
            .copied()
    }

    /// The stamps of the tightest chain that ends with `last`.
    fn chain(&self, last: Stamp, ordered: bool, spec: &Spec) -> Option<Vec<Stamp>> {
        let stages = &self.stages[..self.stages.len() - 1];
        let mut chain = Vec::with_capacity(stages.len());
        if ordered {
            let mut at = last;
            chain.push(at);
            for held in stages[..stages.len() - 1].iter().rev() {
                let before = held.partition_point(|stamp| *stamp < at).checked_sub(1)?;
                at = held[before];
                chain.push(at);
            }
        } else {
            for held in stages {
                let upto = held
                    .partition_point(|stamp| *stamp <= last)
                    .checked_sub(1)?;
                chain.push(held[upto]);
            }
        }
        let first = chain.iter().min().copied()?;
        (last.time.saturating_sub(first.time) < spec.timespan).then_some(chain)
    }

    fn is_broken(&self, first: Stamp, last: Stamp) -> bool {
        self.stages
            .last()
            .is_some_and(|held| held.iter().any(|stamp| first < *stamp && *stamp < last))
    }

    /// The chains that became whole with `new` (or, without it, whose last event lies before `watermark`).
    pub(super) fn complete(
        &mut self,
        spec: &Spec,
        ordered: bool,
        new: Option<Stamp>,
        watermark: Option<i64>,
        into: &mut Vec<Firing>,
    ) {
        let stages = self.stages.len() - 1;
        let from = if ordered { stages - 1 } else { 0 };
        let mut lasts: Vec<Stamp> = self.stages[from..stages]
            .iter()
            .flatten()
            .copied()
            .filter(|last| {
                new.is_none_or(|new| {
                    *last >= new && last.time.saturating_sub(new.time) < spec.timespan
                }) && watermark.is_none_or(|mark| last.time < mark)
            })
            .collect();
        lasts.sort_unstable();
        lasts.dedup();
        for last in lasts {
            if self.fired.contains(&last) {
                continue;
            }
            let Some(mut chain) = self.chain(last, ordered, spec) else {
                continue;
            };
            chain.sort_unstable();
            chain.dedup();
            if self.is_broken(chain[0], last) {
                continue;
            }
            self.fired.push_back(last);
            if self.fired.len() > MOST_FIRED {
                self.fired.pop_front();
            }
            into.push(Firing {
                at: last,
                first: chain[0],
                added: 1,
                value: 1.0,
                ids: chain.iter().map(|stamp| stamp.id).collect(),
                ..Firing::default()
            });
        }
    }

    /// When a last event that waits for the watermark can be decided.
    pub(super) fn undecided(&self, watermark: i64, ordered: bool) -> Option<i64> {
        let stages = self.stages.len() - 1;
        let from = if ordered { stages - 1 } else { 0 };
        self.stages[from..stages]
            .iter()
            .flatten()
            .filter(|stamp| stamp.time >= watermark)
            .map(|stamp| stamp.time + 1)
            .min()
    }

    /// Forgets stamps up to `time`.
    pub(super) fn prune(&mut self, time: i64) {
        for held in &mut self.stages {
            while held.front().is_some_and(|stamp| stamp.time <= time) {
                held.pop_front();
            }
        }
        let old = time.saturating_sub(SECOND);
        while self.fired.front().is_some_and(|stamp| stamp.time <= old) {
            self.fired.pop_front();
        }
    }
}
