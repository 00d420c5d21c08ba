//! Where the events of a transform go.

use crate::batch::Batch;
use crate::clock::Time;
use crate::event::{Event, fields};
use crate::telemetry::ComponentMetrics;
use crate::told::Told;

/// What one call of a transform hands back: events that go on, events by other outputs, and what was left out.
#[derive(Debug, Default)]
pub struct Outputs {
    now: Time,
    tag: String,
    want_errors: bool,
    pub(crate) main: Vec<Batch>,
    pub(crate) named: Vec<(usize, Batch)>,
    pub(crate) emitted: Vec<Event>,
    pub(crate) sent: Vec<(usize, Event)>,
    pub(crate) made: Vec<(usize, Event)>,
    pub(crate) erred: Vec<Event>,
    pub(crate) aside_errors: Option<Batch>,
    pub(crate) filtered: u64,
    pub(crate) duplicates: u64,
    pub(crate) joined: u64,
    pub(crate) evicted: u64,
    pub(crate) unclassified: u64,
    pub(crate) missed: Vec<(String, u64)>,
    pub(crate) suppressed: Vec<(String, u64)>,
    pub(crate) fired: Vec<(String, &'static str)>,
    pub(crate) rule_keys: Vec<(String, usize)>,
    pub(crate) rule_degraded: Vec<(String, bool)>,
    pub(crate) rule_evaluation: Option<std::time::Duration>,
    pub(crate) watermark_lag: Option<std::time::Duration>,
    pub(crate) told: Vec<Told>,
    pub(crate) errors: u64,
}

/// Longest `error.message` [bytes].
const LONGEST_WHY: usize = 1024;

impl Outputs {
    /// Outputs for a transform of type `type_name`; `want_errors` when something takes its `.errors`.
    pub(crate) fn new(type_name: &str, want_errors: bool) -> Outputs {
        Outputs {
            tag: format!("{type_name}_failed"),
            want_errors,
            ..Outputs::default()
        }
    }

    /// The tag of events it could not work on, which is also the word for the metric.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    pub(crate) fn set_want_errors(&mut self, want_errors: bool) {
        self.want_errors = want_errors;
    }

    /// Throws away what a call left that did not end well; the counts go with it.
    pub(crate) fn clear(&mut self) {
        *self = Outputs {
            now: self.now,
            tag: std::mem::take(&mut self.tag),
            want_errors: self.want_errors,
            ..Outputs::default()
        };
    }

    /// The time now, from the engine's clock.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The batch goes on by the unnamed output. An emptied batch goes on too: it carries its mark.
    pub fn push(&mut self, batch: Batch) {
        self.main.push(batch);
    }

    /// The batch goes on by the named output `n`, counted in the order of the configuration's `outputs()`.
    pub fn push_to(&mut self, n: usize, batch: Batch) {
        self.named.push((n, batch));
    }

    /// Stateful transforms: the event goes on by the unnamed output.
    pub fn emit(&mut self, event: Event) {
        self.emitted.push(event);
    }

    /// Stateful transforms that take several events at once: what was emitted until now goes on behind what is in `to`.
    pub fn take_emitted(&mut self, to: &mut Vec<Event>) {
        to.append(&mut self.emitted);
    }

    /// Stateful transforms: the event goes on by the named output `n`.
    pub fn emit_to(&mut self, n: usize, event: Event) {
        self.sent.push((n, event));
    }

    /// Stateful transforms: an event of its own leaves by the named output `n`, once the state that made it is durable.
    pub fn make(&mut self, n: usize, event: Event) {
        self.made.push((n, event));
    }

    /// `n` events were left out by name: counted, and a good end.
    pub fn filtered(&mut self, n: usize) {
        self.filtered += n as u64;
    }

    /// `n` of the events left out were copies of others.
    pub fn duplicates(&mut self, n: usize) {
        self.duplicates += n as u64;
    }

    /// `n` of the events left out went into other events.
    pub fn joined(&mut self, n: usize) {
        self.joined += n as u64;
    }

