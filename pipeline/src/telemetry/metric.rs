//! What is counted with: plain atomics, relaxed, read only when somebody scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// Label sets one family keeps apart. Label values come from configuration and fixed lists, never from data; the bound is
/// there so that a mistake costs a merged series and not the memory of the process.
const SETS: usize = 256;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The value last set, 0 before.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Gauges of one name that differ in one label, whose values are few and come from no attacker.
#[derive(Debug, Default)]
pub struct Gauges(RwLock<Vec<(String, Gauge)>>);

impl Gauges {
    /// Replaces the value of this label; of more labels than are kept apart the rest is left out.
    pub fn set(&self, [label]: [&str; 1], value: f64) {
        if let Some((_, gauge)) = self.0.read().iter().find(|(held, _)| held == label) {
            gauge.set(value);
            return;
        }
        let mut all = self.0.write();
        if all.len() < SETS {
            let gauge = Gauge::default();
            gauge.set(value);
            all.push((label.to_owned(), gauge));
        }
    }

    /// What has this label is gone.
    pub fn remove(&self, label: &str) {
        self.0.write().retain(|(held, _)| held != label);
    }

    pub(super) fn each(&self, mut see: impl FnMut(&str, f64)) {
        for (label, gauge) in self.0.read().iter() {
            see(label, gauge.get());
        }
    }
}

/// Upper bounds of every histogram here [s]: from a local answer to a server in trouble.
pub(super) const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// How long something took, in fixed classes.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bound, and one for what lies beyond the last.
    classes: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, took: Duration) {
        self.observe_many(took, 1);
    }

    /// Counts `n` observations of the same length, like the events of one batch.
    pub fn observe_many(&self, took: Duration, n: u64) {
        if n == 0 {
            return;
        }
        let secs = took.as_secs_f64();
        let class = BOUNDS
            .iter()
            .position(|bound| secs <= *bound)
            .unwrap_or(BOUNDS.len());
        self.classes[class].fetch_add(n, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos
            .fetch_add(nanos.saturating_mul(n), Ordering::Relaxed);
    }

    /// Observations per class, and the sum of them all [s].
    pub(super) fn read(&self) -> ([u64; BOUNDS.len() + 1], f64) {
        let classes = std::array::from_fn(|at| self.classes[at].load(Ordering::Relaxed));
        (
            classes,
            Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64(),
        )
    }
}

/// Counters of one name that differ in their labels.
#[derive(Debug)]
pub struct Family<const N: usize> {
    sets: RwLock<Vec<([String; N], Arc<Counter>)>>,
}

impl<const N: usize> Default for Family<N> {
    fn default() -> Self {
        Self {
            sets: RwLock::default(),
        }
    }
}

impl<const N: usize> Family<N> {
    /// The counter of these label values. Take it once and keep it where it is needed often.
    pub fn with(&self, values: [&str; N]) -> Arc<Counter> {
        if let Some(known) = self.known(values) {
            return known;
        }
        let mut sets = self.sets.write();
        let values = if sets.len() < SETS {
            values
        } else {
            ["other"; N]
        };
        if let Some((_, counter)) = sets.iter().find(|(set, _)| set.iter().eq(values)) {
            return Arc::clone(counter);
        }
        let counter = Arc::new(Counter::default());
        sets.push((values.map(str::to_owned), Arc::clone(&counter)));
        counter
    }

    fn known(&self, values: [&str; N]) -> Option<Arc<Counter>> {
        let sets = self.sets.read();
        let found = sets.iter().find(|(set, _)| set.iter().eq(values));
        found.map(|(_, counter)| Arc::clone(counter))
    }

    /// Adds `n` to the counter of these label values.
    pub fn add(&self, values: [&str; N], n: u64) {
        if n > 0 {
            self.with(values).add(n);
        }
    }

    /// The sum over every set of labels.
    pub fn total(&self) -> u64 {
        self.sets
            .read()
            .iter()
            .map(|(_, counter)| counter.get())
            .sum()
    }

    pub(super) fn each(&self, mut see: impl FnMut(&[String; N], u64)) {
        for (values, counter) in self.sets.read().iter() {
            see(values, counter.get());
        }
    }
}
