//! The matches of one group, in the order of (time, id), and which of them complete a window.
//!
//! Whatever the order of arrival, a match fires if the window that ends with it satisfies the condition, and an alert counts
//! every match that lies in a window that fired.
//!
//! - state: the matches themselves while they are few; of many, what [`thin`] keeps of them

mod inside;
mod thin;

use std::collections::VecDeque;

use pipeline::EventId;

use super::spec::{Cut, Measure, Spec, Stamp, Test};
use inside::Inside;

/// Ids named in an alert.
pub(super) const MOST_IDS: usize = 20;

/// One match, or several that lie between the row before and this one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    /// The newest of them.
    pub(super) stamp: Stamp,
    /// What is counted of it: a hash, or the bits of a number (the sum of all).
    pub(super) value: u64,
    /// How many matches it stands for.
    pub(super) n: u32,
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
            n: 1,
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
    /// The selections that held for the match that fired, where it fired by itself.
    pub(super) selections: u64,
    /// The stamp that this firing stands in for, where an earlier event turned out to be the first.
    pub(super) instead_of: Option<Stamp>,
    /// When it became true, where that was later than its newest event [ns].
    pub(super) became: Option<i64>,
}

impl Firing {
    /// When it became true [ns].
    pub(super) fn when(&self) -> i64 {
        self.became.unwrap_or(self.at.time)
    }
}

/// The matches of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: VecDeque<Row>,
    /// Matches had to be dropped that might have counted.
    pub(super) saturated: bool,
    /// A number below zero is among them.
    pub(super) falling: bool,
    /// Where the session of the last match that was forgotten began, and that match [ns].
    pub(super) session: Option<(i64, i64)>,
    /// The window that ends with the newest match, while matches come in order.
    newest: Option<Box<Inside>>,
    /// How many rows there are when they are thinned next; 0: not asked yet.
    room: usize,
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

    /// Memory besides its own size [bytes].
    pub(super) fn bytes(&self) -> usize {
        let newest = self.newest.as_ref().map_or(0, |inside| inside.bytes());
        self.rows.capacity() * size_of::<Row>() + newest
    }

    /// Forgets matches up to `time`, and the oldest of more than `most`.
    pub(super) fn prune(&mut self, time: i64, most: usize) {
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
        if gone == 0 {
            return;
        }
        if self.rows.is_empty() {
            self.falling = false;
        }
        // An empty list of thousands of places is worth its memory.
        if self.rows.capacity() > 64 && self.rows.capacity() / 4 > self.rows.len() {
            self.rows.shrink_to(self.rows.len() * 2);
        }
        match &mut self.newest {
            Some(inside) if inside.from >= gone => inside.from -= gone,
            _ => self.newest = None,
        }
    }

    /// As [`prune`](Self::prune), and remembers where the session of what is forgotten began.
    pub(super) fn forget(&mut self, spec: &Spec, time: i64) {
        if let Cut::Session(gap) = &spec.cut {
            for row in self.rows.iter().take_while(|row| row.stamp.time <= time) {
                let at = row.stamp.time;
                self.session = Some(match self.session {
                    Some((start, last)) if at - last < *gap && at - start < spec.timespan => {
                        (start, at)
                    }
                    _ => (at, at),
                });
            }
        }
        self.prune(time, usize::MAX);
    }

    /// What the new match at place `p` makes true, for conditions that only grow.
    pub(super) fn arrived(
        &mut self,
        spec: &Spec,
        measure: Measure,
        test: &Test,
        p: usize,
        into: &mut Vec<Firing>,
    ) {
        self.falling |= measure == Measure::Sum && f64::from_bits(self.rows[p].value) < 0.0;
        if p + 1 < self.rows.len() {
            self.between(spec, measure, test, p, into);
            return;
        }
        let inside = match self.newest.take() {
            Some(mut inside) => {
                inside.advance(&self.rows, spec, measure, p);
                inside
            }
            None => Box::new(Inside::of(self, spec, measure, p)),
        };
        if let Some(value) = inside.grown(&self.rows, measure, p)
            && (test.holds)(value)
        {
            self.fire(inside.from, p, value, measure, false, into);
        }
        self.newest = Some(inside);
    }

    /// The same for a match with others behind it: every window it lies in is looked at.
    fn between(
        &mut self,
        spec: &Spec,
        measure: Measure,
        test: &Test,
        p: usize,
        into: &mut Vec<Firing>,
    ) {
        self.newest = None;
        let mut inside = Inside::of(self, spec, measure, p);
        let (from, mut q) = (self.rows[p].stamp.time, p);
        loop {
            let next = self.rows.get(q + 1).map(|row| row.stamp.time);
            let more = next.is_some_and(|time| match &spec.cut {
                Cut::Sliding => time < from.saturating_add(spec.timespan),
                Cut::Tumbling(_) => time < inside.end,
                Cut::Session(gap) => time - self.rows[q].stamp.time < *gap,
            });
            let judged = match &spec.cut {
                // A window that fired before only takes the new match in.
                Cut::Sliding => !(p < q && self.rows[q].fired && self.rows[p].counted),
                // Windows that lie still only grow to their end.
                Cut::Tumbling(_) => !more,
                Cut::Session(_) => {
                    !more || next.is_some_and(|time| time - inside.start >= spec.timespan)
                }
            };
            if judged
                && let Some(value) = inside.grown(&self.rows, measure, q)
                && (test.holds)(value)
            {
                self.fire(inside.from, q, value, measure, true, into);
            }
            if !more {
                return;
            }
            q += 1;
            inside.advance(&self.rows, spec, measure, q);
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
            firing.added += u64::from(row.n);
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
        let first = self.rows.iter().position(|row| !row.decided)?;
        let mut inside = Inside::of(self, spec, measure, first);
        for q in first..self.rows.len() {
            if q > first {
                inside.advance(&self.rows, spec, measure, q);
            }
            if self.rows[q].decided {
                continue;
            }
            let time = self.rows[q].stamp.time;
            let next = self.rows.get(q + 1).map(|row| row.stamp.time);
            let (end, is_last) = match &spec.cut {
                Cut::Sliding => (time, true),
                Cut::Tumbling(_) => (inside.end - 1, next.is_none_or(|next| next >= inside.end)),
                Cut::Session(gap) => (
                    time.saturating_add(*gap),
                    next.is_none_or(|next| {
                        next - time >= *gap || next - inside.start >= spec.timespan
                    }),
                ),
            };
            if watermark <= end {
                return Some(end + 1);
            }
            self.rows[q].decided = true;
            if !is_last {
                continue;
            }
            let value = inside.value(&self.rows, measure, q);
            if (test.holds)(value) {
                let told = into.len();
                self.fire(inside.from, q, value, measure, true, into);
                if !matches!(spec.cut, Cut::Sliding) {
                    // A window that lies still is judged when it is over.
                    into[told..]
                        .iter_mut()
                        .for_each(|firing| firing.became = Some(end));
                }
            }
        }
        None
    }
}