    /// `n` things were let go of early, to stay within bounds.
    pub fn evicted(&mut self, n: usize) {
        self.evicted += n as u64;
    }

    /// `n` events mean nothing that the catalogue has; they go on.
    pub fn unclassified(&mut self, n: usize) {
        self.unclassified += n as u64;
    }

    /// The enrichment table `table` knows nothing of `n` events. Call it once per batch.
    pub fn missed(&mut self, table: &str, n: u64) {
        if n > 0 {
            self.missed.push((table.to_owned(), n));
        }
    }

    /// A message about an alert of the rule `rule` is held back.
    pub fn suppressed(&mut self, rule: &str) {
        match self.suppressed.iter_mut().find(|(held, _)| held == rule) {
            Some((_, n)) => *n += 1,
            None => self.suppressed.push((rule.to_owned(), 1)),
        }
    }

    /// Something is worth an audit event of the program itself; log it where a person must read it.
    pub fn tell(&mut self, told: Told) {
        self.told.push(told);
    }

    /// An alert of a rule opened.
    pub fn fired(&mut self, rule: &str, severity: &'static str) {
        self.fired.push((rule.to_owned(), severity));
    }

    /// So many things a rule remembers now.
    pub fn rule_keys(&mut self, rule: &str, keys: usize) {
        self.rule_keys.push((rule.to_owned(), keys));
    }

    /// Whether a rule gave something up lately to stay within its bounds.
    pub fn rule_degraded(&mut self, rule: &str, degraded: bool) {
        self.rule_degraded.push((rule.to_owned(), degraded));
    }

    /// All rules together took so long for one batch.
    pub fn rules_took(&mut self, took: std::time::Duration) {
        self.rule_evaluation = Some(took);
    }

    /// Event time lies so far behind the clock.
    pub fn watermark_lag(&mut self, lag: std::time::Duration) {
        self.watermark_lag = Some(lag);
    }

    /// Moves the plain counts to the books.
    pub(crate) fn count(&mut self, metrics: &ComponentMetrics) {
        metrics.filtered.add(std::mem::take(&mut self.filtered));
        metrics.duplicates.add(std::mem::take(&mut self.duplicates));
        metrics.joined.add(std::mem::take(&mut self.joined));
        metrics.evicted.add(std::mem::take(&mut self.evicted));
        metrics
            .unclassified
            .add(std::mem::take(&mut self.unclassified));
        for (rule, severity) in self.fired.drain(..) {
            metrics.alerts_fired.add([&rule, severity], 1);
        }
        for (rule, keys) in self.rule_keys.drain(..) {
            metrics.rule_state_keys.set([&rule], keys as f64);
        }
        for (rule, degraded) in self.rule_degraded.drain(..) {
            metrics
                .rule_degraded
                .set([&rule], f64::from(u8::from(degraded)));
        }
        if let Some(took) = self.rule_evaluation.take() {
            metrics.rule_evaluation.observe(took);
        }
        if let Some(lag) = self.watermark_lag.take() {
            metrics.watermark_lag.set(lag.as_secs_f64());
        }
        for told in self.told.drain(..) {
            metrics.tell(told);
        }
        for (table, n) in self.missed.drain(..) {
            metrics.enrichment_misses.add([&table], n);
        }
        for (rule, n) in self.suppressed.drain(..) {
            metrics.alerts_suppressed.add([&rule], n);
        }
    }

    /// The transform could not do its work on this event: it is marked, counted, copied to `.errors` if something takes
    /// that output, and goes on all the same.
    pub fn error(&mut self, event: &mut Event, why: impl std::fmt::Display) {
        self.errors += 1;
        event.add_tag(&self.tag);
        let mut why = why.to_string();
        if why.len() > LONGEST_WHY {
            why.truncate(why.floor_char_boundary(LONGEST_WHY));
        }
        event.set(fields::ERROR_MESSAGE, why);
        if self.want_errors {
            self.erred.push(event.clone());
        }
    }
}
