//! Whether a sink gets its events delivered: one word for `/ready`, one line in the log when it changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::{Clock, Time};
use crate::component::{Reason, ReasonKind};
use crate::telemetry::{ComponentMetrics, Health};
use crate::told::Told;

/// How a sink is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// The last write of every worker, or the check at start, went well; or nothing was tried yet.
    Healthy,
    /// It did not, for at least one worker.
    Failing {
        /// Since when.
        since: Time,
        /// What the last failed attempt said.
        reason: Reason,
    },
}

/// A handle on the health of one sink; cloning it is cheap and shows the same.
#[derive(Clone)]
pub struct SinkHealth(Arc<Shared>);

struct Shared {
    id: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Workers whose last attempt failed.
    workers: usize,
    failing: Option<(Time, Reason)>,
    /// The same, but a worker that ends without success does not end it.
    owes: Option<(Time, Reason)>,
    /// Whether the log has heard of it, and when it last did.
    told: bool,
    told_at: Option<Instant>,
}

/// A sink that fails and recovers in turn is spoken of this often at most.
const EDGES: Duration = Duration::from_secs(10);
/// While it fails, the log is reminded this often.
const REMINDERS: Duration = Duration::from_secs(60);

impl SinkHealth {
    /// The health of the sink called `id`; healthy until something says otherwise.
    pub fn new(id: &str, clock: Clock) -> SinkHealth {
        SinkHealth(Arc::new(Shared {
            id: id.to_owned(),
            clock,
            state: Mutex::default(),
        }))
    }

    /// The sink's id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The time, as this sink is told it.
    pub(crate) fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// How it is doing.
    pub fn state(&self) -> HealthState {
        match &self.0.state.lock().failing {
            None => HealthState::Healthy,
            Some((since, reason)) => HealthState::Failing {
                since: *since,
                reason: reason.clone(),
            },
        }
    }

    /// Since when there has been no success, and what the last attempt said.
    pub(crate) fn owes(&self) -> Option<(Time, Reason)> {
        self.0.state.lock().owes.clone()
    }

    /// For what has no worker, like a disk queue: there has been no success since `began`.
    pub(crate) fn lacks_success(&self, began: Time, reason: Reason) {
        let mut state = self.0.state.lock();
        let owes = state.owes.take().map_or(began, |(owes, _)| owes);
        state.owes = Some((owes, reason));
    }

    /// For what has no worker: it went well.
    pub(crate) fn succeeds(&self) {
        self.0.state.lock().owes = None;
    }

    /// The health of one more worker of the sink.
    pub(crate) fn worker(&self, metrics: Arc<ComponentMetrics>) -> WorkerHealth {
        metrics.health().set(Health::Healthy);
        WorkerHealth {
            owes: self.owes().is_some(),
            began: self.now(),
            sink: self.clone(),
            metrics,
            failing: false,
        }
    }

    fn failing(&self, reason: &Reason, began: Time, first: bool, metrics: &ComponentMetrics) {
        let now = self.0.clock.now();
        let mut state = self.0.state.lock();
        state.workers += usize::from(first);
        let since = state.failing.take().map_or(began, |(since, _)| since);
        state.failing = Some((since, reason.clone()));
        let owes = state.owes.take().map_or(began, |(owes, _)| owes);
        state.owes = Some((owes, reason.clone()));
        let pause = if state.told { REMINDERS } else { EDGES };
        if state.told_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        state.told_at = Some(Instant::now());
        let (id, kind, text) = (&self.0.id, reason.kind.name(), &reason.text);
        if std::mem::replace(&mut state.told, true) {
            let secs = now.since(since).as_secs();
            tracing::warn!(
                component_id = id,
                reason = kind,
                "the sink has not delivered for {secs} s; its events wait: {text}"
            );
        } else {
            tracing::warn!(
                component_id = id,
                reason = kind,
                "the sink does not deliver; its events wait and are tried again: {text}"
            );
            let message =
                format!("sink {id} does not deliver; its events wait and are tried again");
            metrics.tell(Told::new("PVE-9021", message).failed(format!("{kind}: {text}")));
        }
    }

    /// A worker that followed one without success has delivered.
    fn repaid(&self) {
        let mut state = self.0.state.lock();
        if state.workers == 0 {
            state.owes = None;
        }
    }

