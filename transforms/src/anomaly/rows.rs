//! The matches of one group, in the order of (time, id), and which of them complete a window.
//!
//! Whatever the order of arrival, a match fires if the window that ends with it satisfies the condition, and an alert counts
//! every match that lies in a window that fired.

use std::collections::{HashSet, VecDeque};

use pipeline::EventId;

use super::spec::{Cut, Measure, Spec, Stamp, Test};

/// Ids named in an alert.
pub(super) const MOST_IDS: usize = 20;

/// One match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) stamp: Stamp,
    pub(super) value: u64,
    /// It completed a window.
    pub(super) fired: bool,
    /// It lies in a window that fired.
    pub(super) counted: bool,
    /// Its window was looked at when it was whole.
    pub(super) decided: bool,
}

impl Row {
    pub(super) fn new(stamp: Stamp, value: u64) -> Row {
        Row {
            stamp,
            value,
            fired: false,
            counted: false,
            decided: false,
        }
    }
}

/// A condition became true.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Firing {
    /// The newest event of the window.
    pub(super) at: Stamp,
    /// Its oldest event.
    pub(super) first: Stamp,
    /// Matches that no window before had counted.
    pub(super) added: u64,
    /// What was measured.
    pub(super) value: f64,
    /// Ids of matches that no window before had counted, the first of them.
    pub(super) ids: Vec<EventId>,
    /// Distinct values among them.
    pub(super) values: Vec<u64>,
    /// The stamp that this firing stands in for, where an earlier event turned out to be the first.
    pub(super) instead_of: Option<Stamp>,
}

/// The matches of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: VecDeque<Row>,
    /// Matches had to be dropped that might have counted.
    pub(super) saturated: bool,
}

impl Rows {
    /// Puts a match in its place; `None` where it is there already.
    pub(super) fn insert(&mut self, row: Row) -> Option<usize> {
        if self.rows.back().is_none_or(|last| last.stamp < row.stamp) {
            self.rows.push_back(row);
            return Some(self.rows.len() - 1);
        }
        match self
            .rows
            .binary_search_by(|held| held.stamp.cmp(&row.stamp))
        {
            Ok(_) => None,
            Err(place) => {
                self.rows.insert(place, row);
                Some(place)
            }
        }
    }

    /// Forgets matches up to `time`, and the oldest of more than `most`. Says how many places the rest moved.
    pub(super) fn prune(&mut self, time: i64, most: usize) -> usize {
        let mut gone = 0;
        while let Some(row) = self.rows.front() {
            let old = row.stamp.time <= time;
            if !old && self.rows.len() <= most {
                break;
            }
            self.saturated |= !old && !row.counted;
            self.rows.pop_front();
            gone += 1;
        }
        gone
    }

    /// The place of the first row of the window that ends with row `q`.
    fn window_start(&self, spec: &Spec, q: usize) -> usize {
        let time = self.rows[q].stamp.time;
        match &spec.cut {
            Cut::Sliding => {
                let edge = time.saturating_sub(spec.timespan);
                self.rows.partition_point(|row| row.stamp.time <= edge)
            }
            Cut::Tumbling(_) => {
                let start = spec.bucket(time).0;
                self.rows.partition_point(|row| row.stamp.time < start)
            }
            Cut::Session(gap) => {
                // Sessions are chained from the oldest match, for a chain is cut where it grows too long.
                let mut start = 0;
                for n in 1..=q {
                    let (held, before) = (self.rows[n].stamp.time, self.rows[n - 1].stamp.time);
                    let long = held - self.rows[start].stamp.time >= spec.timespan;
                    if held - before >= *gap || long {
                        start = n;
                    }
                }
                start
            }
        }
    }

    /// The last row that a match at row `p` can make true.
    fn reach(&self, spec: &Spec, p: usize) -> usize {
        let time = self.rows[p].stamp.time;
        match &spec.cut {
            Cut::Sliding => {
                let edge = time.saturating_add(spec.timespan);
                self.rows.partition_point(|row| row.stamp.time < edge)
            }
            Cut::Tumbling(_) => {
                let end = spec.bucket(time).1;
                self.rows.partition_point(|row| row.stamp.time < end)
            }
            Cut::Session(_) => self.rows.len(),
        }
    }

