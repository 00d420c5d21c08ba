//! One window while it moves along the matches: what is inside, and what that measures.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{Row, Rows};
use crate::anomaly::spec::{Cut, Measure, Spec};

/// Sums of whole numbers up to here are exact, whatever is added and taken away.
const EXACT: f64 = (1_u64 << 40) as f64;

/// The window that ends with one match.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    /// The place of its first row.
    pub(super) from: usize,
    /// Where it begins, if it does not slide [ns].
    pub(super) start: i64,
    /// Where it ends, if it tumbles [ns].
    pub(super) end: i64,
    count: u64,
    sum: f64,
    /// Whether `sum` had a part that can have left something behind.
    rough: bool,
    negative: u32,
    values: HashMap<u64, u32>,
}

impl Inside {
    /// The window that ends with row `q`.
    pub(super) fn of(rows: &Rows, spec: &Spec, measure: Measure, q: usize) -> Inside {
        let time = rows.rows[q].stamp.time;
        let mut inside = Inside::default();
        match &spec.cut {
            Cut::Sliding => {
                let edge = time.saturating_sub(spec.timespan);
                inside.from = rows.rows.partition_point(|row| row.stamp.time <= edge);
            }
            Cut::Tumbling(_) => {
                (inside.start, inside.end) = spec.bucket(time);
                let start = inside.start;
                inside.from = rows.rows.partition_point(|row| row.stamp.time < start);
            }
            Cut::Session(gap) => {
                // Sessions are chained from the oldest match, for a chain is cut where it grows too long.
                let (mut start, mut last) = rows.session.unwrap_or((i64::MIN, i64::MIN));
                for (n, row) in rows.rows.range(..=q).enumerate() {
                    let at = row.stamp.time;
                    let apart = at.saturating_sub(last) >= *gap;
                    if apart || at.saturating_sub(start) >= spec.timespan {
                        (inside.from, start) = (n, at);
                    }
                    last = at;
                }
                inside.start = start;
            }
        }
        for row in rows.rows.range(inside.from..=q) {
            inside.put(measure, row);
        }
        inside
    }

    /// Moves on to the row `q`, which follows the one it ended with.
    pub(super) fn advance(
        &mut self,
        rows: &VecDeque<Row>,
        spec: &Spec,
        measure: Measure,
        q: usize,
    ) {
        let time = rows[q].stamp.time;
        let anew = match &spec.cut {
            Cut::Sliding => {
                let edge = time.saturating_sub(spec.timespan);
                while self.from < q && rows[self.from].stamp.time <= edge {
                    self.take(measure, &rows[self.from]);
                    self.from += 1;
                }
                self.from == q
            }
            Cut::Tumbling(_) => {
                let anew = time >= self.end;
                if anew {
                    (self.start, self.end) = spec.bucket(time);
                }
                anew
            }
            Cut::Session(gap) => {
                let before = rows[q - 1].stamp.time;
                let anew = time - before >= *gap || time - self.start >= spec.timespan;
                if anew {
                    self.start = time;
                }
                anew
            }
        };
        if anew {
            self.from = q;
            (self.count, self.sum, self.rough, self.negative) = (0, 0.0, false, 0);
            self.values.clear();
        }
        self.put(measure, &rows[q]);
    }

    fn put(&mut self, measure: Measure, row: &Row) {
        self.count += u64::from(row.n);
        match measure {
            Measure::Count => {}
            Measure::Distinct => *self.values.entry(row.value).or_default() += 1,
            Measure::Sum | Measure::Mean => {
                let value = f64::from_bits(row.value);
                self.sum += value;
                self.rough |= value.fract() != 0.0 || value.abs() > EXACT || self.sum.abs() > EXACT;
                self.negative += u32::from(value < 0.0);
            }
        }
    }

    fn take(&mut self, measure: Measure, row: &Row) {
        self.count -= u64::from(row.n);
        match measure {
            Measure::Count => {}
            Measure::Distinct => {
                if let hashbrown::hash_map::Entry::Occupied(mut held) = self.values.entry(row.value)
                {
                    *held.get_mut() -= 1;
                    if *held.get() == 0 {
                        held.remove();
                    }
                }
            }
            Measure::Sum | Measure::Mean => {
                let value = f64::from_bits(row.value);
                self.sum -= value;
                self.negative -= u32::from(value < 0.0);
            }
        }
    }

    /// What it measures, where it ends with row `q`.
    pub(super) fn value(&self, rows: &VecDeque<Row>, measure: Measure, q: usize) -> f64 {
        match measure {
            Measure::Count => self.count as f64,
            Measure::Distinct => self.values.len() as f64,
            Measure::Sum => self.sum(rows, q),
            Measure::Mean => self.sum(rows, q) / self.count as f64,
        }
    }

    fn sum(&self, rows: &VecDeque<Row>, q: usize) -> f64 {
        if !self.rough {
            return self.sum;
        }
        let parts = rows.range(self.from..=q);
        parts.map(|row| f64::from_bits(row.value)).sum()
    }

    /// The same, where it can only grow when more is found in it: a sum with a part below zero waits for event time.
    pub(super) fn grown(&self, rows: &VecDeque<Row>, measure: Measure, q: usize) -> Option<f64> {
        let falls = measure == Measure::Sum && self.negative > 0;
        (!falls).then(|| self.value(rows, measure, q))
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Inside>() + self.values.capacity() * 16
    }
}