    /// One worker less fails: it `delivers` again, or has ended.
    fn well(&self, delivers: bool, metrics: &ComponentMetrics) {
        let mut state = self.0.state.lock();
        state.workers = state.workers.saturating_sub(1);
        if state.workers > 0 {
            return;
        }
        if delivers {
            state.owes = None;
        }
        let Some((since, _)) = state.failing.take() else {
            return;
        };
        if std::mem::take(&mut state.told) && delivers {
            let secs = self.0.clock.now().since(since).as_secs();
            tracing::info!(
                component_id = self.0.id,
                "the sink delivers again, after {secs} s"
            );
            let message = format!("sink {} delivers again, after {secs} s", self.0.id);
            metrics.tell(Told::new("PVE-9022", message));
        }
    }
}

impl fmt::Debug for SinkHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.0.id, self.state())
    }
}

/// What one worker says about its sink.
pub(crate) struct WorkerHealth {
    sink: SinkHealth,
    metrics: Arc<ComponentMetrics>,
    failing: bool,
    /// A worker before this one left without success.
    owes: bool,
    /// When the present attempt began.
    began: Time,
}

/// So many refusals for being busy are no longer a hiccup.
const PATIENCE: u32 = 3;

impl WorkerHealth {
    /// An attempt begins.
    pub(crate) fn began(&mut self) {
        self.began = self.sink.now();
    }

    /// Something went well.
    #[inline]
    pub(crate) fn well(&mut self) {
        if self.failing {
            self.failing = false;
            self.metrics.health().set(Health::Healthy);
            self.sink.well(true, &self.metrics);
        } else if std::mem::take(&mut self.owes) {
            self.sink.repaid();
        }
    }

    /// Something went wrong for the `failures`th time in a row and will be tried again.
    pub(crate) fn failing(&mut self, reason: &Reason, failures: u32) {
        let heals = match reason.kind {
            ReasonKind::Busy => failures < PATIENCE,
            ReasonKind::Blocked => true,
            _ => false,
        };
        let text = reason.to_string();
        self.metrics.health().set(if heals {
            Health::Degraded(text)
        } else {
            Health::Failing(text)
        });
        self.sink.failing(
            reason,
            self.began,
            !std::mem::replace(&mut self.failing, true),
            &self.metrics,
        );
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }
}

impl Drop for WorkerHealth {
    fn drop(&mut self) {
        if self.failing {
            self.sink.well(false, &self.metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Kind, Telemetry};

    #[test]
    fn failing_counts_from_the_first_failure_and_ends_when_every_worker_is_well() {
        let clock = Clock::manual(Time::from_secs(100));
        let telemetry = Telemetry::new("pve1", "0");
        let health = SinkHealth::new("es", clock.clone());
        let worker = |_| health.worker(telemetry.component("es", Kind::Sink, "elasticsearch"));
        let (mut one, mut other) = (worker(1), worker(2));
        assert_eq!(health.state(), HealthState::Healthy);
        one.failing(&Reason::new(ReasonKind::Timeout, "no answer"), 1);
        clock.set(Time::from_secs(160));
        let reason = Reason::new(ReasonKind::Connection, "refused");
        other.failing(&reason, 1);
        let failing = HealthState::Failing {
            since: Time::from_secs(100),
            reason,
        };
        assert_eq!(health.state(), failing);
        one.well();
        one.well();
        assert_eq!(health.state(), failing, "the other worker still fails");
        drop(other);
        assert_eq!(health.state(), HealthState::Healthy);
    }

    #[test]
    fn a_busy_receiver_is_ready_for_a_while() {
        let metrics = Telemetry::new("pve1", "0").component("es", Kind::Sink, "elasticsearch");
        let mut worker = SinkHealth::new("es", Clock::system()).worker(Arc::clone(&metrics));
        let busy = Reason::new(ReasonKind::Busy, "429");
        worker.failing(&busy, 1);
        assert!(metrics.health().get().is_ready());
        worker.failing(&busy, PATIENCE);
        assert!(!metrics.health().get().is_ready());
        worker.well();
        assert_eq!(metrics.health().get(), Health::Healthy);
    }
}