    fn measure(&self, measure: Measure, from: usize, to: usize) -> f64 {
        let rows = self.rows.range(from..=to);
        match measure {
            Measure::Count => (to + 1 - from) as f64,
            Measure::Distinct => rows.map(|row| row.value).collect::<HashSet<u64>>().len() as f64,
            Measure::Sum => rows.map(|row| f64::from_bits(row.value)).sum(),
            Measure::Mean => {
                let sum: f64 = rows.map(|row| f64::from_bits(row.value)).sum();
                sum / (to + 1 - from) as f64
            }
        }
    }

    /// What a new match at place `p` makes true, for conditions that only grow.
    pub(super) fn arrived(
        &mut self,
        spec: &Spec,
        measure: Measure,
        test: &Test,
        p: usize,
        into: &mut Vec<Firing>,
    ) {
        let end = self.reach(spec, p);
        for q in p..end {
            let quick = match (&spec.cut, measure, test.needs) {
                (Cut::Sliding, Measure::Count, Some(needs)) => {
                    let needs = usize::try_from(needs.max(1)).unwrap_or(usize::MAX);
                    if q + 1 < needs {
                        continue;
                    }
                    let oldest = self.rows[q + 1 - needs].stamp.time;
                    if oldest <= self.rows[q].stamp.time.saturating_sub(spec.timespan) {
                        continue;
                    }
                    true
                }
                _ => false,
            };
            let window = |rows: &Rows| rows.window_start(spec, q);
            // A window that fired before only takes the new match in.
            if quick && self.rows[q].fired && p < q && self.rows[p].counted {
                continue;
            }
            let from = window(self);
            let value = self.measure(measure, from, q);
            if !quick {
                let falling = measure == Measure::Sum
                    && self
                        .rows
                        .range(from..=q)
                        .any(|row| f64::from_bits(row.value) < 0.0);
                if falling || !(test.holds)(value) {
                    continue;
                }
            }
            let whole = p + 1 != self.rows.len();
            self.fire(from, q, value, measure, whole, into);
        }
    }

    /// Marks the window as fired and tells it, if there is something new in it.
    fn fire(
        &mut self,
        from: usize,
        q: usize,
        value: f64,
        measure: Measure,
        whole: bool,
        into: &mut Vec<Firing>,
    ) {
        let first = self.rows[from].stamp;
        let mut firing = Firing {
            at: self.rows[q].stamp,
            first,
            value,
            ..Firing::default()
        };
        let mut new = !self.rows[q].fired;
        self.rows[q].fired = true;
        // Matches that come in order find everything before the last window counted; others may lie anywhere in it.
        for n in (from..=q).rev() {
            let row = &mut self.rows[n];
            if row.counted {
                if n == q || whole {
                    continue;
                }
                break;
            }
            row.counted = true;
            new = true;
            firing.added += 1;
            if firing.ids.len() < MOST_IDS {
                firing.ids.push(row.stamp.id);
            }
            if measure == Measure::Distinct {
                firing.values.push(row.value);
            }
        }
        if new {
            firing.ids.reverse();
            into.push(firing);
        }
    }

    /// Decides the windows that are whole at `watermark`, for conditions that may become false again. Says when to ask
    /// again [ns].
    pub(super) fn decide(
        &mut self,
        spec: &Spec,
        measure: Measure,
        test: &Test,
        watermark: i64,
        into: &mut Vec<Firing>,
    ) -> Option<i64> {
        let mut next = None;
        for q in 0..self.rows.len() {
            if self.rows[q].decided {
                continue;
            }
            let time = self.rows[q].stamp.time;
            let (end, is_last) = match &spec.cut {
                Cut::Sliding => (time, true),
                Cut::Tumbling(_) => {
                    let end = spec.bucket(time).1;
                    let last = self.rows.get(q + 1).is_none_or(|row| row.stamp.time >= end);
                    (end - 1, last)
                }
                Cut::Session(gap) => {
                    let last = q + 1 == self.rows.len() || self.window_start(spec, q + 1) == q + 1;
                    (time.saturating_add(*gap), last)
                }
            };
            if watermark <= end {
                next = Some(end + 1);
                break;
            }
            self.rows[q].decided = true;
            if !is_last {
                continue;
            }
            let from = self.window_start(spec, q);
            let value = self.measure(measure, from, q);
            if (test.holds)(value) {
                self.fire(from, q, value, measure, true, into);
            }
        }
        next
    }
}
