//! Many matches of one group: what can be left out of them without changing what is found.
//!
//! - **Counts that grow**, in sliding windows: the inner part of a run of matches that all fired is one row with its number.
//!   Nothing is lost by it: a match that still comes in between is counted by the one behind it, and the last N of a run stay
//!   as they are, so that what follows finds its N.
//! - **Distinct values**, in sliding windows: of three matches with one value, the outer two of which lie in one window, the
//!   inner one. A value is inside a window afterwards exactly where it was before. Of too many values those seen longest ago
//!   go, and the count is marked.
//! - **Windows that lie still**: all between the first and the last match of a window.
//! - **Sums, and counts that may fall**, in sliding windows: matches of one part of [`PARTS`] of a window are one row, at the
//!   place of the newest. Whether a match lies in a window is then known to that part of its length.

use hashbrown::HashMap;

use super::{Row, Rows};
use crate::anomaly::spec::{Cut, Measure, Spec, Test};

/// Parts of a sliding window.
const PARTS: i64 = 512;
/// The fewest parts, where events may come much later than a window is long.
const FEWEST: i64 = 16;
/// Most rows of one group, whatever they are [rows].
pub(in crate::anomaly) const MOST_ROWS: usize = 200_000;
/// Rows that are never thinned [rows].
const FEW: usize = 1_000;

impl Rows {
    /// Makes room where there are many.
    pub(in crate::anomaly) fn thin(&mut self, spec: &Spec, measure: Measure, test: &Test) {
        if self.rows.len() <= self.room.max(FEW) {
            return;
        }
        self.shorten(spec, measure, test);
    }

    #[cold]
    fn shorten(&mut self, spec: &Spec, measure: Measure, test: &Test) {
        let still = !matches!(spec.cut, Cut::Sliding);
        self.newest = None;
        match measure {
            Measure::Distinct => {
                self.forget_values(spec);
                if still {
                    self.drop_repeated(spec);
                } else {
                    self.drop_inner(spec, test.grows);
                }
            }
            Measure::Count if test.grows && !still => self.join_runs(spec, test),
            _ if still => self.join_windows(spec),
            _ => self.join_parts(spec, test.grows),
        }
        self.prune(i64::MIN, MOST_ROWS);
        self.room = (self.rows.len() * 2).clamp(FEW, MOST_ROWS);
        self.rows.shrink_to(self.room + 1);
    }

    /// Rows for which `joins` says so become one with the row behind them, which stays where it is.
    fn join(&mut self, numbers: bool, mut joins: impl FnMut(&Self, usize) -> bool) {
        let flags: Vec<bool> = (0..self.rows.len())
            .map(|n| n + 1 < self.rows.len() && joins(self, n))
            .collect();
        let mut held: Option<Row> = None;
        let mut flags = flags.into_iter();
        self.rows.retain_mut(|row| {
            if let Some(before) = held.take() {
                row.n = row.n.saturating_add(before.n);
                if numbers {
                    let sum = f64::from_bits(row.value) + f64::from_bits(before.value);
                    row.value = sum.to_bits();
                }
            }
            let joins = flags.next().unwrap_or(false);
            if joins {
                held = Some(*row);
            }
            !joins
        });
    }

    fn alike(&self, n: usize) -> bool {
        let (a, b) = (&self.rows[n], &self.rows[n + 1]);
        a.counted == b.counted && a.decided == b.decided
    }

    fn join_runs(&mut self, spec: &Spec, test: &Test) {
        let needs = usize::try_from(test.needs.unwrap_or(1)).unwrap_or(usize::MAX);
        let near = spec.timespan.min(spec.resolve_after.max(1));
        let goes_on = |rows: &Rows, n: usize| {
            let (a, b) = (&rows.rows[n], &rows.rows[n + 1]);
            a.fired && a.counted && b.fired && b.counted && b.stamp.time - a.stamp.time < near
        };
        // How many rows of its run lie behind each.
        let mut behind = vec![0_usize; self.rows.len()];
        for n in (0..self.rows.len() - 1).rev() {
            if goes_on(self, n) {
                behind[n] = behind[n + 1] + 1;
            }
        }
        self.join(false, |rows, n| {
            n > 0 && behind[n] > needs && goes_on(rows, n - 1)
        });
    }

    fn join_windows(&mut self, spec: &Spec) {
        let starts = self.starts(spec);
        let inner = |n: usize| {
            n > 0
                && n + 1 < starts.len()
                && starts[n - 1] == starts[n]
                && starts[n + 1] == starts[n]
        };
        self.join(true, |rows, n| inner(n) && inner(n + 1) && rows.alike(n));
    }

    fn join_parts(&mut self, spec: &Spec, grows: bool) {
        let span = spec.timespan.max(PARTS);
        let held = span.saturating_add(spec.lateness);
        let part = (held / 1024).clamp(span / PARTS, span / FEWEST).max(1);
        self.join(true, |rows, n| {
            let at = |n: usize| rows.rows[n].stamp.time.div_euclid(part);
            // Each that is not decided is the end of a window that has to be looked at.
            let settled = grows && !rows.falling || rows.rows[n].decided;
            settled && at(n) == at(n + 1) && rows.alike(n)
        });
    }

    /// The first row of the window of each row, for windows that lie still.
    fn starts(&self, spec: &Spec) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.rows.len());
        let mut inside = super::Inside::of(self, spec, Measure::Count, 0);
        for n in 0..self.rows.len() {
            if n > 0 {
                inside.advance(&self.rows, spec, Measure::Count, n);
            }
            starts.push(inside.from);
        }
        starts
    }

    /// Distinct values in windows that lie still: the first and the last match, and one of each value.
    fn drop_repeated(&mut self, spec: &Spec) {
        let starts = self.starts(spec);
        let mut seen = hashbrown::HashSet::new();
        let keep: Vec<bool> = (0..self.rows.len())
            .map(|n| {
                let new = seen.insert((starts[n], self.rows[n].value));
                let last = starts.get(n + 1).is_none_or(|next| *next != starts[n]);
                new || last || n == starts[n]
            })
            .collect();
        self.keep(&keep);
    }

    fn drop_inner(&mut self, spec: &Spec, grows: bool) {
        let mut keep = vec![true; self.rows.len()];
        let mut seen: HashMap<u64, (i64, Option<usize>)> = HashMap::new();
        for (n, row) in self.rows.iter().enumerate() {
            let at = row.stamp.time;
            let Some((outer, inner)) = seen.get_mut(&row.value) else {
                seen.insert(row.value, (at, None));
                continue;
            };
            if let Some(inner) = *inner {
                let held = &self.rows[inner];
                if at - *outer <= spec.timespan && (grows || held.decided) {
                    keep[inner] = false;
                } else {
                    *outer = held.stamp.time;
                }
            }
            *inner = Some(n);
        }
        self.keep(&keep);
    }

    /// Of too many values those seen longest ago.
    fn forget_values(&mut self, spec: &Spec) {
        let mut newest: HashMap<u64, usize> = HashMap::new();
        for (n, row) in self.rows.iter().enumerate() {
            newest.insert(row.value, n);
        }
        if newest.len() <= spec.max_values {
            return;
        }
        let mut places: Vec<usize> = newest.values().copied().collect();
        places.sort_unstable();
        let edge = places[places.len() - spec.max_values];
        let keep: Vec<bool> = self
            .rows
            .iter()
            .map(|row| newest.get(&row.value).is_some_and(|place| *place >= edge))
            .collect();
        self.saturated = true;
        self.keep(&keep);
    }

    fn keep(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.rows.retain(|_| keep.next().copied().unwrap_or(true));
    }
}
